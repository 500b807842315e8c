/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "host/remote.h"
#include "image/extent.h"
#include "image/layout.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/push.h"
#include "job/quota.h"
#include "repo/reader.h"
#include "wire/digest.h"
#include "wire/msg.h"

#define PIECE (1u << 20) /* one read of the repository and one write */
#define PROGRESS_MS 200

struct state {
  struct push *push;
  struct layout *layout; /* NULL: raw */
  uint8_t *piece;        /* PIECE bytes */
  uint8_t *digests;      /* of one check */
  uint64_t reported_ms;
};

/* A run of data of the guest, not longer than PIECE, and where its clusters
   stand in the container. */
typedef int (*run_fn) (struct state *s, uint64_t guest, uint64_t length,
                       uint64_t container, struct fault *f);

struct walk {
  struct state *state;
  run_fn fn;
};

static void
report (struct state *s, uint64_t bytes)
{
  struct push *p = s->push;
  uint64_t now = stamp_mono_ms ();

  p->progress->bytes_done += bytes;
  p->progress->bytes_wire += bytes;
  if (p->observer->progress == NULL || now < s->reported_ms + PROGRESS_MS)
    return;
  s->reported_ms = now;
  p->observer->progress (p->observer->opaque, p->progress);
}

static int
rest (struct state *s, uint64_t bytes, struct fault *f)
{
  unsigned ms = quota_take (s->push->quota, bytes, stamp_mono_ms ());

  while (ms > 0) {
    unsigned part = ms < 1000 ? ms : 1000;

    if (cancel_sleep_ms (part, f) < 0 || remote_ping (s->push->remote, f) < 0)
      return -1;
    ms -= part;
  }
  return cancel_check (f);
}

/* Cut an extent where the container is not contiguous or PIECE is full. */
static int
cut_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct walk *w = opaque;
  struct layout *l = w->state->layout;
  uint64_t end = e->start + e->length;

  for (uint64_t at = e->start; at < end;) {
    uint64_t length = end - at < PIECE ? end - at : PIECE;
    uint64_t container = at;

    if (l != NULL)
      container = layout_cluster_offset (l, at / DIGEST_BLOCK);
    if (w->fn (w->state, at, length, container, f) < 0)
      return -1;
    at += length;
  }
  return 0;
}

/* All data of the guest, in order.  In the layout data stand in guest order,
   so that a run of the guest is a run of the container. */
static int
walk_data (struct state *s, run_fn fn, struct fault *f)
{
  struct reader *r = s->push->reader;
  struct walk w = { .state = s, .fn = fn };

  return reader_map (r, 0, reader_size (r), cut_extent, &w, f);
}

static int
mark_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct state *s = opaque;
  uint64_t first = e->start / DIGEST_BLOCK;

  s->push->progress->bytes_total += e->length;
  if (s->layout == NULL)
    return 0;
  return layout_set_data (s->layout, first,
                          DIGEST_BLOCKS (e->start + e->length) - first, f);
}

static int
write_run (struct state *s, uint64_t guest, uint64_t length, uint64_t container,
           struct fault *f)
{
  struct push *p = s->push;
  uint64_t sent = length;

  if (reader_read (p->reader, guest, s->piece, length, f) < 0)
    return -1;
  /* The last cluster of a qcow2 file is written whole. */
  if (s->layout != NULL) {
    sent = DIGEST_BLOCKS (length) * DIGEST_BLOCK;
    memset (s->piece + length, 0, sent - length);
  }
  if (remote_write (p->remote, container, s->piece, sent, NULL, f) < 0)
    return -1;
  p->written += sent;
  report (s, length);
  phase_stop (PHASE_WRITE);
  return rest (s, sent, f);
}

/* Tables, without cluster 0. */
static int
write_tables (struct state *s, struct fault *f)
{
  uint64_t end = layout_data_offset (s->layout);

  for (uint64_t at = DIGEST_BLOCK; at < end;) {
    size_t size = end - at < PIECE ? (size_t)(end - at) : PIECE;

    layout_meta_read (s->layout, at, s->piece, size);
    if (remote_write (s->push->remote, at, s->piece, size, NULL, f) < 0
        || rest (s, size, f) < 0)
      return -1;
    s->push->written += size;
    at += size;
  }
  return 0;
}

static int
mismatch (uint64_t container, struct fault *f)
{
  return fault_set (f, FAULT_CORRUPT, 0,
                    "read back at offset %" PRIu64 " of the new volume: not "
                    "the bytes that were written; the storage does not keep "
                    "what it is given",
                    container);
}

