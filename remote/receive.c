/* SPDX-License-Identifier: Apache-2.0 */
/* The right to write ends with the heartbeat: a worker asks before each write,
   and the reader's thread ends the process when it is over.  Whoever deletes
   the disk or gives it to another helper waits for that.

   A cow volume is no image from the moment that we open it (its first cluster
   is zeros) until SEAL puts the real first cluster there, after everything
   else is on stable storage. */
#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "image/chain.h"
#include "image/extent.h"
#include "remote/cover.h"
#include "remote/hold.h"
#include "remote/path.h"
#include "remote/receive.h"
#include "remote/session.h"
#include "remote/volume.h"

#define ACK_STEP (MSG_WRITTEN_STEP / 4)
#define CHECK_STEP FRAME_RAW_MAX
#define ZERO_STEP (UINT64_C (8) * 1024 * 1024)
/* How often a logical volume is proven while it is written: it may be removed
   on another host, and its extents given away, while our device stays. */
#define PROOF_MS 10000
#define PROOF_BYTES (UINT64_C (2) * 1024 * 1024 * 1024)
/* How much of a fresh raw file is looked at where the file system cannot say
   what is a hole. */
#define EMPTY_LOOK_MAX (UINT64_C (16) * 1024 * 1024)

struct writing {
  struct session *session;
  char domain[UUID_SIZE];
  int domain_fd;      /* -1 for a logical volume */
  struct hold *hold;  /* NULL for a file */
  struct cover cover; /* of a raw logical volume */
  uint32_t id;        /* of OPEN_WRITE: acknowledgements and faults carry it */
  struct volume volume;
  char *identity;
  _Atomic uint64_t total; /* bytes of DATA and ZERO that are written */
  _Atomic uint64_t acked;
  _Atomic uint32_t pending; /* blocks that came and are not done */
  _Atomic uint64_t end;     /* of the highest byte written */
  _Atomic bool failed;      /* a write was lost: no more, and no seal */

  pthread_mutex_t proof_lock;   /* held by the one who proves again */
  _Atomic uint64_t proof_ms;    /* when the last proof began */
  _Atomic uint64_t proof_total; /* total at that time */
};

static void note_proof (struct writing *w, uint64_t ms, uint64_t total);

/* --- open ------------------------------------------------------------- */

static int
refuse_data (const struct extent *e, void *opaque, struct fault *f)
{
  (void)opaque;
  if (e->kind == EXTENT_ABSENT || e->kind == EXTENT_ZERO)
    return 0;
  return fault_set (f, FAULT_CORRUPT, 0,
                    "it holds data at guest offset %llu: not a fresh volume",
                    (unsigned long long)e->start);
}

static int
prove_empty_cow (struct writing *w, struct fault *f)
{
  CLEANUP (chain_free) struct chain *c = chain_new ();

  if (volume_add (&w->volume, c, NULL, f) < 0)
    return -1;
  return chain_map (c, 0, chain_size (c), CHAIN_WHOLE, refuse_data, NULL, f);
}

/* Are the SIZE bytes at OFFSET zero? */
static int
prove_zero (const struct direct *d, uint64_t offset, uint64_t size,
            uint8_t *buffer, struct fault *f)
{
  uint64_t end = offset + size;
  size_t n;

  offset &= ~(uint64_t)(DIRECT_ALIGN - 1);
  while (offset < end) {
    n = FRAME_RAW_MAX;
    if (direct_read (d, offset, buffer, n, f) < 0)
      return -1;
    for (size_t i = 0; i < n; i++) {
      if (buffer[i] != 0)
        return fault_set (f, FAULT_CORRUPT, 0,
                          "it holds data at %llu: not a fresh volume",
                          (unsigned long long)(offset + i));
    }
    offset += n;
  }
  return 0;
}

/* What is allocated must be zeros: vdsm writes the first block, and may have
   allocated the rest. */
