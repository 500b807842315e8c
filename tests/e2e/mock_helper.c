/* SPDX-License-Identifier: Apache-2.0 */
/* A helper that opens nothing: it answers over the real protocol with made up
   data, and lies, stalls or dies as the run id of HELLO tells.

     good            a disk of 3 spans and a tail: data, zeros, LZ4
     bad-digest bad-check bad-magic wrong-id outside overlong short-count
     fault-read fault-session silent mute die exit noise */
#include <config.h>

#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "wire/digest.h"
#include "wire/frame.h"
#include "wire/msg.h"
#include "wire/pack.h"

#define DISK_SIZE (3 * (uint64_t)MSG_SPAN + 512)

static char mood[MSG_NAME_MAX];
static struct frame frame;
static uint8_t control[FRAME_CONTROL_MAX];
static uint8_t *data;
static uint8_t *packed;

static bool
is (const char *word)
{
  return strcmp (mood, word) == 0;
}

static void
send_all (const void *p, size_t size)
{
  if (fdio_write_full (1, p, size, "stdout", NULL) < 0)
    exit (FAULT_NET);
}

static void
answer (enum frame_type type, struct buf *payload)
{
  struct buf out;

  buf_init (&out, FRAME_CONTROL_MAX + FRAME_HEADER);
  frame_put (&out, type, frame.id, payload);
  if (is ("bad-check") && type == FRAME_READ_DONE)
    out.data[out.size - 1] ^= 1;
  if (is ("bad-magic") && type == FRAME_MAPPED)
    out.data[0] ^= 1;
  send_all (out.data, out.size);
  buf_reset (&out);
}

static void
welcome (struct buf *in, struct buf *out)
{
  struct msg_hello hello;
  struct msg_welcome m = {
    .version = MSG_VERSION,
    .pid = (uint32_t)getpid (),
    .program = "mock",
  };

  if (msg_hello_decode (in, &hello, NULL) < 0)
    exit (FAULT_PROTO);
  memcpy (mood, hello.run_id, sizeof mood);
  msg_welcome_encode (&m, out);
  answer (FRAME_WELCOME, out);
}

static void
opened (struct buf *out)
{
  struct msg_opened_layer layer = { DISK_SIZE, DISK_SIZE };
  char identity[] = "mock\n";
  struct msg_opened m = {
    .virtual_size = DISK_SIZE,
    .layer_count = 1,
    .layers = &layer,
    .identity = identity,
  };

  msg_opened_encode (&m, out);
  answer (FRAME_OPENED, out);
}

static void
mapped (struct buf *out)
{
  uint32_t spans[] = { 2 * FRAME_RAW_MAX, MSG_SPAN_ZERO, 0, 512 };
  struct msg_mapped m = {
    .data_bytes = 2 * FRAME_RAW_MAX + 512,
    .absent_bytes = DISK_SIZE - 2 * FRAME_RAW_MAX - 512,
    .extents = 3,
    .span_count = 4,
    .spans = spans,
  };

  msg_mapped_encode (&m, out);
  answer (FRAME_MAPPED, out);
}

static void
send_data (uint64_t offset, uint32_t size, bool lz4)
{
  uint8_t head[FRAME_HEADER + FRAME_TABLE_MAX];
  uint32_t coded = size;
  uint32_t id = frame.id;
  size_t n;

  if (is ("outside"))
    offset += MSG_SPAN;
  if (is ("wrong-id"))
    id = 77;
  for (uint32_t i = 0; i < size; i++)
    data[i] = (uint8_t)(lz4 ? i % 251 : (i * 2654435761u) >> 13);
  if (lz4)
    coded = (uint32_t)pack (data, size, packed, pack_bound (FRAME_RAW_MAX));
  n = frame_put_data (head, id, offset, data, size, NULL,
                      lz4 ? FRAME_LZ4 : FRAME_PLAIN, coded);
  if (is ("bad-digest"))
    data[size / 2] ^= 1;
  if (is ("overlong"))
    memset (head + 16, 0xff, 4);
  send_all (head, n);
  send_all (lz4 ? packed : data, coded);
}

