/* SPDX-License-Identifier: Apache-2.0 */
/* READ requests carry the caller's ids, all others ids of ours, which have the
   top bit set. */
#include <config.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "host/chan.h"
#include "host/conn.h"
#include "host/push.h"
#include "host/remote.h"
#include "host/talk.h"
#include "wire/frame.h"
#include "wire/msg.h"
#include "wire/pack.h"

#define OWN_ID 0x80000000u
/* Raw bytes that are sent and not yet known to be written. */
#define WRITE_WINDOW (16u * 1024 * 1024)

/* A READ that was submitted and is not done. */
struct reading {
  uint32_t id; /* 0 = free */
  uint64_t start;
  uint64_t length;
  uint64_t data_bytes; /* that came */
};

struct remote {
  struct talk t;
  bool lz4;
  struct msg_welcome welcome;
  uint32_t last_id;
  char *report; /* of the last close; NULL = nothing */

  uint64_t disk_size; /* that is open for reading; 0 = none */
  struct reading readings[REMOTE_OUTSTANDING_MAX];
  unsigned outstanding;

  uint32_t write_id;   /* 0 = no volume is open for writing */
  uint64_t write_sent; /* bytes since OPEN_WRITE */
  uint64_t write_done; /* of them acknowledged */
};

const struct msg_welcome *
remote_welcome (const struct remote *r)
{
  return &r->welcome;
}

bool
remote_alive (const struct remote *r)
{
  return r->t.alive && conn_alive (r->t.c);
}

unsigned
remote_read_outstanding (const struct remote *r)
{
  return r->outstanding;
}

void
remote_totals (const struct remote *r, struct remote_totals *t)
{
  t->wire_bytes = chan_received (r->t.ch);
  t->raw_bytes = r->t.raw_bytes;
}

static int
take_written (struct remote *r, struct fault *f)
{
  struct msg_written m;
  struct buf b;

  talk_view (&r->t, &b);
  if (msg_written_decode (&b, &m, f) < 0)
    return talk_dead (&r->t);
  if (r->t.frame.id != r->write_id || m.total > r->write_sent)
    return talk_odd (&r->t, "it acknowledges what was not sent", f);
  /* The helper's threads may send two of them in the other order. */
  if (m.total > r->write_done)
    r->write_done = m.total;
  return 0;
}

static uint32_t
new_id (struct remote *r)
{
  r->last_id = (r->last_id + 1) & ~OWN_ID;
  return r->last_id | OWN_ID;
}

/* Send r->t.payload as TYPE, wait for ANSWER; IN is its payload. */
static int
call (struct remote *r, enum frame_type type, enum frame_type answer,
      struct buf *in, struct fault *f)
{
  uint32_t id = new_id (r);

  if (r->outstanding > 0)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "host %s: %s while %u READs are outstanding",
                      conn_name (r->t.c), frame_name (type), r->outstanding);
  if (talk_send_control (&r->t, type, id, f) < 0)
    return -1;
  for (;;) {
    if (talk_next (&r->t, f) < 0)
      return -1;
    if (r->t.frame.type != FRAME_WRITTEN)
      break;
    if (take_written (r, f) < 0)
      return -1;
  }
  if (r->t.frame.type != answer || r->t.frame.id != id)
    return talk_odd (&r->t, "it is no answer to what was asked", f);
  talk_view (&r->t, in);
  return 0;
}

/* --- begin and end ---------------------------------------------------- */