static int
prove_empty_raw (struct writing *w, struct fault *f)
{
  CLEANUP_FREE uint8_t *buffer
      = try_aligned (DIRECT_ALIGN, FRAME_RAW_MAX, "buffer", f);
  const struct direct *d = &w->volume.file;
  uint64_t left = EMPTY_LOOK_MAX;
  uint64_t pos = 0;
  uint64_t hole;
  uint64_t n;

  if (buffer == NULL)
    return -1;
  while (pos < d->size && left > 0) {
    if (d->source.next_data (d->source.opaque, pos, &pos, &hole, f) < 0)
      return -1;
    n = hole - pos < left ? hole - pos : left;
    if (n > 0 && prove_zero (d, pos, n, buffer, f) < 0)
      return -1;
    left -= n;
    pos = hole;
  }
  return 0;
}

/* Another helper, or a guest, has it open? */
static int
prove_alone (struct writing *w, struct fault *f)
{
  struct scan_file file;
  struct scan_result result;

  volume_scan_file (&w->volume, &file);
  if (guard_scan (w->session->guard, &file, 1, &result, f) < 0)
    return -1;
  if (result.pid == 0)
    return 0;
  return fault_set (f, FAULT_BUSY, 0, "process %d (%s) has it open for writing",
                    result.pid, result.command);
}

/* A cow volume is no image until it is sealed. */
static int
clear_head (struct writing *w, struct fault *f)
{
  CLEANUP_FREE void *zeros
      = try_aligned (DIRECT_ALIGN, DIGEST_BLOCK, "buffer", f);

  if (zeros == NULL)
    return -1;
  memset (zeros, 0, DIGEST_BLOCK);
  if (guard_left_ms (w->session->guard) == 0)
    return fault_set (f, FAULT_NET, 0, "the heartbeat stopped");
  if (direct_write (&w->volume.file, 0, zeros, DIGEST_BLOCK, f) < 0)
    return -1;
  return direct_flush (&w->volume.file, f);
}

static int
open_block (struct writing *w, const struct msg_open_write *m, struct fault *f)
{
  CLEANUP_FREE struct lv_want *want = xcalloc (1, sizeof *want);
  bool locked = (m->flags & MSG_WRITE_LOCKED) != 0;

  if (hold_want (m->dir, &m->group, locked ? LV_WRITE_LOCKED : LV_WRITE, want,
                 f)
      < 0)
    return -1;
  memcpy (w->domain, want->sd, UUID_SIZE);
  memcpy (want->volumes[want->count++], m->volume, UUID_SIZE);
  want->need = m->need > m->capacity && m->format == MSG_RAW ? m->need
               : m->format == MSG_RAW                        ? m->capacity
                                                             : m->need;
  w->hold = hold_open (w->session->guard, want, f);
  if (w->hold == NULL || volume_prove_write (&w->volume, w->hold, m, f) < 0
      || hold_activate (w->hold, f) < 0)
    return -1;
  session_stop (w->session, "active");
  if (volume_take (&w->volume, f) < 0)
    return -1;
  return w->volume.meta.cow ? 0
                            : cover_init (&w->cover, w->volume.file.size, f);
}

static int
open_file (struct writing *w, const struct msg_open_write *m, struct fault *f)
{
  struct path_domain domain;

  if (path_parse (m->dir, &domain, f) < 0)
    return -1;
  memcpy (w->domain, path_domain_id (&domain), UUID_SIZE);
  w->domain_fd = path_open_domain (&domain, f);
  if (w->domain_fd < 0)
    return -1;
  return volume_open_write (&w->volume, w->domain_fd, w->domain, m, f);
}

