/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "engine/host.h"
#include "host/remote.h"
#include "job/identity.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/quota.h"
#include "job/reap.h"
#include "job/site.h"
#include "job/stream.h"
#include "job/watch.h"
#include "repo/writer.h"
#include "wire/msg.h"

#define RANGE_SIZE (MSG_SPAN / 2)
#define RANGE_BLOCKS (RANGE_SIZE / DIGEST_BLOCK)
#define DEPTH 2         /* ranges under way on a lane */
#define REOPEN_MAX 3    /* broken connections of a lane and disk */
#define REOPEN_MS 1000  /* before the first; doubled each time */
#define MOVES_MAX 3     /* to other hosts, for one disk */
#define PROGRESS_MS 200 /* between two reports */
#define REST_MS 200     /* between two looks at lanes that still read */

struct range {
  uint64_t start;
  uint64_t length; /* 0: free */
  uint32_t id;
  uint8_t got[RANGE_BLOCKS / 8];
};

/* Shared by the lanes of one disk. */
struct shared {
  struct stream *stream;
  pthread_mutex_t lock; /* guards all below and stream->progress */
  uint64_t next;
  uint32_t last_id;
  uint64_t reported_ms;
  atomic_bool hurry; /* wait no longer for the host; not guarded */
  bool stop;         /* a lane has failed */
  bool leave;        /* the host, as the watch said */
  bool io;           /* the host could not read its storage */
  bool io_moved;
  unsigned working; /* lanes that may still read */
  struct fault fault;
  /* Of lanes that have ended; a range is begun when none is left here. */
  struct range left[STREAM_LANES_MAX * DEPTH];
  unsigned left_count;
};

struct worker {
  struct shared *shared;
  struct site_lane *lane;
  unsigned index;
  unsigned reopened;
  bool host_failed;   /* the last fault is the host's, not the repository's */
  uint64_t wire_seen; /* of remote_totals */
  struct range ranges[DEPTH];
  pthread_t thread;
  bool started;
};

/* Is there anything in the span that begins at OFFSET? */
static bool
span_is_empty (const struct stream *s, uint64_t offset)
{
  uint64_t index = offset / MSG_SPAN;

  return index < s->map->span_count && s->map->spans[index] == 0;
}

/* Take the next range into R; false when the disk is done. */
static bool
range_take (struct shared *sh, struct range *r)
{
  struct stream *s = sh->stream;
  SCOPED_LOCK (&sh->lock);

  if (sh->stop)
    return false;
  if (sh->left_count > 0) {
    *r = sh->left[--sh->left_count];
    return true;
  }
  while (sh->next < s->virtual_size && span_is_empty (s, sh->next))
    sh->next += MSG_SPAN - sh->next % MSG_SPAN;
  if (sh->next >= s->virtual_size)
    return false;
  memset (r, 0, sizeof *r);
  r->id = ++sh->last_id;
  r->start = sh->next;
  r->length = s->virtual_size - r->start;
  if (r->length > RANGE_SIZE)
    r->length = RANGE_SIZE;
  sh->next += r->length;
  return true;
}

static struct range *
range_find (struct worker *w, uint32_t id)
{
  for (unsigned i = 0; i < DEPTH; i++) {
    if (w->ranges[i].length != 0 && w->ranges[i].id == id)
      return &w->ranges[i];
  }
  return NULL;
}

static bool
range_has (const struct range *r, uint64_t block)
{
  return (r->got[block / 8] & (1u << (block % 8))) != 0;
}

/* SIZE bytes from byte SKIP of B on: blocks that had not come before. */
static int
store (struct writer *writer, const struct remote_block *b, uint64_t skip,
       uint64_t size, struct fault *f)
{
  if (size > b->size - skip)
    size = b->size - skip;
  if (b->kind == REMOTE_ZERO)
    return writer_zero (writer, b->offset + skip, size, f);
  return writer_put (writer, b->offset + skip, b->data + skip, size,
                     b->digests + skip / DIGEST_BLOCK * DIGEST_SIZE, f);
}

/* Store the blocks of B that are new: after a broken connection a range is
   asked for again, and a frame may hold old blocks and new ones. */
static int
range_store (struct range *r, const struct remote_block *b,
             struct writer *writer, struct fault *f)
{
  uint64_t base = (b->offset - r->start) / DIGEST_BLOCK;
  uint64_t count = DIGEST_BLOCKS (b->size);

  for (uint64_t i = 0; i < count; i++) {
    uint64_t first = i;

    for (; i < count && !range_has (r, base + i); i++)
      r->got[(base + i) / 8] |= (uint8_t)(1u << ((base + i) % 8));
    if (i > first
        && store (writer, b, first * DIGEST_BLOCK, (i - first) * DIGEST_BLOCK,
                  f)
               < 0)
      return -1;
  }
  return 0;
}

