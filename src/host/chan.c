/* SPDX-License-Identifier: Apache-2.0 */
/* The waits over conn.c's single steps. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "host/chan.h"
#include "host/conn.h"

enum {
  SLICE_MS = 200,
  LOOK = 4 * 1024 * 1024, /* bytes between two looks at the window */
};

/* Bytes a microsecond that a window should allow, and its limits. */
#define WINDOW_RATE UINT64_C (2500)
#define WINDOW_MIN (1280u * 1000)
#define WINDOW_MAX (16u * 1024 * 1024)

struct chan {
  struct conn_raw *raw;
  uint64_t silent_ms; /* time spent in waits since the last byte */
  uint64_t received;
  uint64_t looked; /* value of received when the window was last looked at */
  uint8_t *grown;  /* WINDOW_MAX bytes; what came while it was grown */
  size_t grown_pos;
  size_t grown_size;
  char errors[CHAN_STDERR_MAX];
  char errors_line[CHAN_STDERR_MAX + 1];
  size_t errors_size;
};

/* Keep the last CHAN_STDERR_MAX bytes. */
static void
take_stderr (void *opaque, const char *data, size_t size)
{
  struct chan *ch = opaque;

  ch->silent_ms = 0;
  if (size > CHAN_STDERR_MAX) {
    data += size - CHAN_STDERR_MAX;
    size = CHAN_STDERR_MAX;
  }
  if (ch->errors_size + size > CHAN_STDERR_MAX) {
    size_t drop = ch->errors_size + size - CHAN_STDERR_MAX;

    memmove (ch->errors, ch->errors + drop, ch->errors_size - drop);
    ch->errors_size -= drop;
  }
  memcpy (ch->errors + ch->errors_size, data, size);
  ch->errors_size += size;
}

int
chan_open (struct conn *c, const char *command, struct chan **chan,
           struct fault *f)
{
  struct chan *ch = xcalloc (1, sizeof *ch);

  if (conn_raw_open (c, command, take_stderr, ch, &ch->raw, f) < 0) {
    free (ch);
    return -1;
  }
  *chan = ch;
  return 0;
}

void
chan_free (struct chan *ch)
{
  if (ch == NULL)
    return;
  conn_raw_free (ch->raw);
  free (ch->grown);
  free (ch);
}

struct conn *
chan_conn (const struct chan *ch)
{
  return conn_raw_conn (ch->raw);
}

uint64_t
chan_received (const struct chan *ch)
{
  return ch->received;
}

/* -1 once a wait of SILENT_MS is too long. */
static int
check_stall (struct chan *ch, uint64_t silent_ms, const char *what,
             struct fault *f)
{
  struct conn *c = conn_raw_conn (ch->raw);

  if (silent_ms < conn_stall_ms (c))
    return 0;
  conn_kill (c);
  return fault_set (f, FAULT_NET, 0,
                    "host %s: %s for %u seconds; the network or the storage "
                    "of the host hangs",
                    conn_name (c), what, (unsigned)(silent_ms / 1000));
}

/* --- reading ---------------------------------------------------------- */

static ssize_t
heard (struct chan *ch, ssize_t n)
{
  ch->silent_ms = 0;
  ch->received += (size_t)n;
  return n;
}

static ssize_t
take_grown (struct chan *ch, void *data, size_t size)
{
  size_t n = ch->grown_size - ch->grown_pos;

  if (n > size)
    n = size;
  memcpy (data, ch->grown + ch->grown_pos, n);
  ch->grown_pos += n;
  return (ssize_t)n;
}

/* libssh 0.10 keeps a window of 1.2 MiB, too little for a link with latency,
   and has no call to change it.  But a read of more than what is buffered and
   open makes it grow the window to that count.  At every read that would cost
   a packet each time; done now and then it costs nothing.  On a link without
   latency it is left alone: sshd fills a large window from its pipe and then
   moves megabytes about in its own memory, which halves its speed. */
static ssize_t
grow_window (struct chan *ch, struct fault *f)
{
  uint64_t window = conn_rtt_us (conn_raw_conn (ch->raw)) * WINDOW_RATE;
  ssize_t n;

  ch->looked = ch->received;
  if (window > WINDOW_MAX)
    window = WINDOW_MAX;
  if (window <= WINDOW_MIN)
    return 0;
  if (ch->grown == NULL)
    ch->grown = xmalloc (WINDOW_MAX);
  n = conn_raw_read (ch->raw, ch->grown, window, 0, f);
  if (n > 0) {
    ch->grown_pos = 0;
    ch->grown_size = (size_t)heard (ch, n);
  }
  return n;
}

bool
chan_ended (const struct chan *ch)
{
  return ch->grown_pos == ch->grown_size && conn_raw_ended (ch->raw);
}

/* What is there or comes within WAIT_MS (at most a slice); 0 when nothing or
   at the end, -1.  The time of a wait in vain counts as silence. */
static ssize_t
read_once (struct chan *ch, void *data, size_t size, unsigned wait_ms,
           struct fault *f)
{
  uint64_t begin;
  ssize_t n;

