/* SPDX-License-Identifier: Apache-2.0 */
/* A READ is cut into slices that the workers take; each slice is mapped, read
   in pieces as large as guest and container run side by side, and what is not
   zero goes out from the buffer that it was read into.

   Mapping is cheap and nearly sequential over all workers, so that one chain
   with one window of tables serves them all, under a lock that is held across
   the read of a table (64 KiB for 512 MiB of disk).  Only blocks that have to
   be put together (compressed, or smaller clusters than ours) are read through
   a chain of the worker's own, made when the first such block comes. */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "image/chain.h"
#include "image/extent.h"
#include "remote/hold.h"
#include "remote/path.h"
#include "remote/send.h"
#include "remote/session.h"
#include "remote/volume.h"
#include "wire/pack.h"

#define SLICE (UINT64_C (8) * 1024 * 1024)
#define SLICE_EXTENTS (SLICE / DIGEST_BLOCK)

struct reading {
  struct session *session;
  char domain[UUID_SIZE];
  int domain_fd;     /* -1 for logical volumes */
  struct hold *hold; /* NULL for files */
  unsigned count;
  struct volume *volumes;
  bool part;         /* the upper part of a chain: zeros are told */
  unsigned stop;     /* of the maps */
  struct chain *map; /* under map_lock while READs run */
  pthread_mutex_t map_lock;
  struct chain *chains[WORK_THREADS];
};

/* --- open ------------------------------------------------------------- */

/* Is the volume ID one of the first COUNT layers? */
static bool
among (const struct msg_layer *layers, uint32_t count, const char *id)
{
  for (uint32_t i = 0; i < count; i++) {
    if (strcmp (layers[i].volume, id) == 0)
      return true;
  }
  return false;
}

int
send_check_chain (const struct msg_open_read *m, struct fault *f)
{
  const struct msg_layer *l;
  const char *next;
  bool last;

  if (m->layer_count > CHAIN_LAYERS_MAX || m->layer_count > SCAN_FILES_MAX)
    return fault_set (f, FAULT_PROTO, 0, "a chain of %u volumes",
                      m->layer_count);
  for (uint32_t i = 0; i < m->layer_count; i++) {
    l = &m->layers[i];
    last = i + 1 == m->layer_count;
    next = last ? UUID_BLANK : m->layers[i + 1].volume;
    if (last && (m->flags & MSG_READ_KEEP_ZERO) != 0 && m->lower_count == 0)
      next = l->parent;
    if (strcmp (l->parent, next) != 0)
      return fault_set (f, FAULT_PROTO, 0,
                        "volume %s: its parent is %s, the next layer is %s",
                        l->volume, l->parent, next);
    if (l->format != MSG_COW && strcmp (l->parent, UUID_BLANK) != 0)
      return fault_set (f, FAULT_PROTO, 0, "volume %s: raw with a parent",
                        l->volume);
    if (among (m->layers, i, l->volume) || among (m->layers, i + 1, l->parent))
      return fault_set (f, FAULT_PROTO, 0, "volume %s: twice in its chain",
                        l->volume);
  }
  return 0;
}

/* Nobody may write to what we are about to read as a frozen state. */
static int
scan (struct reading *r, struct fault *f)
{
  CLEANUP_FREE struct scan_file *files = xcalloc (r->count, sizeof *files);
  struct scan_result result;

  for (unsigned i = 0; i < r->count; i++)
    volume_scan_file (&r->volumes[i], &files[i]);
  if (guard_scan (r->session->guard, files, r->count, &result, f) < 0)
    return -1;
  if (result.pid != 0)
    /* The errno tells the controller that this is the reason. */
    return fault_set (f, FAULT_BUSY, ETXTBSY,
                      "volume %s: process %d (%s) has it open for writing: it "
                      "is not a frozen state",
                      files[result.file].name, result.pid, result.command);
  if (result.hidden > 0)
    return fault_set (f, FAULT_REMOTE, 0,
                      "cannot see the open files of %u processes of this "
                      "host: connect as root, or set ssh.sudo",
                      result.hidden);
  return 0;
}

