/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <inttypes.h>
#include <stdlib.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "host/remote.h"
#include "job/flat.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/push.h"
#include "job/quota.h"
#include "job/watch.h"
#include "wire/digest.h"

#define PROGRESS_MS 200
#define DIGESTS (FLAT_HOLE / DIGEST_BLOCK) /* of the longest piece */

struct state {
  struct push *push;
  uint8_t *piece;  /* FLAT_PIECE bytes */
  uint8_t *wanted; /* DIGESTS of them */
  uint8_t *got;
  uint64_t reported_ms;
};

/* Of PIECE, what counts of it is done, and WIRE bytes went over the network. */
static void
report (struct state *s, const struct flat_piece *piece, uint64_t wire)
{
  struct push *p = s->push;
  uint64_t now = stamp_mono_ms ();

  /* A hole that must be zeroed takes its time as data does. */
  if (p->zero_holes)
    p->progress->bytes_done += piece->size;
  else if (piece->kind == FLAT_DATA)
    p->progress->bytes_done += piece->length;
  p->progress->bytes_wire += wire;
  if (p->observer->progress == NULL || now < s->reported_ms + PROGRESS_MS)
    return;
  s->reported_ms = now;
  p->observer->progress (p->observer->opaque, p->progress);
}

/* RC of something that the host does. */
static int
there (struct state *s, int rc)
{
  if (rc < 0)
    s->push->host_failed = true;
  return rc;
}

/* Before each piece: may it go on? */
static int
may_go_on (struct state *s, struct fault *f)
{
  if (cancel_check (f) < 0)
    return -1;
  return watch_check (s->push->watch, f);
}

/* flat_fn */
static int
write_piece (const struct flat_piece *piece, void *opaque, struct fault *f)
{
  struct state *s = opaque;
  struct push *p = s->push;

  if (may_go_on (s, f) < 0)
    return -1;
  if (piece->kind == FLAT_HOLE_RAW) {
    if (p->zero_holes
        && there (s, remote_zero (p->remote, piece->at, piece->size, f)) < 0)
      return -1;
    report (s, piece, 0);
    return 0;
  }
  if (flat_read (p->flat, piece, s->piece, f) < 0
      || there (s, remote_write (p->remote, piece->at, s->piece,
                                 (size_t)piece->size, NULL, f))
             < 0)
    return -1;
  p->written += piece->size;
  report (s, piece, piece->size);
  if (piece->kind == FLAT_DATA)
    phase_stop (PHASE_WRITE);
  return there (s, quota_rest (p->quota, piece->size, p->remote, f));
}

/* flat_fn */
static int
check_piece (const struct flat_piece *piece, void *opaque, struct fault *f)
{
  struct state *s = opaque;
  struct push *p = s->push;

  if (may_go_on (s, f) < 0)
    return -1;
  if (piece->kind == FLAT_HOLE_RAW && !p->zero_holes)
    return 0;
  if (there (s, remote_check (p->remote, piece->at, piece->size, s->got, f)) < 0
      || flat_digests (p->flat, piece, s->piece, s->wanted, f) < 0)
    return -1;
  for (uint64_t i = 0; i < DIGEST_BLOCKS (piece->size); i++) {
    if (!digest_equal (s->wanted + i * DIGEST_SIZE, s->got + i * DIGEST_SIZE))
      return fault_set (f, FAULT_CORRUPT, 0,
                        "read back at offset %" PRIu64 " of the new volume: "
                        "not the bytes that were written; the storage does "
                        "not keep what it is given",
                        piece->at + i * DIGEST_BLOCK);
  }
  report (s, piece, 0);
  if (piece->kind == FLAT_DATA)
    phase_stop (PHASE_VERIFY);
  return 0;
}

/* Cluster 0 is left to the seal. */
static uint64_t
walk_from (const struct push *p)
{
  return p->cow ? FLAT_HEAD : 0;
}

static int
write_phase (struct state *s, struct fault *f)
{
  struct push *p = s->push;

  p->progress->phase = phase_name (PHASE_WRITE);
  phase_stop (PHASE_WRITE);
  if (flat_walk (p->flat, walk_from (p), write_piece, s, f) < 0)
    return -1;
  /* A raw file has its size already; a cow file that ends with tables or is
     longer than what the engine made ends where the layout says. */
  if (p->cow && !p->fixed_size
      && there (s, remote_truncate (p->remote, flat_size (p->flat), f)) < 0)
    return -1;
  return there (s, remote_flush (p->remote, f));
}

static int
verify_phase (struct state *s, struct fault *f)
{
  s->push->progress->phase = phase_name (PHASE_VERIFY);
  s->push->progress->bytes_done = 0;
  phase_stop (PHASE_VERIFY);
  return flat_walk (s->push->flat, walk_from (s->push), check_piece, s, f);
}

static int
seal (struct state *s, struct fault *f)
{
  const struct flat_piece head
      = { .kind = FLAT_TABLE, .at = 0, .size = FLAT_HEAD };

  if (!s->push->cow)
    return there (s, remote_seal (s->push->remote, NULL, 0, NULL, f));
  if (flat_read (s->push->flat, &head, s->piece, f) < 0
      || there (s, remote_seal (s->push->remote, s->piece, FLAT_HEAD, NULL, f))
             < 0)
    return -1;
  return check_piece (&head, s, f);
}

int
push_prepare (struct push *p, struct reader *reader, uint64_t capacity,
              struct fault *f)
{
  struct flat_params params = {
    .cow = p->cow,
    .version = p->qcow2_version,
    .virtual_size = capacity,
  };

  phase_stop (PHASE_MAP); /* no phase of a restore: for tests */
  if (flat_new (reader, &params, &p->flat, f) < 0)
    return -1;
  p->data = flat_data (p->flat);
  return 0;
}

void
push_reset (struct push *p)
{
  flat_free (p->flat);
  p->flat = NULL;
}

/* Now that the volume is known. */
static int
fit (struct push *p, struct fault *f)
{
  if (flat_resize (p->flat, p->capacity, f) < 0)
    return -1;
  p->progress->bytes_total = p->zero_holes ? flat_size (p->flat) : p->data;
  if (p->container > 0 && flat_size (p->flat) > p->container)
    return fault_set (f, FAULT_SPACE, 0,
                      "the new volume has %" PRIu64 " bytes, its image needs "
                      "%" PRIu64,
                      p->container, flat_size (p->flat));
  return 0;
}

int
push_run (struct push *p, struct fault *f)
{
  struct state s = { .push = p };
  int rc = -1;

  s.piece = try_aligned (4096, FLAT_PIECE, "a piece of a disk", f);
  s.wanted = try_calloc (DIGESTS, DIGEST_SIZE, "digests", f);
  s.got = try_calloc (DIGESTS, DIGEST_SIZE, "digests", f);
  if (s.piece != NULL && s.wanted != NULL && s.got != NULL && fit (p, f) == 0
      && write_phase (&s, f) == 0 && verify_phase (&s, f) == 0)
    rc = seal (&s, f);
  free (s.got);
  free (s.wanted);
  free (s.piece);
  return rc;
}