static int
hello (struct remote *r, const struct remote_options *options, struct fault *f)
{
  struct msg_hello m = {
    .version = MSG_VERSION,
    .heartbeat_ms = r->t.heartbeat_ms,
    .codings = 1u << FRAME_PLAIN | (options->lz4 ? 1u << FRAME_LZ4 : 0),
  };
  struct buf in;

  if (options->run_id != NULL)
    snprintf (m.run_id, sizeof m.run_id, "%s", options->run_id);
  if (options->stop_phase != NULL)
    snprintf (m.stop_phase, sizeof m.stop_phase, "%s", options->stop_phase);
  msg_hello_encode (&m, &r->t.payload);
  if (call (r, FRAME_HELLO, FRAME_WELCOME, &in, f) < 0
      || msg_welcome_decode (&in, &r->welcome, f) < 0)
    return -1;
  if (r->welcome.version != MSG_VERSION)
    return fault_set (f, FAULT_PROTO, 0,
                      "host %s: the helper speaks version %" PRIu32
                      " of the protocol, we speak %d",
                      conn_name (r->t.c), r->welcome.version, MSG_VERSION);
  return 0;
}

int
remote_start (struct conn *c, const struct remote_options *options,
              struct remote **remote, struct fault *f)
{
  CLEANUP (remote_free) struct remote *r = xcalloc (1, sizeof *r);
  unsigned heartbeat_s
      = options->heartbeat_s > 0 ? options->heartbeat_s : REMOTE_HEARTBEAT_S;
  struct chan *ch = NULL;
  int rc;

  r->lz4 = options->lz4;
  if (talk_init (&r->t, c, heartbeat_s * 1000, options->sudo, f) < 0)
    return -1;
  if (options->helper_path != NULL)
    rc = push_start_placed (c, options->helper_path, options->helper_local,
                            options->sudo, &ch, f);
  else
    rc = push_start (c, options->helper_local, options->sudo, &ch, f);
  if (rc < 0)
    return -1;
  talk_begin (&r->t, ch);
  if (hello (r, options, f) < 0)
    return -1;
  *remote = steal_ptr (&r);
  return 0;
}

void
remote_free (struct remote *r)
{
  if (r == NULL)
    return;
  talk_reset (&r->t);
  free (r->report);
  free (r);
}

int
remote_stop (struct remote *r, struct fault *f)
{
  int status = 0;

  buf_clear (&r->t.payload);
  if (talk_send_control (&r->t, FRAME_BYE, new_id (r), f) < 0)
    return -1;
  r->t.alive = false;
  if (chan_send_eof (r->t.ch, f) < 0 || chan_finish (r->t.ch, &status, f) < 0)
    return -1;
  if (status != 0)
    return push_explain (r->t.c, r->t.sudo, status, chan_stderr (r->t.ch), f);
  return 0;
}

/* Take in what has come without being waited for. */
static int
take_in (struct remote *r, struct fault *f)
{
  for (;;) {
    int rc = talk_poll (&r->t, f);

    if (rc <= 0)
      return rc;
    if (r->t.frame.type != FRAME_WRITTEN)
      return talk_odd (&r->t, "nothing was asked", f);
    if (take_written (r, f) < 0)
      return -1;
  }
}

int
remote_ping (struct remote *r, struct fault *f)
{
  if (talk_beat (&r->t, f) < 0)
    return -1;
  /* With READs outstanding their data is what comes next: remote_next. */
  return r->outstanding == 0 ? take_in (r, f) : 0;
}

int
remote_close_volume (struct remote *r, struct fault *f)
{
  struct msg_report answer = { 0 };
  struct buf in;

  free (r->report);
  r->report = NULL;
  if (r->disk_size == 0 && r->write_id == 0)
    return 0;
  r->disk_size = 0;
  if (call (r, FRAME_CLOSE, FRAME_CLOSED, &in, f) < 0)
    return -1;
  r->write_id = 0;
  if (msg_report_decode (&in, &answer, f) < 0) {
    msg_report_reset (&answer);
    return talk_dead (&r->t);
  }
  r->report = answer.report;
  return 0;
}

const char *
remote_report (const struct remote *r)
{
  return r->report != NULL ? r->report : "";
}

int
remote_reap (struct remote *r, char **report, struct fault *f)
{
  struct msg_report answer = { 0 };
  struct buf in;

  if (call (r, FRAME_REAP, FRAME_REAPED, &in, f) < 0)
    return -1;
  if (msg_report_decode (&in, &answer, f) < 0) {
    msg_report_reset (&answer);
    return talk_dead (&r->t);
  }
  *report = answer.report;
  return 0;
}