/* Logical volumes: all are proven, then activated, then opened. */
static int
open_block (struct reading *r, const struct msg_open_read *m, struct fault *f)
{
  CLEANUP_FREE struct lv_want *want = xcalloc (1, sizeof *want);

  if (hold_want (m->dir, &m->group, LV_READ, want, f) < 0)
    return -1;
  memcpy (r->domain, want->sd, UUID_SIZE);
  want->count = m->layer_count;
  for (uint32_t i = 0; i < m->layer_count; i++)
    memcpy (want->volumes[i], m->layers[i].volume, UUID_SIZE);
  r->hold = hold_open (r->session->guard, want, f);
  if (r->hold == NULL)
    return -1;
  for (uint32_t i = 0; i < m->layer_count; i++) {
    if (volume_prove_read (&r->volumes[i], r->hold, i, &m->layers[i], f) < 0)
      return -1;
    r->count++;
  }
  if (hold_activate (r->hold, f) < 0)
    return -1;
  session_stop (r->session, "active");
  for (unsigned i = 0; i < r->count; i++) {
    if (volume_take (&r->volumes[i], f) < 0)
      return -1;
  }
  return 0;
}

static int
open_files (struct reading *r, const struct msg_open_read *m, struct fault *f)
{
  struct path_domain domain;

  if (path_parse (m->dir, &domain, f) < 0)
    return -1;
  memcpy (r->domain, path_domain_id (&domain), UUID_SIZE);
  r->domain_fd = path_open_domain (&domain, f);
  if (r->domain_fd < 0)
    return -1;
  /* all are held before one is read: what is removed now stays readable */
  for (uint32_t i = 0; i < m->layer_count; i++) {
    if (volume_open_read (&r->volumes[i], r->domain_fd, r->domain,
                          &m->layers[i], f)
        < 0)
      return -1;
    r->count++;
  }
  return 0;
}

static const char *
format_below (const struct reading *r, unsigned i)
{
  if (i + 1 >= r->count)
    return NULL;
  return r->volumes[i + 1].meta.cow ? "qcow2" : "raw";
}

static struct chain *
build_chain (struct reading *r, struct fault *f)
{
  CLEANUP (chain_free) struct chain *c = chain_new ();

  for (unsigned i = 0; i < r->count; i++) {
    if (volume_add (&r->volumes[i], c, format_below (r, i), f) < 0)
      return NULL;
  }
  return steal_ptr (&c);
}

static int
reply_opened (struct reading *r, uint32_t id, struct fault *f)
{
  CLEANUP_FREE struct msg_opened_layer *layers
      = xcalloc (r->count, sizeof *layers);
  struct msg_opened m = { .virtual_size = chain_size (r->map),
                          .layer_count = r->count,
                          .layers = layers };
  struct buf text;
  struct buf out;
  int rc;

  for (unsigned i = 0; i < r->count; i++) {
    layers[i].container = r->volumes[i].file.size;
    layers[i].virtual_size = chain_layer_size (r->map, i);
  }
  buf_init (&text, MSG_TEXT_MAX);
  buf_init (&out, FRAME_CONTROL_MAX);
  rc = send_identify (r, &text, f);
  if (rc == 0) {
    m.identity = (char *)text.data;
    msg_opened_encode (&m, &out);
    peer_send (&r->session->peer, FRAME_OPENED, id, &out);
  }
  buf_reset (&text);
  buf_reset (&out);
  return rc;
}

static int
open_reading (struct reading *r, uint32_t id, const struct msg_open_read *m,
              struct fault *f)
{
  if (send_check_chain (m, f) < 0
      || (m->kind == MSG_BLOCK ? open_block (r, m, f) : open_files (r, m, f))
             < 0)
    return -1;
  if ((m->flags & MSG_READ_SCAN_WRITERS) != 0 && scan (r, f) < 0)
    return -1;
  r->map = build_chain (r, f);
  if (r->map == NULL)
    return -1;
  if ((!r->part || m->lower_count > 0) && !chain_complete (r->map))
    return fault_set (f, FAULT_CORRUPT, 0, "the last volume has a parent");
  return reply_opened (r, id, f);
}

