/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "host/chan.h"
#include "host/conn.h"
#include "host/push.h"
#include "host/talk.h"
#include "wire/frame.h"
#include "wire/msg.h"
#include "wire/pack.h"

#define ALIGN 4096

int
talk_init (struct talk *t, struct conn *c, uint32_t heartbeat_ms, bool sudo,
           struct fault *f)
{
  *t = (struct talk){ .c = c, .heartbeat_ms = heartbeat_ms, .sudo = sudo };
  buf_init (&t->out, FRAME_CONTROL_MAX + FRAME_HEADER);
  buf_init (&t->payload, FRAME_CONTROL_MAX);
  t->raw = try_aligned (ALIGN, FRAME_RAW_MAX, "frame buffer", f);
  t->coded = try_aligned (ALIGN, pack_bound (FRAME_RAW_MAX), "frame buffer", f);
  t->control = try_aligned (ALIGN, FRAME_CONTROL_MAX, "frame buffer", f);
  return t->raw == NULL || t->coded == NULL || t->control == NULL ? -1 : 0;
}

void
talk_begin (struct talk *t, struct chan *ch)
{
  t->ch = ch;
  t->alive = true;
}

void
talk_reset (struct talk *t)
{
  chan_free (t->ch);
  buf_reset (&t->out);
  buf_reset (&t->payload);
  free (t->raw);
  free (t->coded);
  free (t->control);
}

/* The session cannot go on; the fault is set. */
int
talk_dead (struct talk *t)
{
  t->alive = false;
  return -1;
}

int
talk_odd (struct talk *t, const char *why, struct fault *f)
{
  fault_set (f, FAULT_PROTO, 0,
             "host %s: the helper sent %s id %" PRIu32 " at %" PRIu64 ": %s",
             conn_name (t->c), frame_name (t->frame.type), t->frame.id,
             t->frame.offset, why);
  return talk_dead (t);
}

/* --- sending ---------------------------------------------------------- */

/* The helper has ended before we said BYE; its status tells why. */
static int
ended (struct talk *t, struct fault *f)
{
  int status = 0;

  t->alive = false;
  if (chan_finish (t->ch, &status, f) < 0)
    return -1;
  return push_explain (t->c, t->sudo, status, chan_stderr (t->ch), f);
}

int
talk_send (struct talk *t, const void *data, size_t size, struct fault *f)
{
  struct fault own = FAULT_INIT;

  if (!t->alive)
    return fault_set (f, FAULT_NET, 0, "host %s: the helper is gone",
                      conn_name (t->c));
  t->sent_ms = stamp_mono_ms ();
  if (chan_write (t->ch, data, size, &own) == 0)
    return 0;
  if (own.code == FAULT_REMOTE)
    return ended (t, f);
  fault_copy (f, &own);
  return talk_dead (t);
}

/* A control frame with t->payload, if that is not empty. */
int
talk_send_control (struct talk *t, enum frame_type type, uint32_t id,
                   struct fault *f)
{
  buf_clear (&t->out);
  frame_put (&t->out, type, id, t->payload.size > 0 ? &t->payload : NULL);
  if (buf_bad (&t->out)) {
    buf_clear (&t->payload);
    return fault_set (f, FAULT_INTERNAL, 0,
                      "host %s: %s is too large for its frame",
                      conn_name (t->c), frame_name (type));
  }
  buf_clear (&t->payload);
  return talk_send (t, t->out.data, t->out.size, f);
}

/* How long until a heartbeat is due. */
static unsigned
beat_left_ms (const struct talk *t)
{
  uint64_t silent = stamp_mono_ms () - t->sent_ms;

  return silent >= t->heartbeat_ms / 3
             ? 0
             : (unsigned)(t->heartbeat_ms / 3 - silent);
}

int
talk_beat (struct talk *t, struct fault *f)
{
  if (beat_left_ms (t) > 0)
    return 0;
  buf_clear (&t->payload);
  return talk_send_control (t, FRAME_PING, 0, f);
}

/* --- receiving -------------------------------------------------------- */

/* SIZE bytes, with heartbeats while none come. */
static int
fill (struct talk *t, void *data, size_t size, struct fault *f)
{
  uint8_t *p = data;

  while (size > 0) {
    ssize_t n = chan_read_for (t->ch, p, size, beat_left_ms (t), f);

    if (n < 0)
      return talk_dead (t);
    if (n == 0 && chan_ended (t->ch))
      return ended (t, f);
    p += n;
    size -= (size_t)n;
    if (n == 0 && talk_beat (t, f) < 0)
      return -1;
  }
  return 0;
}