static int
check_run (struct state *s, uint64_t guest, uint64_t length, uint64_t container,
           struct fault *f)
{
  struct push *p = s->push;
  uint64_t end
      = s->layout != NULL ? DIGEST_BLOCKS (length) * DIGEST_BLOCK : length;
  uint8_t wanted[DIGEST_SIZE];

  if (remote_check (p->remote, container, end, s->digests, f) < 0)
    return -1;
  for (uint64_t i = 0; i < DIGEST_BLOCKS (length); i++) {
    int rc = reader_digest (p->reader, guest / DIGEST_BLOCK + i, wanted, f);

    if (rc < 0)
      return -1;
    if (!digest_equal (rc > 0 ? wanted : digest_zero (),
                       s->digests + i * DIGEST_SIZE))
      return mismatch (container + i * DIGEST_BLOCK, f);
  }
  report (s, length);
  phase_stop (PHASE_VERIFY);
  return cancel_check (f);
}

static int
check_tables (struct state *s, struct fault *f)
{
  uint64_t end = layout_data_offset (s->layout);
  uint8_t wanted[PIECE / DIGEST_BLOCK * DIGEST_SIZE];

  for (uint64_t at = DIGEST_BLOCK; at < end;) {
    size_t size = end - at < PIECE ? (size_t)(end - at) : PIECE;

    layout_meta_read (s->layout, at, s->piece, size);
    digest_table (s->piece, size, wanted);
    if (remote_check (s->push->remote, at, size, s->digests, f) < 0)
      return -1;
    for (size_t i = 0; i < DIGEST_BLOCKS (size); i++) {
      if (!digest_equal (wanted + i * DIGEST_SIZE,
                         s->digests + i * DIGEST_SIZE))
        return mismatch (at + i * DIGEST_BLOCK, f);
    }
    at += size;
  }
  return 0;
}

static int
make_layout (struct state *s, struct fault *f)
{
  struct layout_params params = {
    .virtual_size = s->push->capacity,
    .version = s->push->qcow2_version,
  };

  if (!s->push->cow)
    return 0;
  return layout_new (&params, &s->layout, f);
}

static int
write_phase (struct state *s, struct fault *f)
{
  struct push *p = s->push;
  uint64_t size = p->capacity;

  p->progress->phase = phase_name (PHASE_WRITE);
  phase_stop (PHASE_WRITE);
  if (s->layout != NULL) {
    if (layout_seal (s->layout, f) < 0)
      return -1;
    size = layout_file_size (s->layout);
    if (write_tables (s, f) < 0)
      return -1;
  }
  if (walk_data (s, write_run, f) < 0)
    return -1;
  /* A raw file has its size already; a cow file that ends with tables or is
     longer than what the engine made ends where the layout says. */
  if (s->layout != NULL && !p->preallocated
      && remote_truncate (p->remote, size, f) < 0)
    return -1;
  return remote_flush (p->remote, f);
}

static int
verify_phase (struct state *s, struct fault *f)
{
  s->push->progress->phase = phase_name (PHASE_VERIFY);
  s->push->progress->bytes_done = 0;
  phase_stop (PHASE_VERIFY);
  if (s->layout != NULL && check_tables (s, f) < 0)
    return -1;
  return walk_data (s, check_run, f);
}

static int
seal (struct state *s, struct fault *f)
{
  if (s->layout == NULL)
    return remote_seal (s->push->remote, NULL, 0, NULL, f);
  layout_meta_read (s->layout, 0, s->piece, DIGEST_BLOCK);
  if (remote_seal (s->push->remote, s->piece, DIGEST_BLOCK, NULL, f) < 0)
    return -1;
  digest_of (s->piece, DIGEST_BLOCK, s->digests + DIGEST_SIZE);
  if (remote_check (s->push->remote, 0, DIGEST_BLOCK, s->digests, f) < 0)
    return -1;
  if (!digest_equal (s->digests, s->digests + DIGEST_SIZE))
    return mismatch (0, f);
  return 0;
}

int
push_run (struct push *p, struct fault *f)
{
  struct state s = { .push = p };
  int rc = -1;

  s.piece = try_aligned (4096, PIECE, "a piece of a disk", f);
  s.digests = try_calloc (PIECE / DIGEST_BLOCK + 1, DIGEST_SIZE, "digests", f);
  p->progress->bytes_total = 0;
  if (s.piece != NULL && s.digests != NULL && make_layout (&s, f) == 0
      && reader_map (p->reader, 0, reader_size (p->reader), mark_extent, &s, f)
             == 0
      && write_phase (&s, f) == 0 && verify_phase (&s, f) == 0)
    rc = seal (&s, f);
  layout_free (s.layout);
  free (s.digests);
  free (s.piece);
  return rc;
}