static int
open_volume (struct writing *w, const struct msg_open_write *m, struct fault *f)
{
  int rc = m->kind == MSG_BLOCK ? open_block (w, m, f) : open_file (w, m, f);

  if (rc < 0)
    return -1;
  if (prove_alone (w, f) < 0)
    rc = -1;
  /* a raw logical volume is never fresh */
  else if ((m->flags & MSG_WRITE_FRESH) != 0
           && (w->hold == NULL || w->volume.meta.cow))
    rc = w->volume.meta.cow ? prove_empty_cow (w, f) : prove_empty_raw (w, f);
  if (rc < 0)
    return fault_prefix (f, "volume %s", m->volume);
  return 0;
}

static int
open_writing (struct writing *w, const struct msg_open_write *m,
              struct fault *f)
{
  struct buf text;
  struct buf out;
  int rc;

  session_stop (w->session, "prove");
  if (open_volume (w, m, f) < 0)
    return -1;
  buf_init (&text, MSG_TEXT_MAX);
  rc = receive_identify (w, &text, f);
  if (rc == 0)
    w->identity = xstrdup ((char *)text.data);
  buf_reset (&text);
  if (rc < 0 || (w->volume.meta.cow && clear_head (w, f) < 0))
    return -1;
  note_proof (w, guard_now_ms (), 0);
  struct msg_wopened reply = { .container = w->volume.file.size,
                               .capacity = w->volume.meta.capacity,
                               .identity = w->identity };
  pthread_mutex_lock (&w->session->lock);
  w->session->writing = w;
  pthread_mutex_unlock (&w->session->lock);
  buf_init (&out, FRAME_CONTROL_MAX);
  msg_wopened_encode (&reply, &out);
  peer_send (&w->session->peer, FRAME_WOPENED, w->id, &out);
  buf_reset (&out);
  return 0;
}

int
receive_open (struct session *s, uint32_t id, struct buf *payload,
              struct fault *f)
{
  struct msg_open_write m;
  struct writing *w;
  int rc = msg_open_write_decode (payload, &m, f);

  if (rc == 0) {
    w = xcalloc (1, sizeof *w);
    w->session = s;
    w->domain_fd = -1;
    w->id = id;
    pthread_mutex_init (&w->proof_lock, NULL);
    volume_init (&w->volume);
    rc = open_writing (w, &m, f);
    if (rc < 0)
      receive_close (w, f);
  }
  msg_open_write_reset (&m);
  return rc;
}

int
receive_close (struct writing *w, struct fault *f)
{
  int rc = volume_close (&w->volume, f);

  if (w->domain_fd >= 0)
    close (w->domain_fd);
  if (w->hold != NULL && session_release (w->session, w->hold, f) < 0)
    rc = -1;
  cover_reset (&w->cover);
  pthread_mutex_destroy (&w->proof_lock);
  free (w->identity);
  free (w);
  return rc;
}

int
receive_identify (struct writing *w, struct buf *text, struct fault *f)
{
  buf_printf (text, "domain %s\n", w->domain);
  if (w->hold != NULL && hold_identify (w->hold, text, f) < 0)
    return -1;
  if (volume_identify (&w->volume, "target", text, f) < 0)
    return -1;
  buf_put_u8 (text, 0);
  return 0;
}

/* --- proof ------------------------------------------------------------ */

static int
prove_same (struct writing *w, struct fault *f)
{
  struct buf text;
  int rc;

  buf_init (&text, MSG_TEXT_MAX);
  rc = receive_identify (w, &text, f);
  if (rc == 0 && strcmp ((char *)text.data, w->identity) != 0)
    rc = fault_set (f, FAULT_CORRUPT, 0,
                    "volume %s: changed by others while it was written",
                    w->volume.want.volume);
  buf_reset (&text);
  return rc;
}

/* All was right at the time MS, when TOTAL was written. */
static void
note_proof (struct writing *w, uint64_t ms, uint64_t total)
{
  atomic_store (&w->proof_ms, ms);
  atomic_store (&w->proof_total, total);
}

static bool
proof_due (struct writing *w)
{
  return guard_now_ms () - atomic_load (&w->proof_ms) >= PROOF_MS
         || atomic_load (&w->total) - atomic_load (&w->proof_total)
                >= PROOF_BYTES;
}