int
send_open (struct session *s, uint32_t id, struct buf *payload, struct fault *f)
{
  struct msg_open_read m = { 0 };
  struct reading *r;
  int rc = msg_open_read_decode (payload, &m, f);

  if (rc == 0) {
    session_stop (s, "t0");
    r = xcalloc (1, sizeof *r);
    r->session = s;
    r->domain_fd = -1;
    r->volumes = xcalloc (m.layer_count, sizeof *r->volumes);
    r->part = (m.flags & MSG_READ_KEEP_ZERO) != 0;
    r->stop = r->part ? m.layer_count - m.lower_count : CHAIN_WHOLE;
    pthread_mutex_init (&r->map_lock, NULL);
    rc = open_reading (r, id, &m, f);
    if (rc == 0)
      s->reading = r;
    else
      send_close (r, f);
  }
  msg_open_read_reset (&m);
  return rc;
}

int
send_close (struct reading *r, struct fault *f)
{
  int rc = 0;

  chain_free (r->map);
  for (unsigned i = 0; i < WORK_THREADS; i++)
    chain_free (r->chains[i]);
  for (unsigned i = 0; i < r->count; i++) {
    if (volume_close (&r->volumes[i], f) < 0)
      rc = -1;
  }
  if (r->domain_fd >= 0)
    close (r->domain_fd);
  if (r->hold != NULL && session_release (r->session, r->hold, f) < 0)
    rc = -1;
  pthread_mutex_destroy (&r->map_lock);
  free (r->volumes);
  free (r);
  return rc;
}

int
send_identify (struct reading *r, struct buf *text, struct fault *f)
{
  char prefix[32];

  buf_printf (text, "domain %s\n", r->domain);
  if (r->hold != NULL && hold_identify (r->hold, text, f) < 0)
    return -1;
  for (unsigned i = 0; i < r->count; i++) {
    snprintf (prefix, sizeof prefix, "layer %u", i);
    if (volume_identify (&r->volumes[i], prefix, text, f) < 0)
      return -1;
  }
  buf_put_u8 (text, 0);
  if (buf_bad (text))
    return fault_set (f, FAULT_REMOTE, 0, "the chain is too long");
  return 0;
}

/* --- map -------------------------------------------------------------- */

struct sums {
  struct msg_mapped m;
  uint64_t start;
};

/* Add LENGTH bytes at OFFSET to the spans that they lie in. */
static void
add_spans (struct sums *s, const struct extent *e)
{
  uint64_t pos = e->start - s->start;
  uint64_t end = pos + e->length;
  uint64_t n;
  uint32_t *span;

  while (pos < end) {
    span = &s->m.spans[pos / MSG_SPAN];
    n = MSG_SPAN - pos % MSG_SPAN;
    n = n < end - pos ? n : end - pos;
    if (e->kind == EXTENT_ZERO)
      *span |= MSG_SPAN_ZERO;
    else
      *span += (uint32_t)n;
    pos += n;
  }
}

static int
sum_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct sums *s = opaque;

  (void)f;
  s->m.extents++;
  if (e->kind == EXTENT_ABSENT) {
    s->m.absent_bytes += e->length;
    return 0;
  }
  if (e->kind == EXTENT_ZERO)
    s->m.zero_bytes += e->length;
  else
    s->m.data_bytes += e->length;
  add_spans (s, e);
  return 0;
}

static int
map_range (struct reading *r, uint64_t start, uint64_t length, extent_fn fn,
           void *opaque, struct fault *f)
{
  SCOPED_LOCK (&r->map_lock);

  return chain_map_blocks (r->map, start, length, r->stop, DIGEST_BLOCK, fn,
                           opaque, f);
}