static int
fill_data (struct talk *t, struct fault *f)
{
  const struct frame *fr = &t->frame;
  size_t table = frame_table_size (fr->raw_len);
  uint8_t *to = fr->coding == FRAME_PLAIN ? t->raw : t->coded;

  if (fill (t, t->table, table, f) < 0)
    return -1;
  if (frame_verify (t->head, fr, t->table, f) < 0)
    return fault_prefix (f, "host %s", conn_name (t->c));
  if (fill (t, to, fr->payload_len - table, f) < 0)
    return -1;
  if (frame_unpack (fr, t->table, to, t->raw, f) < 0)
    return fault_prefix (f, "host %s", conn_name (t->c));
  t->raw_bytes += fr->raw_len;
  return 0;
}

/* What the header in t->head announces. */
static int
fill_rest (struct talk *t, struct fault *f)
{
  if (frame_decode (t->head, &t->frame, f) < 0) {
    fault_prefix (f, "host %s", conn_name (t->c));
    return talk_dead (t);
  }
  if (t->frame.type == FRAME_DATA)
    return fill_data (t, f) < 0 ? talk_dead (t) : 0;
  if (t->frame.payload_len > FRAME_CONTROL_MAX)
    return talk_odd (t, "too long", f);
  if (fill (t, t->control, t->frame.payload_len, f) < 0)
    return -1;
  if (frame_verify (t->head, &t->frame, t->control, f) < 0) {
    fault_prefix (f, "host %s", conn_name (t->c));
    return talk_dead (t);
  }
  return 0;
}

/* The helper's FAULT as ours; with id 0 it is the end of the session. */
static int
take_fault (struct talk *t, struct fault *f)
{
  struct msg_fault m;
  struct fault theirs = FAULT_INIT;
  struct buf b;

  buf_view (&b, t->control, t->frame.payload_len);
  if (msg_fault_decode (&b, &m, f) < 0)
    return talk_dead (t);
  theirs.code = m.code;
  theirs.err = (int)m.err;
  memcpy (theirs.text, m.text, sizeof theirs.text);
  fault_copy (f, &theirs);
  fault_prefix (f, "host %s", conn_name (t->c));
  return t->frame.id == 0 ? talk_dead (t) : -1;
}

void
talk_view (const struct talk *t, struct buf *b)
{
  buf_view (b, t->control, t->frame.payload_len);
}

/* What the header in t->head announces, and FAULT as a fault. */
static int
take_frame (struct talk *t, struct fault *f)
{
  if (fill_rest (t, f) < 0)
    return -1;
  return t->frame.type == FRAME_FAULT ? take_fault (t, f) : 0;
}

static int
check_alive (struct talk *t, struct fault *f)
{
  if (!t->alive)
    return fault_set (f, FAULT_NET, 0, "host %s: the helper is gone",
                      conn_name (t->c));
  return 0;
}

/* A helper whose threads wait for storage in vain still answers PING. */
static int
check_answer (struct talk *t, uint64_t begin_ms, struct fault *f)
{
  uint64_t waited = stamp_mono_ms () - begin_ms;

  if (waited < conn_answer_ms (t->c))
    return 0;
  conn_kill (t->c);
  fault_set (f, FAULT_NET, 0,
             "host %s: the helper lives but gave no answer for %u seconds; "
             "the storage of the host hangs, or ssh.answer_timeout is too "
             "short for it",
             conn_name (t->c), (unsigned)(waited / 1000));
  return talk_dead (t);
}

int
talk_next (struct talk *t, struct fault *f)
{
  uint64_t begin = stamp_mono_ms ();

  t->frame.id = 0;
  for (;;) {
    if (check_alive (t, f) < 0 || talk_beat (t, f) < 0
        || fill (t, t->head, FRAME_HEADER, f) < 0 || take_frame (t, f) < 0)
      return -1;
    if (t->frame.type != FRAME_PONG)
      return 0;
    if (check_answer (t, begin, f) < 0)
      return -1;
  }
}

int
talk_poll (struct talk *t, struct fault *f)
{
  do {
    ssize_t n;

    if (check_alive (t, f) < 0)
      return -1;
    n = chan_read_for (t->ch, t->head, FRAME_HEADER, 0, f);
    if (n < 0)
      return talk_dead (t);
    if (n == 0)
      return chan_ended (t->ch) ? ended (t, f) : 0;
    if (fill (t, t->head + n, FRAME_HEADER - (size_t)n, f) < 0
        || take_frame (t, f) < 0)
      return -1;
  } while (t->frame.type == FRAME_PONG);
  return 1;
}