/* Before each write to a logical volume.  When a proof is due no thread
   writes until one of them has it: extents that were given away meanwhile hold
   the data of another disk. */
static int
prove_again (struct writing *w, struct fault *f)
{
  uint64_t now = guard_now_ms ();
  uint64_t total = atomic_load (&w->total);
  int rc = 0;

  if (w->hold == NULL || !proof_due (w))
    return 0;
  SCOPED_LOCK (&w->proof_lock);
  if (proof_due (w)) {
    rc = prove_same (w, f);
    if (rc == 0)
      note_proof (w, now, total);
  }
  return rc;
}

/* --- data ------------------------------------------------------------- */

struct write_job {
  struct work_job job;
  struct writing *writing;
  struct session_buffer *buffer;
};

/* No frame may leave the volume; what a cow image may need over its capacity
   is its tables. */
static int
check_place (const struct writing *w, uint64_t offset, uint64_t length,
             struct fault *f)
{
  uint64_t limit = w->volume.meta.capacity;

  if (w->hold != NULL)
    limit = w->volume.file.size;
  else if (w->volume.meta.cow)
    limit += limit / 8 + MSG_READ_MAX;
  if (w->volume.meta.cow) {
    if (offset < DIGEST_BLOCK)
      return fault_set (f, FAULT_PROTO, 0,
                        "the first cluster is written by SEAL alone");
  }
  if (offset > limit || length > limit - offset)
    return fault_set (f, FAULT_PROTO, 0,
                      "%llu bytes at %llu are beyond the end of the volume",
                      (unsigned long long)length, (unsigned long long)offset);
  return 0;
}

static void
note_end (struct writing *w, uint64_t end)
{
  uint64_t old = atomic_load (&w->end);

  while (old < end && !atomic_compare_exchange_weak (&w->end, &old, end))
    continue;
}

/* What is left of the block in which a range of SIZE bytes at OFFSET ends; the
   rest of the disk reads as zeros. */
static uint64_t
whole (const struct writing *w, uint64_t offset, uint64_t size)
{
  uint64_t room = w->volume.file.size - offset;

  size = (size + DIGEST_BLOCK - 1) & ~(uint64_t)(DIGEST_BLOCK - 1);
  return size < room ? size : room;
}

/* Write to a device, where the end is filled up with zeros: SIZE bytes of DATA
   at OFFSET, BUFFER has room for a frame. */
static int
write_whole (struct writing *w, uint64_t offset, const uint8_t *data,
             size_t size, uint8_t *buffer, struct fault *f)
{
  size_t full = (size_t)whole (w, offset, size);

  if (full > size) {
    if (data != buffer)
      memcpy (buffer, data, size);
    memset (buffer + size, 0, full - size);
    data = buffer;
  }
  return direct_write (&w->volume.file, offset, data, full, f);
}

static int
write_data (struct writing *w, struct worker *worker, struct session_buffer *b,
            struct fault *f)
{
  const struct frame *fr = &b->frame;
  uint8_t *raw = fr->coding == FRAME_PLAIN ? b->coded : worker->buffer;

  if (frame_unpack (fr, b->table, b->coded, raw, f) < 0
      || prove_again (w, f) < 0)
    return -1;
  if (guard_left_ms (w->session->guard) == 0)
    return fault_set (f, FAULT_NET, 0, "the heartbeat stopped");
  if (w->hold != NULL)
    return write_whole (w, fr->offset, raw, fr->raw_len, worker->buffer, f);
  return direct_write (&w->volume.file, fr->offset, raw, fr->raw_len, f);
}

/* In steps: the host may be frozen in the middle, and its volume be another
   one's when it goes on; and storage that has to write them must not be busy for
   long, as other hosts renew their leases on it. */