int
send_map (struct session *s, uint32_t id, struct buf *payload, struct fault *f)
{
  struct reading *r = s->reading;
  CLEANUP_FREE uint32_t *spans = NULL;
  struct sums sums = { 0 };
  struct msg_map m;
  struct buf out;
  uint64_t size = chain_size (r->map);

  if (msg_map_decode (payload, &m, f) < 0)
    return -1;
  if (m.start > size || m.length > size - m.start || m.start % MSG_SPAN != 0)
    return fault_set (f, FAULT_PROTO, 0, "map beyond the end of the disk");
  session_stop (s, "map");
  sums.start = m.start;
  sums.m.span_count = (uint32_t)((m.length + MSG_SPAN - 1) / MSG_SPAN);
  sums.m.spans = spans = xcalloc (sums.m.span_count, sizeof *spans);
  if (map_range (r, m.start, m.length, sum_extent, &sums, f) < 0)
    return -1;
  buf_init (&out, FRAME_CONTROL_MAX);
  msg_mapped_encode (&sums.m, &out);
  peer_send (&s->peer, FRAME_MAPPED, id, &out);
  buf_reset (&out);
  return 0;
}

/* --- read ------------------------------------------------------------- */

struct read_job {
  struct work_job job;
  struct session *session;
  struct reading *reading;
  uint32_t id;
  struct msg_read range;
  pthread_mutex_t lock; /* of done */
  struct msg_read_done done;
};

/* The extents of a slice, and what became of its bytes. */
struct slice {
  struct read_job *job;
  struct worker *worker;
  struct msg_read_done done;
  unsigned count;
  struct extent extents[SLICE_EXTENTS];
};

static int
collect (const struct extent *e, void *opaque, struct fault *f)
{
  struct slice *s = opaque;

  if (s->count == SLICE_EXTENTS)
    return fault_set (f, FAULT_INTERNAL, 0, "too many extents in a slice");
  s->extents[s->count++] = *e;
  return 0;
}

/* Comparing with itself one step further is a memcmp, which libc has in the
   best form for each CPU. */
static bool
all_zero (const uint8_t *p, size_t size)
{
  static const uint8_t zeros[64];
  const size_t step = sizeof zeros;

  if (size < step)
    return memcmp (p, zeros, size) == 0;
  return memcmp (p, zeros, step) == 0 && memcmp (p, p + step, size - step) == 0;
}

static void
put_data (struct slice *s, uint64_t offset, const uint8_t *data, size_t size)
{
  struct session *session = s->job->session;
  enum frame_coding coding = FRAME_PLAIN;
  const void *coded = data;
  size_t packed = 0;

  /* while the wire is what we wait for, there is time to make it shorter */
  if ((session->hello.codings & (1u << FRAME_LZ4)) != 0
      && peer_busy (&session->peer))
    packed = pack (data, size, s->worker->packed, pack_bound (FRAME_RAW_MAX));
  if (packed > 0) {
    coding = FRAME_LZ4;
    coded = s->worker->packed;
  }
  peer_data (&session->peer, s->job->id, offset, data, (uint32_t)size, coding,
             coded, (uint32_t)(packed > 0 ? packed : size));
  s->done.data_bytes += size;
}

static void
put_zero (struct slice *s, uint64_t offset, uint64_t size)
{
  s->done.zero_bytes += size;
  if (s->job->reading->part)
    peer_zero (&s->job->session->peer, s->job->id, offset, size);
}

/* Send SIZE bytes that were read: runs of blocks with something in them, and
   runs of zeros as such.  The block where a run ends is tested twice; the test
   of one that is not zero mostly ends at its first bytes. */
static void
put_blocks (struct slice *s, uint64_t offset, const uint8_t *data, size_t size)
{
  size_t pos = 0;

  while (pos < size) {
    size_t end = pos;
    bool zero = false;

    for (bool first = true; end < size; first = false) {
      size_t n = size - end < DIGEST_BLOCK ? size - end : DIGEST_BLOCK;
      bool this_zero = all_zero (data + end, n);

      if (first)
        zero = this_zero;
      if (this_zero != zero)
        break;
      end += n;
    }
    if (!zero)
      put_data (s, offset + pos, data + pos, end - pos);
    else if (s->job->reading->part)
      put_zero (s, offset + pos, end - pos);
    else
      s->done.skipped_bytes += end - pos;
    pos = end;
  }
}

static int
own_chain (struct slice *s, struct chain **out, struct fault *f)
{
  struct chain **c = &s->job->reading->chains[s->worker->index];

  if (*c == NULL)
    *c = build_chain (s->job->reading, f);
  *out = *c;
  return *c == NULL ? -1 : 0;
}