static void
sent (struct buf *in, struct buf *out)
{
  struct msg_read m;
  struct msg_read_done done = { 0 };
  struct buf zero;

  if (msg_read_decode (in, &m, NULL) < 0)
    exit (FAULT_PROTO);
  if (is ("fault-read") || is ("fault-session")) {
    struct msg_fault fault = { .code = FAULT_IO, .err = 5, .text = "made up" };

    if (is ("fault-session"))
      frame.id = 0;
    msg_fault_encode (&fault, out);
    answer (FRAME_FAULT, out);
    return;
  }
  if (is ("silent")) {
    while (read (0, control, sizeof control) > 0)
      continue;
    exit (FAULT_NET);
  }
  if (is ("mute"))
    return;
  if (is ("die"))
    kill (getpid (), SIGKILL);
  if (is ("exit")) {
    fputs ("mock: no more\n", stderr);
    exit (7);
  }
  if (m.start == 0) {
    send_data (0, FRAME_RAW_MAX, false);
    send_data (FRAME_RAW_MAX, FRAME_RAW_MAX, true);
    done.data_bytes = 2 * FRAME_RAW_MAX;
  }
  else if (m.start == MSG_SPAN) {
    buf_init (&zero, FRAME_HEADER);
    frame_put_zero (&zero, frame.id, m.start, MSG_SPAN);
    send_all (zero.data, zero.size);
    buf_reset (&zero);
    done.zero_bytes = MSG_SPAN;
  }
  else {
    send_data (m.start, 512, false);
    done.data_bytes = 512;
  }
  if (is ("short-count"))
    done.data_bytes++;
  msg_read_done_encode (&done, out);
  answer (FRAME_READ_DONE, out);
}

static void
serve (void)
{
  uint8_t head[FRAME_HEADER];
  struct buf in;
  struct buf out;

  buf_init (&out, FRAME_CONTROL_MAX);
  while (fdio_read_full (0, head, sizeof head, "stdin", NULL) > 0) {
    if (frame_decode (head, &frame, NULL) < 0
        || (frame.payload_len > 0
            && fdio_read_full (0, control, frame.payload_len, "stdin", NULL)
                   <= 0)
        || frame_verify (head, &frame, control, NULL) < 0)
      exit (FAULT_PROTO);
    buf_view (&in, control, frame.payload_len);
    buf_clear (&out);
    if (frame.type == FRAME_HELLO)
      welcome (&in, &out);
    else if (frame.type == FRAME_PING)
      answer (FRAME_PONG, NULL);
    else if (frame.type == FRAME_OPEN_READ)
      opened (&out);
    else if (frame.type == FRAME_MAP)
      mapped (&out);
    else if (frame.type == FRAME_READ)
      sent (&in, &out);
    else if (frame.type == FRAME_CLOSE) {
      msg_report_encode (&(struct msg_report){ .report = NULL }, &out);
      answer (FRAME_CLOSED, &out);
    }
    else
      break;
  }
  buf_reset (&out);
}

int
main (int argc, char **argv)
{
  if (argc > 1 && strcmp (argv[1], "--selftest") == 0) {
    const char *why = getenv ("MOCK_REFUSE");

    if (why != NULL)
      fprintf (stderr, "%s: %s\n", argv[0], why);
    return why != NULL ? 126 : 0;
  }
  if (argc > 2 && strcmp (argv[1], "--unlink") == 0) {
    unlink (argv[2]);
    rmdir (dirname (argv[2]));
  }
  data = xmalloc (FRAME_RAW_MAX);
  packed = xmalloc (pack_bound (FRAME_RAW_MAX));
  serve ();
  free (data);
  free (packed);
  return frame.type == FRAME_BYE ? 0 : FAULT_NET;
}