static int
write_zero (struct writing *w, const struct frame *fr, struct fault *f)
{
  uint64_t at = fr->offset;
  uint64_t end = at + fr->raw_len;
  uint64_t step;

  if (w->hold != NULL)
    end = at + whole (w, at, fr->raw_len);
  for (; at < end; at += step) {
    step = end - at < ZERO_STEP ? end - at : ZERO_STEP;
    if (prove_again (w, f) < 0)
      return -1;
    if (guard_left_ms (w->session->guard) == 0)
      return fault_set (f, FAULT_NET, 0, "the heartbeat stopped");
    if (direct_zero (&w->volume.file, at, step, f) < 0)
      return -1;
  }
  return 0;
}

static int
write_step (struct work_job *job, struct worker *worker, uint64_t index,
            struct fault *f)
{
  struct write_job *j = (struct write_job *)job;
  struct writing *w = j->writing;
  const struct frame *fr = &j->buffer->frame;

  (void)index;
  if (atomic_load (&w->failed))
    return 0; /* has been told */
  if (check_place (w, fr->offset, fr->raw_len, f) < 0)
    return -1;
  return fr->type == FRAME_ZERO ? write_zero (w, fr, f)
                                : write_data (w, worker, j->buffer, f);
}

static void
acknowledge (struct writing *w, uint64_t total)
{
  struct msg_written m = { .total = total };
  struct buf out;

  atomic_store (&w->acked, total);
  buf_init (&out, FRAME_CONTROL_MAX);
  msg_written_encode (&m, &out);
  peer_send (&w->session->peer, FRAME_WRITTEN, w->id, &out);
  buf_reset (&out);
}

static void
write_finish (struct work_job *job, struct worker *worker)
{
  struct write_job *j = (struct write_job *)job;
  struct writing *w = j->writing;
  uint32_t length = j->buffer->frame.raw_len;
  uint64_t end = j->buffer->frame.offset + length;
  uint64_t total;
  bool last;

  (void)worker;
  session_give_buffer (w->session, j->buffer);
  if (job->fault.code != FAULT_NONE) {
    if (!atomic_exchange (&w->failed, true))
      peer_fault (&w->session->peer, w->id, &job->fault);
  }
  else if (!atomic_load (&w->failed)) {
    note_end (w, end);
    cover_add (&w->cover, end - length, length);
    atomic_fetch_add (&w->total, length);
    session_stop (w->session, "write");
  }
  /* Whoever is the last one sees all that the others have added: a controller
     that waits for room waits for its word. */
  last = atomic_fetch_sub (&w->pending, 1) == 1;
  total = atomic_load (&w->total);
  if (!atomic_load (&w->failed)
      && (last || total - atomic_load (&w->acked) >= ACK_STEP))
    acknowledge (w, total);
  free (j);
}

void
receive_data (struct writing *w, struct session_buffer *b)
{
  struct write_job *j = xcalloc (1, sizeof *j);

  j->job.step = write_step;
  j->job.finish = write_finish;
  j->job.steps = 1;
  j->writing = w;
  j->buffer = b;
  atomic_fetch_add (&w->pending, 1);
  work_add (w->session->work, &j->job);
}

/* --- requests --------------------------------------------------------- */

/* All that came before is written; -1 when something was lost. */
static int
settle (struct writing *w, struct fault *f)
{
  work_drain (w->session->work);
  if (atomic_load (&w->failed))
    return fault_set (f, FAULT_IO, 0,
                      "volume %s: an earlier write failed, it cannot be used",
                      w->volume.want.volume);
  if (guard_left_ms (w->session->guard) == 0)
    return fault_set (f, FAULT_NET, 0, "the heartbeat stopped");
  return 0;
}

static int
current_size (const struct writing *w, uint64_t *size, struct fault *f)
{
  struct stat st;

  if (w->hold != NULL) {
    *size = w->volume.file.size;
    return 0;
  }
  if (fstat (w->volume.file.fd, &st) < 0)
    return fault_set (f, FAULT_IO, errno, "stat volume %s",
                      w->volume.want.volume);
  *size = (uint64_t)st.st_size;
  return 0;
}