int
remote_look (struct remote *r, const struct msg_look *m, struct fault *f)
{
  struct buf in;

  msg_look_encode (m, &r->t.payload);
  return call (r, FRAME_LOOK, FRAME_LOOKED, &in, f);
}

/* --- reading ---------------------------------------------------------- */

int
remote_open_read (struct remote *r, const struct msg_open_read *m,
                  struct msg_opened *opened, struct fault *f)
{
  struct msg_opened answer = { 0 };
  struct buf in;

  msg_open_read_encode (m, &r->t.payload);
  if (call (r, FRAME_OPEN_READ, FRAME_OPENED, &in, f) < 0)
    return -1;
  if (msg_opened_decode (&in, &answer, f) < 0) {
    msg_opened_reset (&answer);
    return talk_dead (&r->t);
  }
  if (answer.layer_count != m->layer_count || answer.virtual_size == 0) {
    msg_opened_reset (&answer);
    return talk_odd (&r->t, "it opened something else", f);
  }
  r->disk_size = answer.virtual_size;
  *opened = answer;
  return 0;
}

/* One MAP; its spans are appended to MAP. */
static int
map_range (struct remote *r, uint64_t start, uint64_t length,
           struct remote_map *map, struct fault *f)
{
  struct msg_map m = { .start = start, .length = length };
  struct msg_mapped answer = { 0 };
  uint64_t sum;
  struct buf in;

  msg_map_encode (&m, &r->t.payload);
  if (call (r, FRAME_MAP, FRAME_MAPPED, &in, f) < 0)
    return -1;
  if (msg_mapped_decode (&in, &answer, f) < 0) {
    msg_mapped_reset (&answer);
    return talk_dead (&r->t);
  }
  sum = answer.data_bytes + answer.zero_bytes + answer.absent_bytes;
  if (answer.span_count != (length + MSG_SPAN - 1) / MSG_SPAN
      || sum != length) {
    msg_mapped_reset (&answer);
    return talk_odd (&r->t, "its sums are not those of the range", f);
  }
  map->data_bytes += answer.data_bytes;
  map->zero_bytes += answer.zero_bytes;
  map->absent_bytes += answer.absent_bytes;
  map->extents += answer.extents;
  map->spans = xreallocarray (map->spans, map->span_count + answer.span_count,
                              sizeof *map->spans);
  memcpy (map->spans + map->span_count, answer.spans,
          answer.span_count * sizeof *map->spans);
  map->span_count += answer.span_count;
  msg_mapped_reset (&answer);
  return 0;
}

int
remote_map (struct remote *r, struct remote_map *map, struct fault *f)
{
  struct remote_map all = { 0 };

  for (uint64_t at = 0; at < r->disk_size; at += MSG_MAP_MAX) {
    uint64_t length = r->disk_size - at;

    if (length > MSG_MAP_MAX)
      length = MSG_MAP_MAX;
    if (map_range (r, at, length, &all, f) < 0) {
      remote_map_reset (&all);
      return -1;
    }
  }
  *map = all;
  return 0;
}

void
remote_map_reset (struct remote_map *map)
{
  free (map->spans);
  *map = (struct remote_map){ 0 };
}

int
remote_identify (struct remote *r, char **text, struct fault *f)
{
  struct msg_identity answer = { 0 };
  struct buf in;

  if (call (r, FRAME_IDENTIFY, FRAME_IDENTITY, &in, f) < 0)
    return -1;
  if (msg_identity_decode (&in, &answer, f) < 0) {
    msg_identity_reset (&answer);
    return talk_dead (&r->t);
  }
  *text = answer.text;
  return 0;
}