static void
report (struct worker *w, uint64_t done, uint64_t skipped)
{
  struct shared *sh = w->shared;
  struct stream *s = sh->stream;
  struct remote_totals totals;
  uint64_t now = stamp_mono_ms ();

  remote_totals (w->lane->remote, &totals);
  SCOPED_LOCK (&sh->lock);
  s->progress->bytes_done += done;
  s->progress->bytes_skipped += skipped;
  s->progress->bytes_wire += totals.wire_bytes - w->wire_seen;
  w->wire_seen = totals.wire_bytes;
  if (now < sh->reported_ms + PROGRESS_MS || s->observer->progress == NULL)
    return;
  sh->reported_ms = now;
  s->observer->progress (s->observer->opaque, s->progress);
}

static int
handle (struct worker *w, const struct remote_block *b, struct fault *f)
{
  struct writer *writer = w->shared->stream->writer;
  struct range *r = range_find (w, b->id);

  if (r == NULL)
    return fault_set (f, FAULT_PROTO, 0,
                      "the helper answered a request that was not made");
  if (b->kind == REMOTE_DONE) {
    r->length = 0;
    report (w, b->done.skipped_bytes, b->done.skipped_bytes);
    return 0;
  }
  if (b->offset < r->start || b->offset - r->start > r->length
      || b->size > r->length - (b->offset - r->start))
    return fault_set (f, FAULT_PROTO, 0,
                      "the helper sent bytes outside of what was asked for");
  if (range_store (r, b, writer, f) < 0)
    return -1;
  if (b->kind == REMOTE_ZERO)
    return 0;
  report (w, b->size, 0);
  return quota_rest (w->shared->stream->quota, b->size, w->lane->remote, f);
}

/* Ask for ranges until DEPTH are under way; again asks for those that a
   broken connection left. */
static int
submit (struct worker *w, bool again, struct fault *f)
{
  for (unsigned i = 0; i < DEPTH; i++) {
    struct range *r = &w->ranges[i];

    if (r->length != 0 && !again)
      continue;
    if (r->length == 0 && !range_take (w->shared, r))
      continue;
    if (remote_read_submit (w->lane->remote, r->id, r->start, r->length, f) < 0)
      return -1;
  }
  return 0;
}

static bool
stopped (struct shared *sh)
{
  SCOPED_LOCK (&sh->lock);
  return sh->stop;
}

static int
lane_read (struct worker *w, struct fault *f)
{
  struct remote_block b;

  if (submit (w, true, f) < 0)
    return -1;
  while (remote_read_outstanding (w->lane->remote) > 0) {
    if (stopped (w->shared))
      return 0;
    if (cancel_check (f) < 0)
      return -1;
    if (remote_next (w->lane->remote, &b, f) < 0) {
      w->host_failed = true;
      return -1;
    }
    if (handle (w, &b, f) < 0)
      return -1;
    if (b.kind == REMOTE_DONE) {
      phase_stop (PHASE_STREAM);
      if (submit (w, false, f) < 0)
        return -1;
    }
  }
  return 0;
}

/* Connect (when there is no helper yet) and open the layers; they must be
   those of t0. */
static int
lane_prepare (struct worker *w, struct fault *f)
{
  struct stream *s = w->shared->stream;
  struct msg_opened opened = { .layer_count = 0 };
  char words[IDENTITY_WORDS_MAX];
  int rc;

  w->wire_seen = 0;
  if (w->lane->remote == NULL
      && site_lane_open (s->site, s->host, w->lane, f) < 0)
    return -1;
  rc = reap_open_read (s->site, w->lane, s->vm_id, s->open, &opened, f);
  if (rc == 0 && strcmp (opened.identity, s->identity) != 0) {
    identity_differs (s->identity, opened.identity, words);
    rc = fault_set (f, FAULT_BUSY, 0,
                    "the layers are not those of the first look any more: "
                    "something was merged or moved meanwhile (%s)",
                    words);
  }
  msg_opened_reset (&opened);
  return rc;
}

static int
lane_reopen (struct worker *w, struct fault *f)
{
  struct fault again = FAULT_INIT;
  unsigned wait_ms = REOPEN_MS << w->reopened;

  while (f->code == FAULT_NET && w->reopened < REOPEN_MAX
         && !stopped (w->shared)) {
    log_warn ("disk %s: stream %u: %s; trying again in %u s",
              w->shared->stream->progress->alias, w->index, f->text,
              wait_ms / 1000);
    w->reopened++;
    fault_reset (&again);
    site_lane_drop (w->shared->stream->site, w->lane);
    if (cancel_sleep_ms (wait_ms, &again) == 0
        && lane_prepare (w, &again) == 0) {
      fault_reset (f);
      return 0;
    }
    *f = again;
    wait_ms *= 2;
  }
  return -1;
}