  if (ch->grown_pos < ch->grown_size)
    return take_grown (ch, data, size);
  if (ch->received - ch->looked >= LOOK) {
    n = grow_window (ch, f);
    if (n != 0)
      return n < 0 ? n : take_grown (ch, data, size);
  }
  begin = stamp_mono_ms ();
  n = conn_raw_read (ch->raw, data, size < CONN_READ_MAX ? size : CONN_READ_MAX,
                     wait_ms < SLICE_MS ? wait_ms : SLICE_MS, f);
  if (n > 0)
    return heard (ch, n);
  if (n < 0 || chan_ended (ch))
    return n;
  ch->silent_ms += stamp_mono_ms () - begin;
  return check_stall (ch, ch->silent_ms, "nothing came", f);
}

ssize_t
chan_read_for (struct chan *ch, void *data, size_t size, unsigned wait_ms,
               struct fault *f)
{
  uint64_t end = stamp_mono_ms () + wait_ms;

  for (;;) {
    ssize_t n = read_once (ch, data, size, wait_ms, f);
    uint64_t now;

    if (n != 0 || chan_ended (ch))
      return n;
    now = stamp_mono_ms ();
    if (now >= end)
      return 0;
    wait_ms = (unsigned)(end - now);
  }
}

ssize_t
chan_read (struct chan *ch, void *data, size_t size, struct fault *f)
{
  for (;;) {
    ssize_t n = read_once (ch, data, size, SLICE_MS, f);

    if (n != 0 || chan_ended (ch))
      return n;
  }
}

/* --- writing ---------------------------------------------------------- */

/* Wait until the library has handed everything to the kernel. */
static int
drain (struct chan *ch, struct fault *f)
{
  uint64_t begin = stamp_mono_ms ();

  while (conn_raw_unsent (ch->raw)) {
    if (conn_raw_pump (ch->raw, SLICE_MS, f) < 0
        || check_stall (ch, stamp_mono_ms () - begin, "the host took nothing",
                        f)
               < 0)
      return -1;
  }
  return 0;
}

int
chan_write (struct chan *ch, const void *data, size_t size, struct fault *f)
{
  const uint8_t *p = data;
  uint64_t progress = stamp_mono_ms ();

  while (size > 0) {
    ssize_t n = conn_raw_write (ch->raw, p, size, f);

    if (n < 0)
      return -1;
    if (n > 0) {
      p += n;
      size -= (size_t)n;
      if (drain (ch, f) < 0)
        return -1;
      progress = stamp_mono_ms ();
    }
    else if (conn_raw_pump (ch->raw, SLICE_MS, f) < 0
             || check_stall (ch, stamp_mono_ms () - progress,
                             "the host took nothing", f)
                    < 0) {
      return -1;
    }
  }
  return 0;
}

int
chan_send_eof (struct chan *ch, struct fault *f)
{
  if (conn_raw_send_eof (ch->raw, f) < 0)
    return -1;
  return drain (ch, f);
}

/* --- the end ---------------------------------------------------------- */

int
chan_finish (struct chan *ch, int *status, struct fault *f)
{
  uint8_t waste[4096];
  uint64_t begin;
  bool gone = false;
  ssize_t n;

  do
    n = chan_read (ch, waste, sizeof waste, f);
  while (n > 0);
  if (n < 0)
    return -1;
  begin = stamp_mono_ms ();
  while ((*status = conn_raw_status (ch->raw, &gone)) < 0 && !gone) {
    if (conn_raw_pump (ch->raw, SLICE_MS, f) < 0
        || check_stall (ch, stamp_mono_ms () - begin,
                        "a program ended without a status", f)
               < 0)
      return -1;
  }
  if (*status < 0)
    *status = 255;
  return 0;
}

const char *
chan_stderr (struct chan *ch)
{
  size_t out = 0;

  for (size_t i = 0; i < ch->errors_size; i++) {
    char x = ch->errors[i];

    if (x == '\r' || x == '\0')
      continue;
    ch->errors_line[out++] = (char)((unsigned char)x < 0x20 ? ' ' : x);
  }
  while (out > 0 && ch->errors_line[out - 1] == ' ')
    out--;
  ch->errors_line[out] = '\0';
  return ch->errors_line;
}

int
chan_run (struct conn *c, const char *command, size_t max, char **out,
          size_t *size, char **errors, int *status, struct fault *f)
{
  CLEANUP (chan_free) struct chan *ch = NULL;
  struct buf b;
  uint8_t part[32768];
  ssize_t n;

  if (chan_open (c, command, &ch, f) < 0 || chan_send_eof (ch, f) < 0)
    return -1;
  buf_init (&b, max + 1);
  while ((n = chan_read (ch, part, sizeof part, f)) > 0 && !buf_bad (&b))
    buf_put (&b, part, (size_t)n);
  buf_put_u8 (&b, 0);
  if (n < 0 || (!buf_bad (&b) && chan_finish (ch, status, f) < 0)) {
    buf_reset (&b);
    return -1;
  }
  if (buf_bad (&b)) {
    buf_reset (&b);
    return fault_set (f, FAULT_PROTO, 0,
                      "host %s: a command gives more than %zu bytes",
                      conn_name (c), max);
  }
  *out = (char *)b.data;
  if (size != NULL)
    *size = b.size - 1;
  if (errors != NULL)
    *errors = xstrdup (chan_stderr (ch));
  return 0;
}