static struct reading *
find_reading (struct remote *r, uint32_t id)
{
  for (unsigned i = 0; id != 0 && i < REMOTE_OUTSTANDING_MAX; i++) {
    if (r->readings[i].id == id)
      return &r->readings[i];
  }
  return NULL;
}

int
remote_read_submit (struct remote *r, uint32_t id, uint64_t start,
                    uint64_t length, struct fault *f)
{
  struct msg_read m = { .start = start, .length = length };
  struct reading *free_one = NULL;

  assert (id != 0 && id < OWN_ID && find_reading (r, id) == NULL);
  assert (length > 0 && length <= MSG_READ_MAX && start < r->disk_size
          && length <= r->disk_size - start);
  for (unsigned i = 0; free_one == NULL && i < REMOTE_OUTSTANDING_MAX; i++) {
    if (r->readings[i].id == 0)
      free_one = &r->readings[i];
  }
  if (free_one == NULL)
    return fault_set (f, FAULT_INTERNAL, 0, "more than %d READs outstanding",
                      REMOTE_OUTSTANDING_MAX);
  msg_read_encode (&m, &r->t.payload);
  if (talk_send_control (&r->t, FRAME_READ, id, f) < 0)
    return -1;
  *free_one = (struct reading){ .id = id, .start = start, .length = length };
  r->outstanding++;
  return 0;
}

static void
forget_reading (struct remote *r, struct reading *reading)
{
  reading->id = 0;
  r->outstanding--;
}

/* DATA or ZERO must lie in what was asked and consist of whole blocks, but for
   the end of the disk. */
static int
check_range (struct remote *r, const struct reading *reading, struct fault *f)
{
  const struct frame *fr = &r->t.frame;
  uint64_t end = reading->start + reading->length;

  if (fr->offset < reading->start || fr->offset >= end
      || fr->raw_len > end - fr->offset)
    return talk_odd (&r->t, "it is outside of the range that was asked for", f);
  if ((fr->offset + fr->raw_len) % DIGEST_BLOCK != 0
      && fr->offset + fr->raw_len != end)
    return talk_odd (&r->t, "it ends inside a block", f);
  return 0;
}

static int
take_done (struct remote *r, struct reading *reading, struct remote_block *out,
           struct fault *f)
{
  struct buf b;

  talk_view (&r->t, &b);
  if (msg_read_done_decode (&b, &out->done, f) < 0)
    return talk_dead (&r->t);
  if (out->done.data_bytes != reading->data_bytes)
    return talk_odd (&r->t, "it counts other data than came", f);
  out->kind = REMOTE_DONE;
  out->offset = reading->start;
  out->size = reading->length;
  forget_reading (r, reading);
  return 0;
}

int
remote_next (struct remote *r, struct remote_block *out, struct fault *f)
{
  struct reading *reading;
  int rc = talk_next (&r->t, f);

  *out = (struct remote_block){ .id = r->t.frame.id };
  reading = find_reading (r, out->id);
  if (rc < 0) {
    if (r->t.alive && reading != NULL)
      forget_reading (r, reading);
    return -1;
  }
  if (reading == NULL)
    return talk_odd (&r->t, "no READ has this id", f);
  if (r->t.frame.type == FRAME_READ_DONE)
    return take_done (r, reading, out, f);
  if (r->t.frame.type != FRAME_DATA && r->t.frame.type != FRAME_ZERO)
    return talk_odd (&r->t, "it is no answer to a READ", f);
  if (check_range (r, reading, f) < 0)
    return -1;
  out->kind = r->t.frame.type == FRAME_DATA ? REMOTE_DATA : REMOTE_ZERO;
  out->offset = r->t.frame.offset;
  out->size = r->t.frame.raw_len;
  if (out->kind == REMOTE_DATA) {
    out->data = r->t.raw;
    out->digests = r->t.table;
    reading->data_bytes += out->size;
  }
  return 0;
}

/* --- writing ---------------------------------------------------------- */

int
remote_open_write (struct remote *r, const struct msg_open_write *m,
                   struct msg_wopened *wopened, struct fault *f)
{
  struct msg_wopened answer = { 0 };
  struct buf in;