/* The ranges of a lane that has ended are for others. */
static void
leave_ranges (struct worker *w)
{
  SCOPED_LOCK (&w->shared->lock);

  for (unsigned i = 0; i < DEPTH; i++) {
    if (w->ranges[i].length != 0)
      w->shared->left[w->shared->left_count++] = w->ranges[i];
  }
}

/* A lane but the first: its helper of the disk before may have ended by itself,
   since nothing was asked of it for longer than its heartbeat. */
static int
lane_join (struct worker *w, struct fault *f)
{
  bool old = w->lane->remote != NULL;

  if (lane_prepare (w, f) == 0)
    return 0;
  if (!old || f->code != FAULT_NET)
    return -1;
  fault_reset (f);
  site_lane_drop (w->shared->stream->site, w->lane);
  return lane_prepare (w, f);
}

static bool
others_read (struct shared *sh)
{
  SCOPED_LOCK (&sh->lock);
  return sh->working > 0 && !sh->stop;
}

/* Done; its helper stays until the others are. */
static void
rest (struct worker *w)
{
  struct fault f = FAULT_INIT;

  while (others_read (w->shared)) {
    if (remote_ping (w->lane->remote, &f) < 0
        || cancel_sleep_ms (REST_MS, &f) < 0)
      break;
  }
}

/* False when there is nothing to rest with. */
static bool
lane_run (struct worker *w)
{
  struct shared *sh = w->shared;
  struct fault f = FAULT_INIT;
  struct remote_totals totals;

  if (w->index > 0 && lane_join (w, &f) < 0) {
    /* The others do its work. */
    if (f.code != FAULT_CANCELLED)
      log_warn ("disk %s: stream %u is not used: %s",
                sh->stream->progress->alias, w->index, f.text);
    site_lane_drop (sh->stream->site, w->lane);
    return false;
  }
  remote_totals (w->lane->remote, &totals);
  w->wire_seen = totals.wire_bytes;
  while (lane_read (w, &f) < 0) {
    if (lane_reopen (w, &f) < 0) {
      SCOPED_LOCK (&sh->lock);
      if (sh->fault.code == FAULT_NONE)
        sh->io = w->host_failed && f.code == FAULT_IO;
      fault_copy (&sh->fault, &f);
      sh->stop = true;
      return false;
    }
  }
  return true;
}

static void *
worker_main (void *opaque)
{
  struct worker *w = opaque;
  struct shared *sh = w->shared;
  bool good;

  log_context (sh->stream->progress->vm_name);
  cancel_on (&sh->hurry);
  good = lane_run (w);
  leave_ranges (w);
  {
    SCOPED_LOCK (&sh->lock);
    sh->working--;
  }
  if (good)
    rest (w);
  cancel_on (NULL);
  return NULL;
}

/* Without a thread the first lane reads alone, here. */
static void
start (struct worker *w)
{
  struct shared *sh = w->shared;

  w->started = pthread_create (&w->thread, NULL, worker_main, w) == 0;
  if (!w->started && w->index == 0)
    worker_main (w);
  else if (!w->started) {
    SCOPED_LOCK (&sh->lock);
    sh->working--;
  }
}

/* How many lanes are worth it: one for each range, none for nothing. */
static unsigned
lanes_wanted (const struct stream *s)
{
  uint64_t ranges = s->map->data_bytes / RANGE_SIZE + 1;

  return ranges < s->lane_count ? (unsigned)ranges : s->lane_count;
}

/* watch_fn */
static void
on_watch (const struct fault *why, bool late, void *opaque)
{
  struct shared *sh = opaque;
  SCOPED_LOCK (&sh->lock);

  sh->hurry = late;
  fault_copy (&sh->fault, why);
  sh->leave = sh->fault.code == FAULT_NET;
  sh->stop = true;
}

static void
run_lanes (struct shared *sh)
{
  struct stream *s = sh->stream;
  struct worker workers[STREAM_LANES_MAX] = { 0 };
  unsigned count = lanes_wanted (s);
  const struct watch_what what
      = { .host = s->host, .domain = s->domain, .name = s->progress->vm_name };
  struct watch *watch = watch_begin (s->site, &what, on_watch, sh);

  sh->working = count;
  for (unsigned i = 0; i < count; i++) {
    workers[i].shared = sh;
    workers[i].lane = &s->lanes[i];
    workers[i].index = i;
    start (&workers[i]);
  }
  for (unsigned i = 0; i < count; i++) {
    if (workers[i].started)
      pthread_join (workers[i].thread, NULL);
  }
  watch_end (watch);
}

