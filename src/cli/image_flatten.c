/* SPDX-License-Identifier: Apache-2.0 */
/* A chain becomes one image.  What can seek gets the data where it belongs,
   and blocks of zeros are left out; a pipe gets everything front to back, a
   qcow2 image by the layout that the map gives ahead. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "cli/image_flatten.h"
#include "image/chain.h"
#include "image/layout.h"
#include "image/placer.h"
#include "image/source.h"

#define CLUSTER_BITS 16
#define CLUSTER (UINT64_C (1) << CLUSTER_BITS)
#define PIECE (UINT64_C (512) << 10)
/* Guest bytes that are mapped before they are copied. */
#define STEP (UINT64_C (1) << 30)

static const uint8_t zeros[CLUSTER];

struct target {
  int fd;
  const char *path;
  bool seekable;
  bool block_device;
  bool created;
  uint64_t written; /* end of what was written: a pipe's position */
};

struct copy {
  struct chain *chain;
  struct target *target;
  struct placer *placer; /* qcow2 that can seek */
  struct layout *layout; /* qcow2 into a pipe */
  struct extent *extents;
  size_t count;
  size_t capacity;
  uint8_t *piece;
};

static int
open_target (struct target *t, const char *out, uint64_t size, struct fault *f)
{
  struct stat st;
  uint64_t device_size = 0;

  t->path = out;
  t->seekable = true;
  if (strcmp (out, "-") == 0) {
    t->path = "standard output";
    t->fd = STDOUT_FILENO;
    t->seekable = false;
    return 0;
  }
  if (stat (out, &st) == 0 && S_ISBLK (st.st_mode)) {
    t->block_device = true;
    t->fd = open (out, O_WRONLY | O_EXCL | O_CLOEXEC);
    if (t->fd < 0)
      return fault_set (f, FAULT_IO, errno, "open %s", out);
    if (ioctl (t->fd, BLKGETSIZE64, &device_size) < 0)
      return fault_set (f, FAULT_IO, errno, "%s: size of block device", out);
    if (device_size < size)
      return fault_set (f, FAULT_SPACE, 0,
                        "%s: has %" PRIu64 " bytes, the disk has %" PRIu64, out,
                        device_size, size);
    return 0;
  }
  t->fd = open (out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (t->fd < 0)
    return fault_set (f, errno == EEXIST ? FAULT_USAGE : FAULT_IO, errno,
                      "create %s", out);
  t->created = true;
  return 0;
}

/* Append SIZE bytes to a pipe. */
static int
append (struct target *t, const void *data, uint64_t size, struct fault *f)
{
  t->written += size;
  return fdio_write_full (t->fd, data, size, t->path, f);
}

static int
append_zeros (struct target *t, uint64_t end, struct fault *f)
{
  while (t->written < end) {
    uint64_t n = end - t->written < CLUSTER ? end - t->written : CLUSTER;

    if (append (t, zeros, n, f) < 0)
      return -1;
  }
  return 0;
}

static int
write_at (void *opaque, uint64_t offset, const void *data, size_t size,
          struct fault *f)
{
  struct target *t = opaque;

  if (t->written < offset + size)
    t->written = offset + size;
  return fdio_pwrite_full (t->fd, data, size, offset, t->path, f);
}

/* Zeros over what a block device holds. */
static int
zero_range (struct target *t, uint64_t start, uint64_t end, struct fault *f)
{
  uint64_t range[2] = { start, end - start };

  if (start >= end || ioctl (t->fd, BLKZEROOUT, range) == 0)
    return 0;
  while (start < end) {
    uint64_t n = end - start < CLUSTER ? end - start : CLUSTER;

    if (write_at (t, start, zeros, n, f) < 0)
      return -1;
    start += n;
  }
  return 0;
}

/* LENGTH non-zero bytes of the guest at START. */
static int
put_run (struct copy *c, uint64_t start, const uint8_t *data, uint64_t length,
         struct fault *f)
{
  struct target *t = c->target;
  uint64_t padded = (length + CLUSTER - 1) & ~(CLUSTER - 1);
  uint64_t offset = start;

  if (c->placer != NULL
      && placer_take (c->placer, start >> CLUSTER_BITS, padded >> CLUSTER_BITS,
                      &offset, f)
             < 0)
    return -1;
  return write_at (t, offset, data, c->placer != NULL ? padded : length, f);
}

/* LENGTH bytes from START on are in c->piece, padded to a cluster. */
static int
put_seekable (struct copy *c, uint64_t start, uint64_t length, struct fault *f)
{
  uint64_t at = 0;

  while (at < length) {
    uint64_t begin;

    while (at < length && memcmp (c->piece + at, zeros, CLUSTER) == 0)
      at += CLUSTER;
    begin = at;
    if (at >= length)
      break;
    do
      at += CLUSTER;
    while (at < length && memcmp (c->piece + at, zeros, CLUSTER) != 0);
    if (put_run (c, start + begin, c->piece + begin,
                 (at < length ? at : length) - begin, f)
        < 0)
      return -1;
  }
  return 0;
}

static int
put_piece (struct copy *c, uint64_t start, uint64_t length, struct fault *f)
{
  struct target *t = c->target;
  uint64_t padded = (length + CLUSTER - 1) & ~(CLUSTER - 1);

  memset (c->piece + length, 0, padded - length);
  if (c->layout != NULL)
    return append (t, c->piece, padded, f);
  if (!t->seekable)
    return append_zeros (t, start, f) < 0 ? -1
                                          : append (t, c->piece, length, f);
  if (t->block_device && c->placer == NULL)
    return zero_range (t, t->written, start, f) < 0
               ? -1
               : write_at (t, start, c->piece, length, f);
  return put_seekable (c, start, length, f);
}

static int
copy_range (struct copy *c, uint64_t start, uint64_t end, struct fault *f)
{
  while (start < end) {
    uint64_t n = PIECE - start % PIECE;

    if (n > end - start)
      n = end - start;
    if (cancel_check (f) < 0 || chain_read (c->chain, start, c->piece, n, f) < 0
        || put_piece (c, start, n, f) < 0)
      return -1;
    start += n;
  }
  return 0;
}

static int
note_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct copy *c = opaque;
  struct extent *last = c->count > 0 ? &c->extents[c->count - 1] : NULL;

  (void)f;
  if (e->kind != EXTENT_DATA && e->kind != EXTENT_MIXED)
    return 0;
  if (last != NULL && last->start + last->length == e->start) {
    last->length += e->length;
    return 0;
  }
  if (c->count == c->capacity) {
    c->capacity = c->capacity == 0 ? 256 : c->capacity * 2;
    c->extents = xreallocarray (c->extents, c->capacity, sizeof c->extents[0]);
  }
  c->extents[c->count++] = *e;
  return 0;
}