  msg_open_write_encode (m, &r->t.payload);
  if (call (r, FRAME_OPEN_WRITE, FRAME_WOPENED, &in, f) < 0)
    return -1;
  if (msg_wopened_decode (&in, &answer, f) < 0) {
    msg_wopened_reset (&answer);
    return talk_dead (&r->t);
  }
  r->write_id = r->t.frame.id;
  r->write_sent = 0;
  r->write_done = 0;
  *wopened = answer;
  return 0;
}

/* Take in acknowledgements; wait for them while too much is in flight. */
static int
make_room (struct remote *r, uint64_t size, struct fault *f)
{
  if (r->write_id == 0)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "host %s: no volume is open for writing",
                      conn_name (r->t.c));
  if (take_in (r, f) < 0)
    return -1;
  while (r->write_sent - r->write_done + size > WRITE_WINDOW
         && r->write_sent > r->write_done) {
    if (talk_next (&r->t, f) < 0)
      return -1;
    if (r->t.frame.type != FRAME_WRITTEN)
      return talk_odd (&r->t, "nothing was asked", f);
    if (take_written (r, f) < 0)
      return -1;
  }
  return 0;
}

/* One DATA frame. */
static int
write_frame (struct remote *r, uint64_t offset, const uint8_t *data,
             uint32_t size, const uint8_t *digests, struct fault *f)
{
  uint8_t head[FRAME_HEADER + FRAME_TABLE_MAX];
  size_t packed = 0;
  size_t head_size;

  if (make_room (r, size, f) < 0)
    return -1;
  if (r->lz4)
    packed = pack (data, size, r->t.coded, pack_bound (FRAME_RAW_MAX));
  head_size = frame_put_data (head, r->write_id, offset, data, size, digests,
                              packed > 0 ? FRAME_LZ4 : FRAME_PLAIN,
                              packed > 0 ? (uint32_t)packed : size);
  if (talk_send (&r->t, head, head_size, f) < 0
      || talk_send (&r->t, packed > 0 ? r->t.coded : data,
                    packed > 0 ? packed : size, f)
             < 0)
    return -1;
  r->write_sent += size;
  return 0;
}

int
remote_write (struct remote *r, uint64_t offset, const void *data, size_t size,
              const uint8_t *digests, struct fault *f)
{
  const uint8_t *p = data;

  assert (offset % DIGEST_BLOCK == 0);
  while (size > 0) {
    uint32_t part = size < FRAME_RAW_MAX ? (uint32_t)size : FRAME_RAW_MAX;

    if (write_frame (r, offset, p, part, digests, f) < 0)
      return -1;
    if (digests != NULL)
      digests += frame_table_size (part);
    offset += part;
    p += part;
    size -= part;
  }
  return 0;
}

int
remote_zero (struct remote *r, uint64_t offset, uint64_t length,
             struct fault *f)
{
  assert (offset % DIGEST_BLOCK == 0);
  while (length > 0) {
    uint32_t part = length < FRAME_ZERO_MAX ? (uint32_t)length : FRAME_ZERO_MAX;

    if (make_room (r, part, f) < 0)
      return -1;
    buf_clear (&r->t.out);
    frame_put_zero (&r->t.out, r->write_id, offset, part);
    if (talk_send (&r->t, r->t.out.data, r->t.out.size, f) < 0)
      return -1;
    r->write_sent += part;
    offset += part;
    length -= part;
  }
  return 0;
}

int
remote_truncate (struct remote *r, uint64_t size, struct fault *f)
{
  struct msg_truncate m = { .size = size };
  struct buf in;

  msg_truncate_encode (&m, &r->t.payload);
  return call (r, FRAME_TRUNCATE, FRAME_TRUNCATED, &in, f);
}