/* A raw volume has the size of its capacity; a cow one never loses what it
   has: it may be preallocated. */
static int
set_size (struct writing *w, uint64_t size, struct fault *f)
{
  uint64_t now = 0;

  if (current_size (w, &now, f) < 0)
    return -1;
  if (!w->volume.meta.cow && size != w->volume.meta.capacity)
    return fault_set (f, FAULT_PROTO, 0,
                      "a raw volume of capacity %llu is not set to %llu bytes",
                      (unsigned long long)w->volume.meta.capacity,
                      (unsigned long long)size);
  if (w->volume.meta.cow
      && (size < atomic_load (&w->end) || check_place (w, size, 0, f) < 0))
    return fault_set (f, FAULT_PROTO, 0,
                      "a size of %llu bytes would cut what was written",
                      (unsigned long long)size);
  if (size <= now)
    return 0;
  return direct_truncate (&w->volume.file, size, f);
}

int
receive_truncate (struct session *s, uint32_t id, struct buf *payload,
                  struct fault *f)
{
  struct msg_truncate m;

  if (msg_truncate_decode (payload, &m, f) < 0)
    return -1;
  if (s->writing->hold != NULL)
    return fault_set (f, FAULT_PROTO, 0,
                      "volume %s: TRUNCATE of a logical volume, whose size "
                      "only the engine changes",
                      s->writing->volume.want.volume);
  if (settle (s->writing, f) < 0 || set_size (s->writing, m.size, f) < 0)
    return -1;
  peer_send (&s->peer, FRAME_TRUNCATED, id, NULL);
  return 0;
}

int
receive_flush (struct session *s, uint32_t id, struct buf *payload,
               struct fault *f)
{
  struct writing *w = s->writing;
  struct msg_flushed m;
  struct buf out;

  (void)payload;
  if (settle (w, f) < 0)
    return -1;
  m.total = atomic_load (&w->total);
  if (direct_flush (&w->volume.file, f) < 0) {
    atomic_store (&w->failed, true); /* what was lost cannot be known */
    return -1;
  }
  buf_init (&out, FRAME_CONTROL_MAX);
  msg_flushed_encode (&m, &out);
  peer_send (&s->peer, FRAME_FLUSHED, id, &out);
  buf_reset (&out);
  return 0;
}

/* --- check ------------------------------------------------------------ */

struct check_job {
  struct work_job job;
  struct writing *writing;
  uint32_t id;
  struct msg_check range;
  uint8_t *digests;
};

static int
check_step (struct work_job *job, struct worker *w, uint64_t index,
            struct fault *f)
{
  struct check_job *j = (struct check_job *)job;
  uint64_t start = index * CHECK_STEP;
  uint64_t left = j->range.length - start;
  size_t n = left < CHECK_STEP ? (size_t)left : CHECK_STEP;
  size_t whole = (n + DIRECT_ALIGN - 1) & ~(size_t)(DIRECT_ALIGN - 1);

  if (direct_read (&j->writing->volume.file, j->range.offset + start, w->buffer,
                   whole, f)
      < 0)
    return -1;
  digest_table (w->buffer, n, j->digests + DIGEST_BLOCKS (start) * DIGEST_SIZE);
  return 0;
}

static void
check_finish (struct work_job *job, struct worker *w)
{
  struct check_job *j = (struct check_job *)job;
  struct peer *peer = &j->writing->session->peer;
  struct msg_digests m = { .offset = j->range.offset,
                           .count = (uint32_t)DIGEST_BLOCKS (j->range.length),
                           .digests = j->digests };
  struct buf out;

  (void)w;
  if (job->fault.code != FAULT_NONE)
    peer_fault (peer, j->id, &job->fault);
  else {
    buf_init (&out, FRAME_CONTROL_MAX);
    msg_digests_encode (&m, &out);
    peer_send (peer, FRAME_DIGESTS, j->id, &out);
    buf_reset (&out);
  }
  free (j->digests);
  free (j);
}