/* Is the disk done?  The watch may have spoken after the last block. */
static bool
is_done (const struct shared *sh)
{
  const struct stream *s = sh->stream;
  uint64_t next = sh->next;

  while (next < s->virtual_size && span_is_empty (s, next))
    next += MSG_SPAN - next % MSG_SPAN;
  return sh->left_count == 0 && next >= s->virtual_size;
}

/* Is the host to be left for the fault WHY?  One that cannot read its storage
   only once: what no host can read would be tried by all. */
static bool
must_leave (struct shared *sh, const struct fault *why)
{
  struct stream *s = sh->stream;
  struct fault state = FAULT_INIT;

  if (sh->leave)
    return true;
  if (sh->io && !sh->io_moved)
    return sh->io_moved = true;
  return why->code == FAULT_NET
         && watch_look (s->site, s->host, s->domain, &state) < 0
         && state.code == FAULT_NET;
}

/* Open the layers on another host, and count it in MOVES.  -1: with the fault for
   which this one is left, when that is not the host's, or with why none is
   better. */
static int
move (struct shared *sh, unsigned *moves, struct fault *f)
{
  struct stream *s = sh->stream;
  struct worker w = { .shared = sh, .lane = &s->lanes[0] };
  struct fault why = sh->fault;

  if (!must_leave (sh, &why))
    return fault_copy (f, &why);
  do {
    if (++*moves > MOVES_MAX)
      return fault_copy (f, &why);
    if (stream_elsewhere (s->site, s->lanes, s->lane_count, s->vm_id, &s->host,
                          &why, f)
        < 0)
      return -1;
    log_warn ("disk %s: %s; going on from host %s", s->progress->alias,
              why.text, s->host->name);
    fault_reset (&why);
  } while (lane_prepare (&w, &why) < 0 && watch_is_of_host (&why));
  if (why.code != FAULT_NONE)
    return fault_copy (f, &why);
  fault_reset (&sh->fault);
  sh->hurry = false;
  sh->stop = false;
  sh->leave = false;
  sh->io = false;
  return 0;
}

int
stream_run (struct stream *s, struct fault *f)
{
  CLEANUP_FREE struct shared *sh = xcalloc (1, sizeof *sh);
  unsigned moves = 0;
  int rc = 0;

  sh->stream = s;
  pthread_mutex_init (&sh->lock, NULL);
  s->progress->phase = phase_name (PHASE_STREAM);
  s->progress->bytes_total = s->map->data_bytes;
  while (rc == 0) {
    run_lanes (sh);
    if (sh->fault.code == FAULT_NONE || (sh->leave && is_done (sh)))
      break;
    rc = move (sh, &moves, f);
  }
  pthread_mutex_destroy (&sh->lock);
  if (rc < 0)
    return -1;
  if (s->observer->progress != NULL)
    s->observer->progress (s->observer->opaque, s->progress);
  return 0;
}

int
stream_close (struct site *site, struct site_lane *lanes, unsigned count,
              struct fault *f)
{
  for (unsigned i = 0; i < count; i++) {
    struct fault why = FAULT_INIT;

    if (lanes[i].remote == NULL || reap_close (&lanes[i], &why) == 0)
      continue;
    if (why.code == FAULT_CANCELLED)
      return fault_copy (f, &why);
    log_warn ("after all was read: %s", why.text);
    site_lane_drop (site, &lanes[i]);
  }
  return 0;
}

void
stream_leave (struct site *site, struct site_lane *lanes, unsigned count)
{
  bool answers = true;

  for (unsigned i = 0; i < count; i++) {
    struct fault ignored = FAULT_INIT;

    if (answers && lanes[i].remote != NULL)
      answers = site_lane_leave (site, &lanes[i], &ignored) == 0;
    else
      site_lane_drop (site, &lanes[i]);
  }
}

int
stream_elsewhere (struct site *site, struct site_lane *lanes, unsigned count,
                  const char *vm_id, const struct host **host,
                  const struct fault *why, struct fault *f)
{
  struct fault none = FAULT_INIT;

  stream_leave (site, lanes, count);
  if (watch_elsewhere (site, vm_id, *host, host, &none) == 0)
    return 0;
  fault_copy (f, why);
  return fault_append (f, "; %.200s", none.text);
}