/* Read SIZE guest bytes at OFFSET, which E covers, into the worker's
   buffer. */
static int
fetch (struct slice *s, const struct extent *e, uint64_t offset, size_t size,
       struct fault *f)
{
  struct reading *r = s->job->reading;
  size_t whole = (size + DIRECT_ALIGN - 1) & ~(size_t)(DIRECT_ALIGN - 1);
  struct chain *c;

  if (e->kind == EXTENT_DATA)
    return direct_read (&r->volumes[e->layer].file,
                        e->host + (offset - e->start), s->worker->buffer, whole,
                        f);
  if (own_chain (s, &c, f) < 0)
    return -1;
  return chain_read (c, offset, s->worker->buffer, size, f);
}

static int
send_extent (struct slice *s, const struct extent *e, struct fault *f)
{
  uint64_t pos = e->start;
  uint64_t end = e->start + e->length;
  size_t n;

  if (e->kind == EXTENT_ZERO) {
    put_zero (s, e->start, e->length);
    return 0;
  }
  if (e->kind == EXTENT_ABSENT) {
    if (!s->job->reading->part)
      s->done.zero_bytes += e->length;
    return 0;
  }
  while (pos < end) {
    n = end - pos < FRAME_RAW_MAX ? (size_t)(end - pos) : FRAME_RAW_MAX;
    if (fetch (s, e, pos, n, f) < 0)
      return -1;
    put_blocks (s, pos, s->worker->buffer, n);
    pos += n;
  }
  return 0;
}

static int
read_step (struct work_job *job, struct worker *w, uint64_t index,
           struct fault *f)
{
  struct read_job *j = (struct read_job *)job;
  struct slice s = { .job = j, .worker = w };
  uint64_t start = index * SLICE;
  uint64_t length = j->range.length - start;

  if (map_range (j->reading, j->range.start + start,
                 length < SLICE ? length : SLICE, collect, &s, f)
      < 0)
    return -1;
  for (unsigned i = 0; i < s.count; i++) {
    if (send_extent (&s, &s.extents[i], f) < 0)
      return -1;
  }
  pthread_mutex_lock (&j->lock);
  j->done.data_bytes += s.done.data_bytes;
  j->done.zero_bytes += s.done.zero_bytes;
  j->done.skipped_bytes += s.done.skipped_bytes;
  pthread_mutex_unlock (&j->lock);
  if (s.done.data_bytes > 0)
    session_stop (j->session, "stream");
  return 0;
}

static void
read_finish (struct work_job *job, struct worker *w)
{
  struct read_job *j = (struct read_job *)job;
  struct buf out;

  (void)w;
  if (job->fault.code != FAULT_NONE)
    peer_fault (&j->session->peer, j->id, &job->fault);
  else {
    buf_init (&out, FRAME_CONTROL_MAX);
    msg_read_done_encode (&j->done, &out);
    peer_send (&j->session->peer, FRAME_READ_DONE, j->id, &out);
    buf_reset (&out);
  }
  pthread_mutex_destroy (&j->lock);
  free (j);
}

int
send_read (struct session *s, uint32_t id, struct buf *payload, struct fault *f)
{
  uint64_t size = chain_size (s->reading->map);
  struct read_job *j;
  struct msg_read m;

  if (msg_read_decode (payload, &m, f) < 0)
    return -1;
  if (m.start > size || m.length > size - m.start || m.start % DIGEST_BLOCK != 0
      || (m.length % DIGEST_BLOCK != 0 && m.start + m.length != size))
    return fault_set (f, FAULT_PROTO, 0,
                      "read of %llu bytes at %llu: not in whole blocks of a "
                      "disk of %llu bytes",
                      (unsigned long long)m.length, (unsigned long long)m.start,
                      (unsigned long long)size);
  j = xcalloc (1, sizeof *j);
  j->job.step = read_step;
  j->job.finish = read_finish;
  j->job.steps = (m.length + SLICE - 1) / SLICE;
  j->session = s;
  j->reading = s->reading;
  j->id = id;
  j->range = m;
  pthread_mutex_init (&j->lock, NULL);
  work_add (s->work, &j->job);
  return 0;
}