int
remote_flush (struct remote *r, struct fault *f)
{
  struct msg_flushed m;
  struct buf in;

  if (call (r, FRAME_FLUSH, FRAME_FLUSHED, &in, f) < 0)
    return -1;
  if (msg_flushed_decode (&in, &m, f) < 0)
    return talk_dead (&r->t);
  if (m.total != r->write_sent)
    return talk_odd (&r->t, "it flushed other bytes than were sent", f);
  r->write_done = m.total;
  return 0;
}

int
remote_check (struct remote *r, uint64_t offset, uint64_t length,
              uint8_t *digests, struct fault *f)
{
  struct msg_check m = { .offset = offset, .length = length };
  struct msg_digests answer = { 0 };
  struct buf in;

  assert (length > 0 && length <= MSG_READ_MAX);
  msg_check_encode (&m, &r->t.payload);
  if (call (r, FRAME_CHECK, FRAME_DIGESTS, &in, f) < 0)
    return -1;
  if (msg_digests_decode (&in, &answer, f) < 0) {
    msg_digests_reset (&answer);
    return talk_dead (&r->t);
  }
  if (answer.offset != offset || answer.count != DIGEST_BLOCKS (length)) {
    msg_digests_reset (&answer);
    return talk_odd (&r->t, "it checked something else", f);
  }
  memcpy (digests, answer.digests, (size_t)answer.count * DIGEST_SIZE);
  msg_digests_reset (&answer);
  return 0;
}

int
remote_seal (struct remote *r, const void *data, size_t size, char **identity,
             struct fault *f)
{
  struct msg_seal m = { .size = (uint32_t)size, .data = data };
  struct msg_sealed answer = { 0 };
  struct buf in;

  assert (size <= MSG_SEAL_MAX);
  msg_seal_encode (&m, &r->t.payload);
  if (call (r, FRAME_SEAL, FRAME_SEALED, &in, f) < 0)
    return -1;
  if (msg_sealed_decode (&in, &answer, f) < 0) {
    msg_sealed_reset (&answer);
    return talk_dead (&r->t);
  }
  if (identity != NULL)
    *identity = steal_ptr (&answer.identity);
  msg_sealed_reset (&answer);
  return 0;
}

/* --- helpers that still run ------------------------------------------- */

/* "helper PID STATE RUN-ID"; before its HELLO a helper has no run id, and what
   its command line shows instead is no word that could be one.  A process that
   is dead and not yet reaped is no helper any more. */
static bool
parse_leftover (const char *line, struct remote_leftover *l)
{
  char run_id[MSG_NAME_MAX] = "";
  char state = '?';
  unsigned pid = 0;

  if (sscanf (line, "helper %u %c %255s", &pid, &state, run_id) < 2
      || state == 'Z' || state == 'X')
    return false;
  *l = (struct remote_leftover){ .pid = pid, .state = state };
  if (run_id[0] != '-' && strncmp (run_id, "chainlift", 9) != 0)
    memcpy (l->run_id, run_id, sizeof l->run_id);
  return true;
}

int
remote_probe (struct conn *c, bool sudo, struct remote_leftover **list,
              size_t *count, char boot_id[static MSG_NAME_MAX], struct fault *f)
{
  CLEANUP_FREE char *lines = NULL;
  struct remote_leftover *found = NULL;
  size_t n = 0;
  char *rest;

  boot_id[0] = '\0';
  if (push_probe (c, sudo, &lines, f) < 0)
    return -1;
  for (char *line = strtok_r (lines, "\n", &rest); line != NULL;
       line = strtok_r (NULL, "\n", &rest)) {
    if (strncmp (line, "boot ", 5) == 0) {
      snprintf (boot_id, MSG_NAME_MAX, "%s", line + 5);
      continue;
    }
    found = xreallocarray (found, n + 1, sizeof *found);
    if (parse_leftover (line, &found[n]))
      n++;
  }
  if (boot_id[0] == '\0') {
    free (found);
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: looking for helpers gave no boot id",
                      conn_name (c));
  }
  *list = found;
  *count = n;
  return 0;
}
