/* SPDX-License-Identifier: Apache-2.0 */
/* The disk is taken step by step: the ranges of a step are found by one map,
   then the threads take pieces of them, each reading through a chain of its
   own. */
#include <config.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "cli/image_copy.h"
#include "cli/image_open.h"
#include "image/chain.h"
#include "image/source.h"

#define STEP (UINT64_C (4) << 30)

struct range {
  uint64_t start;
  uint64_t end;
};

struct ranges {
  struct range *array;
  size_t count;
  size_t capacity;
};

struct copy {
  pthread_mutex_t lock; /* for all that follows */
  struct ranges ranges; /* of this step */
  size_t next;          /* the range that is given out */
  bool failed;
  struct fault *fault;
  image_copy_fn fn;
  void *opaque;
};

struct worker {
  struct copy *copy;
  struct chain *chain;
  bool owned; /* the chain */
  uint8_t *piece;
  pthread_t thread;
};

static int
note_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct ranges *r = opaque;

  (void)f;
  if (e->kind != EXTENT_DATA && e->kind != EXTENT_MIXED)
    return 0;
  if (r->count > 0 && r->array[r->count - 1].end == e->start) {
    r->array[r->count - 1].end += e->length;
    return 0;
  }
  if (r->count == r->capacity) {
    r->capacity = r->capacity == 0 ? 256 : r->capacity * 2;
    r->array = xreallocarray (r->array, r->capacity, sizeof r->array[0]);
  }
  r->array[r->count].start = e->start;
  r->array[r->count++].end = e->start + e->length;
  return 0;
}

/* The ranges of the step at AT. */
static int
map_step (struct chain *c, uint64_t at, struct ranges *r, struct fault *f)
{
  uint64_t left = chain_size (c) - at;

  r->count = 0;
  if (cancel_check (f) < 0)
    return -1;
  return chain_map_blocks (c, at, STEP < left ? STEP : left, CHAIN_WHOLE,
                           IMAGE_COPY_BLOCK, note_extent, r, f);
}

int
image_copy_ranges (struct chain *c, image_copy_range_fn fn, void *opaque,
                   struct fault *f)
{
  struct ranges r = { NULL, 0, 0 };
  int rc = 0;

  for (uint64_t at = 0; rc == 0 && at < chain_size (c); at += STEP) {
    rc = map_step (c, at, &r, f);
    for (size_t i = 0; rc == 0 && i < r.count; i++)
      rc = fn (opaque, r.array[i].start, r.array[i].end, f);
  }
  free (r.array);
  return rc;
}

/* The next piece, or false at the end of the step. */
static bool
take_piece (struct copy *c, struct range *piece)
{
  SCOPED_LOCK (&c->lock);
  struct range *r = &c->ranges.array[c->next];
  uint64_t end;

  if (c->failed || c->next == c->ranges.count)
    return false;
  end = (r->start / IMAGE_COPY_PIECE + 1) * IMAGE_COPY_PIECE;
  piece->start = r->start;
  piece->end = end < r->end ? end : r->end;
  r->start = piece->end;
  if (r->start == r->end)
    c->next++;
  return true;
}

static int
copy_piece (struct worker *w, const struct range *piece, struct fault *f)
{
  uint64_t n = piece->end - piece->start;
  uint64_t padded = (n + IMAGE_COPY_BLOCK - 1) & ~(IMAGE_COPY_BLOCK - 1);

  if (cancel_check (f) < 0
      || chain_read (w->chain, piece->start, w->piece, n, f) < 0)
    return -1;
  memset (w->piece + n, 0, padded - n);
  return w->copy->fn (w->copy->opaque, piece->start, w->piece, n, f);
}

static void *
work (void *opaque)
{
  struct worker *w = opaque;
  struct copy *c = w->copy;
  struct range piece;

  while (take_piece (c, &piece)) {
    struct fault f = FAULT_INIT;

    if (copy_piece (w, &piece, &f) < 0) {
      SCOPED_LOCK (&c->lock);
      if (!c->failed)
        fault_copy (c->fault, &f);
      c->failed = true;
    }
  }
  return NULL;
}

/* The calling thread is worker 0. */
static int
run_step (struct copy *c, struct worker *workers, unsigned count)
{
  unsigned started = 1;

  c->next = 0;
  if (c->ranges.count == 0)
    return 0;
  while (started < count
         && pthread_create (&workers[started].thread, NULL, work,
                            &workers[started])
                == 0)
    started++;
  work (&workers[0]);
  for (unsigned i = 1; i < started; i++)
    pthread_join (workers[i].thread, NULL);
  return c->failed ? -1 : 0;
}

static int
setup_worker (struct worker *w, struct copy *c, struct image_open *o,
              bool first, struct fault *f)
{
  w->copy = c;
  w->piece = try_aligned (SOURCE_ALIGN, IMAGE_COPY_PIECE, "a copy buffer", f);
  if (w->piece == NULL)
    return -1;
  w->owned = !first;
  if (!first)
    return image_open_again (o, &w->chain, f);
  w->chain = image_open_chain (o);
  return 0;
}

int
image_copy (struct image_open *o, unsigned threads, image_copy_fn fn,
            void *opaque, struct fault *f)
{
  struct copy c = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .fault = f, .fn = fn, .opaque = opaque
  };
  struct worker *workers = xcalloc (threads, sizeof workers[0]);
  uint64_t size = chain_size (image_open_chain (o));
  int rc = 0;

  for (unsigned i = 0; rc == 0 && i < threads; i++)
    rc = setup_worker (&workers[i], &c, o, i == 0, f);
  for (uint64_t at = 0; rc == 0 && at < size; at += STEP) {
    rc = map_step (workers[0].chain, at, &c.ranges, f);
    if (rc == 0)
      rc = run_step (&c, workers, threads);
  }
  for (unsigned i = 0; i < threads; i++) {
    if (workers[i].owned)
      chain_free (workers[i].chain);
    free (workers[i].piece);
  }
  free (workers);
  free (c.ranges.array);
  pthread_mutex_destroy (&c.lock);
  return rc;
}
