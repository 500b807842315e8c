/* SPDX-License-Identifier: Apache-2.0 */
/* A chain becomes one image.  What can seek gets the data where it belongs, by
   several threads, and blocks of zeros are left out; a pipe gets everything
   front to back, a qcow2 image by the layout that the map gives ahead. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "cli/image_copy.h"
#include "cli/image_flatten.h"
#include "cli/image_open.h"
#include "image/chain.h"
#include "image/layout.h"
#include "image/placer.h"

#define CLUSTER_BITS 16
#define CLUSTER (UINT64_C (1) << CLUSTER_BITS)
/* Requests at once that keep a disk busy. */
#define THREADS 4

_Static_assert(CLUSTER == IMAGE_COPY_BLOCK, "blocks are clusters");

static const uint8_t zeros[CLUSTER];

struct target {
  int fd;
  const char *path;
  bool seekable;
  bool block_device;
  bool created;
  /* What is written in ascending order: how far it is. */
  uint64_t written;
};

struct form {
  struct target *target;
  uint64_t size;         /* of the disk */
  pthread_mutex_t lock;  /* of the placer */
  struct placer *placer; /* qcow2 that can seek */
  struct layout *layout; /* qcow2 into a pipe */
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
  if (t->fd < 0 && errno == EEXIST)
    return fault_set (f, FAULT_USAGE, 0,
                      "%s exists already: nothing is overwritten, choose "
                      "another file",
                      out);
  if (t->fd < 0)
    return fault_set (f, FAULT_IO, errno, "create %s", out);
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
put_run (struct form *form, uint64_t start, const uint8_t *data,
         uint64_t length, struct fault *f)
{
  uint64_t padded = (length + CLUSTER - 1) & ~(CLUSTER - 1);
  uint64_t offset = start;

  if (form->placer == NULL)
    return write_at (form->target, start, data, length, f);
  {
    SCOPED_LOCK (&form->lock);
    if (placer_take (form->placer, start >> CLUSTER_BITS,
                     padded >> CLUSTER_BITS, &offset, f)
        < 0)
      return -1;
  }
  return write_at (form->target, offset, data, padded, f);
}

/* A piece into a file: without its blocks of zeros. */
static int
put_sparse (void *opaque, uint64_t start, const uint8_t *data, uint64_t length,
            struct fault *f)
{
  uint64_t at = 0;

  while (at < length) {
    uint64_t begin;

    while (at < length && memcmp (data + at, zeros, CLUSTER) == 0)
      at += CLUSTER;
    begin = at;
    if (at >= length)
      break;
    do
      at += CLUSTER;
    while (at < length && memcmp (data + at, zeros, CLUSTER) != 0);
    if (put_run (opaque, start + begin, data + begin,
                 (at < length ? at : length) - begin, f)
        < 0)
      return -1;
  }
  return 0;
}

/* A piece of a raw image into a pipe. */
static int
put_pipe (void *opaque, uint64_t start, const uint8_t *data, uint64_t length,
          struct fault *f)
{
  struct form *form = opaque;

  if (append_zeros (form->target, start, f) < 0)
    return -1;
  return append (form->target, data, length, f);
}

/* A piece of a raw image onto a block device, which holds something. */
static int
put_device (void *opaque, uint64_t start, const uint8_t *data, uint64_t length,
            struct fault *f)
{
  struct target *t = ((struct form *)opaque)->target;

  if (zero_range (t, t->written, start, f) < 0
      || write_at (t, start, data, length, f) < 0)
    return -1;
  t->written = start + length;
  return 0;
}

/* A piece of a qcow2 image into a pipe: whole clusters, one after the other. */
static int
put_laid_out (void *opaque, uint64_t start, const uint8_t *data,
              uint64_t length, struct fault *f)
{
  struct form *form = opaque;

  (void)start;
  return append (form->target, data, (length + CLUSTER - 1) & ~(CLUSTER - 1),
                 f);
}

static int
lay_out (void *opaque, uint64_t start, uint64_t end, struct fault *f)
{
  struct form *form = opaque;
  uint64_t first = start >> CLUSTER_BITS;

  return layout_set_data (form->layout, first,
                          ((end + CLUSTER - 1) >> CLUSTER_BITS) - first, f);
}

static int
flatten_raw (struct image_open *o, struct form *form, struct fault *f)
{
  struct target *t = form->target;

  if (!t->seekable)
    return image_copy (o, 1, put_pipe, form, f) < 0
               ? -1
               : append_zeros (t, form->size, f);
  if (t->block_device)
    return image_copy (o, 1, put_device, form, f) < 0
               ? -1
               : zero_range (t, t->written, form->size, f);
  if (image_copy (o, THREADS, put_sparse, form, f) < 0)
    return -1;
  if (ftruncate (t->fd, (off_t)form->size) < 0)
    return fault_set (f, FAULT_IO, errno, "set size of %s", t->path);
  return 0;
}

static int
flatten_placed (struct image_open *o, struct form *form,
                const struct layout_params *params, struct fault *f)
{
  struct target *t = form->target;

  if (placer_new (params, &form->placer, f) < 0
      || image_copy (o, THREADS, put_sparse, form, f) < 0
      || placer_write_tables (form->placer, write_at, t, NULL, f) < 0
      || fdio_fsync (t->fd, t->path, f) < 0)
    return -1;
  return placer_write_header (form->placer, write_at, t, f);
}

static int
flatten_laid_out (struct image_open *o, struct form *form,
                  const struct layout_params *params, struct fault *f)
{
  struct target *t = form->target;
  uint8_t meta[4096];
  uint64_t end;

  if (layout_new (params, &form->layout, f) < 0
      || image_copy_ranges (image_open_chain (o), lay_out, form, f) < 0
      || layout_seal (form->layout, f) < 0)
    return -1;
  end = layout_data_offset (form->layout);
  while (t->written < end) {
    uint64_t n
        = end - t->written < sizeof meta ? end - t->written : sizeof meta;

    layout_meta_read (form->layout, t->written, meta, n);
    if (append (t, meta, n, f) < 0)
      return -1;
  }
  return image_copy (o, 1, put_laid_out, form, f);
}

static int
flatten (struct image_open *o, struct form *form, bool qcow2, struct fault *f)
{
  struct layout_params params
      = { .virtual_size = form->size, .cluster_bits = CLUSTER_BITS };

  if (!qcow2)
    return flatten_raw (o, form, f);
  return form->target->seekable ? flatten_placed (o, form, &params, f)
                                : flatten_laid_out (o, form, &params, f);
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
image_flatten (struct image_open *o, const char *out, bool qcow2,
               struct fault *f)
{
  struct target t = { .fd = -1 };
  struct form form = { .target = &t,
                       .size = chain_size (image_open_chain (o)),
                       .lock = PTHREAD_MUTEX_INITIALIZER };
  int rc = -1;

  if (open_target (&t, out, form.size, f) == 0
      && flatten (o, &form, qcow2, f) == 0)
    rc = end_target (&t, f);
  if (t.seekable && t.fd >= 0)
    close (t.fd);
  if (rc < 0 && t.created)
    unlink (out);
  placer_free (form.placer);
  layout_free (form.layout);
  return rc;
}