/* Call FN for each range that holds data, STEP by STEP; the map is taken
   before the data of a step is read, as both move the same cursors. */
static int
each_range (struct copy *c,
            int (*fn) (struct copy *c, uint64_t start, uint64_t end,
                       struct fault *f),
            struct fault *f)
{
  uint64_t size = chain_size (c->chain);

  for (uint64_t at = 0; at < size; at += STEP) {
    uint64_t n = STEP < size - at ? STEP : size - at;

    c->count = 0;
    if (cancel_check (f) < 0
        || chain_map_blocks (c->chain, at, n, CHAIN_WHOLE, CLUSTER, note_extent,
                             c, f)
               < 0)
      return -1;
    for (size_t i = 0; i < c->count; i++)
      if (fn (c, c->extents[i].start,
              c->extents[i].start + c->extents[i].length, f)
          < 0)
        return -1;
  }
  return 0;
}

static int
lay_out (struct copy *c, uint64_t start, uint64_t end, struct fault *f)
{
  uint64_t first = start >> CLUSTER_BITS;

  return layout_set_data (c->layout, first,
                          ((end + CLUSTER - 1) >> CLUSTER_BITS) - first, f);
}

static int
flatten_raw (struct copy *c, struct fault *f)
{
  struct target *t = c->target;
  uint64_t size = chain_size (c->chain);

  if (each_range (c, copy_range, f) < 0)
    return -1;
  if (!t->seekable)
    return append_zeros (t, size, f);
  if (t->block_device)
    return zero_range (t, t->written, size, f);
  if (ftruncate (t->fd, (off_t)size) < 0)
    return fault_set (f, FAULT_IO, errno, "set size of %s", t->path);
  return 0;
}

static int
flatten_placed (struct copy *c, const struct layout_params *params,
                struct fault *f)
{
  struct target *t = c->target;

  if (placer_new (params, &c->placer, f) < 0
      || each_range (c, copy_range, f) < 0
      || placer_write_tables (c->placer, write_at, t, NULL, f) < 0
      || fdio_fsync (t->fd, t->path, f) < 0)
    return -1;
  return placer_write_header (c->placer, write_at, t, f);
}

static int
flatten_laid_out (struct copy *c, const struct layout_params *params,
                  struct fault *f)
{
  struct target *t = c->target;
  uint64_t end;

  if (layout_new (params, &c->layout, f) < 0 || each_range (c, lay_out, f) < 0
      || layout_seal (c->layout, f) < 0)
    return -1;
  end = layout_data_offset (c->layout);
  while (t->written < end) {
    uint64_t n = PIECE < end - t->written ? PIECE : end - t->written;

    layout_meta_read (c->layout, t->written, c->piece, n);
    if (append (t, c->piece, n, f) < 0)
      return -1;
  }
  return each_range (c, copy_range, f);
}

static int
flatten (struct copy *c, bool qcow2, struct fault *f)
{
  struct layout_params params
      = { .virtual_size = chain_size (c->chain), .cluster_bits = CLUSTER_BITS };
  struct target *t = c->target;

  if (!qcow2)
    return flatten_raw (c, f);
  return t->seekable ? flatten_placed (c, &params, f)
                     : flatten_laid_out (c, &params, f);
}

static int
end_target (struct target *t, struct fault *f)
{
  if (!t->seekable)
    return 0;
  if (fdio_fsync (t->fd, t->path, f) < 0)
    return -1;
  return fdio_close (&t->fd, t->path, f);
}

int
image_flatten (struct chain *chain, const char *out, bool qcow2,
               struct fault *f)
{
  struct target t = { .fd = -1 };
  struct copy c = { .chain = chain, .target = &t };
  int rc = -1;

  c.piece = try_aligned (SOURCE_ALIGN, PIECE, "a copy buffer", f);
  if (c.piece != NULL && open_target (&t, out, chain_size (chain), f) == 0
      && flatten (&c, qcow2, f) == 0)
    rc = end_target (&t, f);
  if (t.seekable && t.fd >= 0)
    close (t.fd);
  if (rc < 0 && t.created)
    unlink (out);
  placer_free (c.placer);
  layout_free (c.layout);
  free (c.extents);
  free (c.piece);
  return rc;
}