int
receive_check (struct session *s, uint32_t id, struct buf *payload,
               struct fault *f)
{
  struct writing *w = s->writing;
  struct check_job *j;
  struct msg_check m;
  uint64_t size = 0;

  if (msg_check_decode (payload, &m, f) < 0 || settle (w, f) < 0
      || current_size (w, &size, f) < 0)
    return -1;
  if (m.offset > size || m.length > size - m.offset)
    return fault_set (f, FAULT_PROTO, 0,
                      "check of %llu bytes at %llu: the volume ends at %llu",
                      (unsigned long long)m.length,
                      (unsigned long long)m.offset, (unsigned long long)size);
  session_stop (s, "verify");
  w->volume.file.size = size; /* reads know where it ends */
  j = xcalloc (1, sizeof *j);
  j->job.step = check_step;
  j->job.finish = check_finish;
  j->job.steps = (m.length + CHECK_STEP - 1) / CHECK_STEP;
  j->writing = w;
  j->id = id;
  j->range = m;
  j->digests = xcalloc (DIGEST_BLOCKS (m.length), DIGEST_SIZE);
  work_add (s->work, &j->job);
  return 0;
}

/* --- seal ------------------------------------------------------------- */

/* Has each byte of a raw logical volume been written? */
static int
check_cover (const struct writing *w, struct fault *f)
{
  uint64_t offset = 0;

  if (!cover_hole (&w->cover, &offset))
    return 0;
  return fault_set (f, FAULT_PROTO, 0,
                    "volume %s: the block at %llu was not written, and holds "
                    "what somebody left there",
                    w->volume.want.volume, (unsigned long long)offset);
}

static int
seal (struct writing *w, const struct msg_seal *m, struct fault *f)
{
  CLEANUP_FREE void *copy
      = try_aligned (DIRECT_ALIGN, MSG_SEAL_MAX, "buffer", f);
  /* a device takes whole sectors, and has room for them */
  size_t full = w->hold != NULL ? MSG_SEAL_MAX : m->size;

  if (copy == NULL || check_cover (w, f) < 0
      || direct_flush (&w->volume.file, f) < 0 || prove_same (w, f) < 0)
    return -1;
  session_stop (w->session, "seal");
  if (guard_left_ms (w->session->guard) == 0)
    return fault_set (f, FAULT_NET, 0, "the heartbeat stopped");
  if (m->size == 0)
    return 0;
  memset (copy, 0, MSG_SEAL_MAX);
  memcpy (copy, m->data, m->size);
  if (w->hold != NULL && !w->volume.meta.cow)
    return fault_set (f, FAULT_PROTO, 0,
                      "a raw logical volume is written by DATA and ZERO alone");
  if (direct_write (&w->volume.file, 0, copy, full, f) < 0
      || direct_flush (&w->volume.file, f) < 0)
    return -1;
  /* were the extents given to another volume while that was written? */
  return w->hold != NULL ? prove_same (w, f) : 0;
}

int
receive_seal (struct session *s, uint32_t id, struct buf *payload,
              struct fault *f)
{
  struct writing *w = s->writing;
  struct msg_sealed reply;
  struct msg_seal m;
  struct buf out;

  if (msg_seal_decode (payload, &m, f) < 0 || settle (w, f) < 0)
    return -1;
  if (seal (w, &m, f) < 0) {
    atomic_store (&w->failed, true);
    return -1;
  }
  reply.identity = w->identity;
  buf_init (&out, FRAME_CONTROL_MAX);
  msg_sealed_encode (&reply, &out);
  peer_send (&s->peer, FRAME_SEALED, id, &out);
  buf_reset (&out);
  return 0;
}
