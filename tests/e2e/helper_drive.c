/* SPDX-License-Identifier: Apache-2.0 */
/* Drives one helper over plain pipes, without SSH: what the controller does,
   in its smallest form, and what a broken controller does.

     helper_drive HELPER pull DIR OUT FLAGS LAYER...
     helper_drive HELPER push DIR IMAGE VOLUME raw|cow CAPACITY FILE FLAGS
     helper_drive HELPER reap
     helper_drive HELPER silent|eof|garbage|deaf|flood|stopped DIR LAYER...

   FLAGS: words joined by commas: part lower scan leaf lz4 discard fresh locked
   noseal stop=PHASE pause (between data and t1, or the first data and all
   others: "paused" is printed, and the end of the standard input waited for, at
   most two minutes), or "-".  For logical volumes: lun=ID (each), version=N,
   noholes (raw: no zeros are sent), cut (TRUNCATE as for a file).
   LAYER: IMAGE,VOLUME,PARENT,raw|cow,CAPACITY ("-" as PARENT: none).
   Facts go to stdout, one a line; a fault of the helper to stderr, and its
   code is the exit status.  100 + the helper's own status when it ended
   although it should not have. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "wire/digest.h"
#include "wire/frame.h"
#include "wire/msg.h"

#define OUTSTANDING 8
#define WINDOW (12u * 1024 * 1024)
#define LAYERS_MAX 16

static struct {
  pid_t pid;
  int in;
  int out;
  uint64_t pinged_ms;
  uint64_t wire_bytes;
  struct fault fault;
  bool part, lower, scan, leaf, lz4, discard, fresh, locked, noseal, pause;
  bool noholes, cut;
  struct group_lun luns[4];
  struct group_spec group; /* no LUNs: files */
  const char *stop;
  unsigned heartbeat_ms;
  pid_t worker;
} d = { .heartbeat_ms = 30000, .stop = "" };

/* A frame from the helper; data is its payload. */
struct answer {
  struct frame frame;
  uint8_t *data;
};

static int
end (void)
{
  int status;

  close (d.in);
  close (d.out);
  waitpid (d.pid, &status, 0);
  return WIFEXITED (status) ? WEXITSTATUS (status) : 128 + WTERMSIG (status);
}

static void __attribute__ ((noreturn)) fail (const struct fault *f)
{
  int status = end ();

  fprintf (stderr, "fault %s: %s (helper ended with %d)\n",
           fault_name (f->code), f->text, status);
  exit ((int)f->code);
}

static void __attribute__ ((noreturn)) gone (void)
{
  int status = end ();

  fprintf (stderr, "the helper ended with %d\n", status);
  exit (100 + status);
}

static void
start (const char *helper)
{
  int in[2];
  int out[2];

  if (pipe2 (in, O_CLOEXEC) < 0 || pipe2 (out, O_CLOEXEC) < 0)
    abort ();
  signal (SIGPIPE, SIG_IGN);
  d.pid = fork ();
  if (d.pid == 0) {
    dup2 (in[0], 0);
    dup2 (out[1], 1);
    execl (helper, helper, (char *)NULL);
    _exit (127);
  }
  close (in[0]);
  close (out[1]);
  d.in = in[1];
  d.out = out[0];
  fcntl (d.out, F_SETPIPE_SZ, 1024 * 1024);
}

static void
send_buf (const struct buf *b)
{
  if (buf_bad (b))
    abort ();
  if (fdio_write_full (d.in, b->data, b->size, "helper", NULL) < 0)
    gone ();
  buf_reset ((struct buf *)b);
}

static void
send_frame (enum frame_type type, uint32_t id, const struct buf *payload)
{
  struct buf b;

  buf_init (&b, FRAME_HEADER + FRAME_CONTROL_MAX);
  frame_put (&b, type, id, payload);
  send_buf (&b);
  if (payload != NULL)
    buf_reset ((struct buf *)payload);
}

static void
ping (void)
{
  uint64_t now = stamp_mono_ms ();

  if (now - d.pinged_ms < 1000)
    return;
  d.pinged_ms = now;
  send_frame (FRAME_PING, 0, NULL);
}

/* Wait for the helper, which may wait for its storage, and stay alive. */
static void
await_input (void)
{
  struct pollfd p = { .fd = d.out, .events = POLLIN };

  do
    ping ();
  while (poll (&p, 1, 500) == 0);
}

/* The next frame but PONG; a FAULT ends the program. */
static void
receive (struct answer *a)
{
  static uint8_t payload[FRAME_PAYLOAD_MAX];
  uint8_t head[FRAME_HEADER];
  struct fault f = FAULT_INIT;
  struct msg_fault m;
  struct buf b;

  do {
    await_input ();
    if (fdio_read_full (d.out, head, sizeof head, "helper", &f) != 1)
      gone ();
    if (frame_decode (head, &a->frame, &f) < 0)
      fail (&f);
    if (a->frame.payload_len > 0
        && fdio_read_full (d.out, payload, a->frame.payload_len, "helper", &f)
               != 1)
      gone ();
    if (frame_verify (head, &a->frame, payload, &f) < 0)
      fail (&f);
    d.wire_bytes += FRAME_HEADER + a->frame.payload_len;
  } while (a->frame.type == FRAME_PONG);
  a->data = payload;
  if (a->frame.type != FRAME_FAULT)
    return;
  buf_view (&b, payload, a->frame.payload_len);
  if (msg_fault_decode (&b, &m, &f) == 0)
    fault_set (&f, (enum fault_code)m.code, 0, "%s", m.text);
  fail (&f);
}

static struct buf
expect (enum frame_type type)
{
  struct fault f = FAULT_INIT;
  struct answer a;
  struct buf b;

  do /* WRITTEN may come late */
    receive (&a);
  while (a.frame.type == FRAME_WRITTEN && type != FRAME_WRITTEN);
  if (a.frame.type != type) {
    fault_set (&f, FAULT_PROTO, 0, "%s instead of %s",
               frame_name (a.frame.type), frame_name (type));
    fail (&f);
  }
  buf_view (&b, a.data, a.frame.payload_len);
  return b;
}

static struct buf
payload (void)
{
  struct buf b;
  buf_init (&b, FRAME_CONTROL_MAX);
  return b;
}

static void
hello (void)
{
  struct msg_hello m = { .version = MSG_VERSION,
                         .heartbeat_ms = d.heartbeat_ms,
                         .codings = 1 | (d.lz4 ? 1u << FRAME_LZ4 : 0),
                         .run_id = "drive" };
  struct fault f = FAULT_INIT;
  struct msg_welcome w;
  struct buf b = payload ();

  snprintf (m.stop_phase, sizeof m.stop_phase, "%s", d.stop);
  msg_hello_encode (&m, &b);
  send_frame (FRAME_HELLO, 1, &b);
  b = expect (FRAME_WELCOME);
  if (msg_welcome_decode (&b, &w, &f) < 0)
    fail (&f);
  d.worker = (pid_t)w.pid;
  printf ("welcome %s uid %u flags %u pid %u boot %s\n", w.program, w.uid,
          w.flags, w.pid, w.boot_id);
  fflush (stdout);
}

/* --- arguments -------------------------------------------------------- */

static void
parse_flags (char *text)
{
  static const struct {
    const char *name;
    bool *flag;
  } flags[] = {
    { "part", &d.part },     { "lower", &d.lower },     { "scan", &d.scan },
    { "leaf", &d.leaf },     { "lz4", &d.lz4 },         { "fresh", &d.fresh },
    { "locked", &d.locked }, { "discard", &d.discard }, { "noseal", &d.noseal },
    { "pause", &d.pause },   { "noholes", &d.noholes }, { "cut", &d.cut },
  };
  char *save = NULL;

  d.group.luns = d.luns;
  for (char *w = strtok_r (text, ",", &save); w != NULL;
       w = strtok_r (NULL, ",", &save)) {
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
      if (strcmp (w, flags[i].name) == 0)
        *flags[i].flag = true;
    }
    if (strncmp (w, "stop=", 5) == 0)
      d.stop = w + 5;
    if (strncmp (w, "lun=", 4) == 0 && d.group.lun_count < 4)
      snprintf (d.luns[d.group.lun_count++].id, GROUP_LUN_SIZE, "%s", w + 4);
    if (strncmp (w, "version=", 8) == 0)
      d.group.version = (uint8_t)strtoul (w + 8, NULL, 10);
  }
}

static void
parse_layer (char *text, struct msg_layer *l)
{
  char *save = NULL;
  char *image = strtok_r (text, ",", &save);
  char *volume = strtok_r (NULL, ",", &save);
  char *parent = strtok_r (NULL, ",", &save);
  char *format = strtok_r (NULL, ",", &save);
  char *capacity = strtok_r (NULL, ",", &save);

  if (capacity == NULL) {
    fprintf (stderr, "LAYER: IMAGE,VOLUME,PARENT,FORMAT,CAPACITY\n");
    exit (2);
  }
  snprintf (l->image, sizeof l->image, "%s", image);
  snprintf (l->volume, sizeof l->volume, "%s", volume);
  snprintf (l->parent, sizeof l->parent, "%s",
            strcmp (parent, "-") == 0 ? UUID_BLANK : parent);
  l->format = strcmp (format, "raw") == 0 ? MSG_RAW : MSG_COW;
  l->capacity = strtoull (capacity, NULL, 10);
  l->legality = MSG_LEGAL;
  l->voltype = (uint8_t)(MSG_INTERNAL | MSG_SHARED | (d.leaf ? MSG_LEAF : 0));
}

/* --- pull ------------------------------------------------------------- */

static void
open_read (const char *dir, char **args, int count, struct msg_opened *opened)
{
  struct msg_layer layers[LAYERS_MAX] = { 0 };
  struct msg_open_read m = { .layers = layers };
  struct fault f = FAULT_INIT;
  struct buf b = payload ();

  if (count < 1 || count > LAYERS_MAX)
    exit (2);
  m.kind = d.group.lun_count > 0 ? MSG_BLOCK : MSG_FILE;
  m.group = d.group;
  m.flags = (d.part ? MSG_READ_KEEP_ZERO : 0)
            | (d.scan ? MSG_READ_SCAN_WRITERS : 0);
  snprintf (m.dir, sizeof m.dir, "%s", dir);
  m.layer_count = (uint32_t)count;
  m.lower_count = d.lower ? 1 : 0;
  for (int i = 0; i < count; i++)
    parse_layer (args[i], &layers[i]);
  msg_open_read_encode (&m, &b);
  send_frame (FRAME_OPEN_READ, 2, &b);
  b = expect (FRAME_OPENED);
  if (msg_opened_decode (&b, opened, &f) < 0)
    fail (&f);
}

static void
map_disk (uint64_t size)
{
  struct fault f = FAULT_INIT;
  uint64_t sums[4] = { 0 };

  for (uint64_t pos = 0; pos < size; pos += MSG_MAP_MAX) {
    struct msg_map m = { .start = pos, .length = MSG_MAP_MAX };
    struct msg_mapped r = { 0 };
    struct buf b = payload ();

    if (m.length > size - pos)
      m.length = size - pos;
    msg_map_encode (&m, &b);
    send_frame (FRAME_MAP, 3, &b);
    b = expect (FRAME_MAPPED);
    if (msg_mapped_decode (&b, &r, &f) < 0)
      fail (&f);
    sums[0] += r.data_bytes;
    sums[1] += r.zero_bytes;
    sums[2] += r.absent_bytes;
    sums[3] += r.extents;
    msg_mapped_reset (&r);
  }
  printf ("map data %llu zero %llu absent %llu extents %llu\n",
          (unsigned long long)sums[0], (unsigned long long)sums[1],
          (unsigned long long)sums[2], (unsigned long long)sums[3]);
}

static void
submit (uint32_t id, uint64_t start, uint64_t size)
{
  struct msg_read m = { .start = start, .length = MSG_READ_MAX };
  struct buf b = payload ();

  if (m.length > size - start)
    m.length = size - start;
  msg_read_encode (&m, &b);
  send_frame (FRAME_READ, id, &b);
}

/* Take one frame of the answers; true when a READ is done. */
static bool
take (int out, struct msg_read_done *sum)
{
  static uint8_t raw[FRAME_RAW_MAX];
  static const uint8_t zeros[FRAME_ZERO_MAX];
  struct fault f = FAULT_INIT;
  struct msg_read_done done;
  struct answer a;
  struct buf b;
  size_t table;

  receive (&a);
  if (a.frame.type == FRAME_DATA) {
    table = frame_table_size (a.frame.raw_len);
    if (d.discard)
      return false;
    if (frame_unpack (&a.frame, a.data, a.data + table, raw, &f) < 0
        || fdio_pwrite_full (out, raw, a.frame.raw_len, a.frame.offset, "OUT",
                             &f)
               < 0)
      fail (&f);
  }
  else if (a.frame.type == FRAME_ZERO
           && fdio_pwrite_full (out, zeros, a.frame.raw_len, a.frame.offset,
                                "OUT", &f)
                  < 0)
    fail (&f);
  else if (a.frame.type == FRAME_READ_DONE) {
    buf_view (&b, a.data, a.frame.payload_len);
    if (msg_read_done_decode (&b, &done, &f) < 0)
      fail (&f);
    sum->data_bytes += done.data_bytes;
    sum->zero_bytes += done.zero_bytes;
    sum->skipped_bytes += done.skipped_bytes;
    return true;
  }
  return false;
}

static void
read_disk (int out, uint64_t size)
{
  struct msg_read_done sum = { 0 };
  uint64_t begin = stamp_mono_ms ();
  uint64_t pos = 0;
  unsigned outstanding = 0;
  uint32_t id = 100;
  double s;

  while (pos < size || outstanding > 0) {
    while (pos < size && outstanding < OUTSTANDING) {
      submit (id++, pos, size);
      pos += MSG_READ_MAX;
      outstanding++;
    }
    if (take (out, &sum))
      outstanding--;
  }
  s = (double)(stamp_mono_ms () - begin) / 1000;
  printf (
      "read data %llu zero %llu skipped %llu wire %llu\n",
      (unsigned long long)sum.data_bytes, (unsigned long long)sum.zero_bytes,
      (unsigned long long)sum.skipped_bytes, (unsigned long long)d.wire_bytes);
  printf ("time %.3f s %.0f MB/s\n", s,
          (double)(sum.data_bytes + sum.skipped_bytes) / 1e6 / (s + 1e-9));
}

static int
bye (void)
{
  struct rusage u = { 0 };
  int status;

  send_frame (FRAME_BYE, 0, NULL);
  status = end ();
  getrusage (RUSAGE_CHILDREN, &u);
  printf ("helper user %ld.%03ld s system %ld.%03ld s resident %ld KiB\n",
          (long)u.ru_utime.tv_sec, (long)u.ru_utime.tv_usec / 1000,
          (long)u.ru_stime.tv_sec, (long)u.ru_stime.tv_usec / 1000,
          u.ru_maxrss);
  if (status != 0)
    fprintf (stderr, "the helper ended with %d after BYE\n", status);
  return status == 0 ? 0 : 100 + status;
}

/* CLOSE or REAP, whose answers are alike: what is told of logical volumes. */
static void
put_back (enum frame_type type, enum frame_type answer, const char *word)
{
  struct msg_report m = { 0 };
  struct fault f = FAULT_INIT;
  struct buf b;

  send_frame (type, 5, NULL);
  b = expect (answer);
  if (msg_report_decode (&b, &m, &f) < 0)
    fail (&f);
  printf ("%s\n%s", word, m.report);
  msg_report_reset (&m);
}

/* Stay alive until the standard input ends. */
static void
pause_reading (void)
{
  struct pollfd p = { .fd = 0, .events = POLLIN };

  puts ("paused");
  fflush (stdout);
  for (unsigned i = 0; i < 1200 && poll (&p, 1, 100) == 0; i++)
    ping ();
}

static int
pull (int argc, char **argv)
{
  struct msg_opened opened = { 0 };
  struct msg_identity t1 = { 0 };
  struct fault f = FAULT_INIT;
  struct buf b;
  int out;

  parse_flags (argv[2]);
  hello ();
  open_read (argv[0], argv + 3, argc - 3, &opened);
  printf ("size %llu\n%s", (unsigned long long)opened.virtual_size,
          opened.identity);
  fflush (stdout);
  out = open (argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (out < 0 || ftruncate (out, (off_t)opened.virtual_size) < 0)
    return 2;
  map_disk (opened.virtual_size);
  read_disk (out, opened.virtual_size);
  if (d.pause)
    pause_reading ();
  send_frame (FRAME_IDENTIFY, 4, NULL);
  b = expect (FRAME_IDENTITY);
  if (msg_identity_decode (&b, &t1, &f) < 0)
    fail (&f);
  if (strcmp (t1.text, opened.identity) != 0) {
    fault_set (&f, FAULT_CORRUPT, 0, "t1 differs");
    puts (t1.text);
    fail (&f);
  }
  msg_identity_reset (&t1);
  msg_opened_reset (&opened);
  put_back (FRAME_CLOSE, FRAME_CLOSED, "closed");
  close (out);
  return bye ();
}

/* --- push ------------------------------------------------------------- */

/* Wait until all but WINDOW bytes of SENT are acknowledged, 0: the last too. */
static void
wait_written (uint64_t sent, uint64_t window, uint64_t *written)
{
  struct fault f = FAULT_INIT;
  struct msg_written m;
  struct buf b;

  while (sent - *written > window) {
    b = expect (FRAME_WRITTEN);
    if (msg_written_decode (&b, &m, &f) < 0)
      fail (&f);
    *written = m.total > *written ? m.total : *written;
  }
}

static void
send_data (uint64_t offset, const uint8_t *data, uint32_t size)
{
  uint8_t head[FRAME_HEADER + FRAME_TABLE_MAX];
  size_t n
      = frame_put_data (head, 7, offset, data, size, NULL, FRAME_PLAIN, size);
  struct iovec iov[2] = { { head, n }, { (void *)data, size } };

  if (fdio_writev_full (d.in, iov, 2, "helper", NULL) < 0)
    gone ();
}

/* ZERO from START, rounded up to a block, to END; the bytes. */
static uint64_t
send_zero (uint64_t start, uint64_t end)
{
  uint8_t head[FRAME_HEADER];
  struct frame fr = { .type = FRAME_ZERO, .id = 7 };
  uint64_t sent = 0;

  start = (start + DIGEST_BLOCK - 1) / DIGEST_BLOCK * DIGEST_BLOCK;
  for (fr.offset = start; fr.offset < end; fr.offset += fr.raw_len) {
    fr.raw_len = end - fr.offset < FRAME_ZERO_MAX ? (uint32_t)(end - fr.offset)
                                                  : FRAME_ZERO_MAX;
    frame_encode (&fr, NULL, head);
    if (fdio_write_full (d.in, head, sizeof head, "helper", NULL) < 0)
      gone ();
    sent += fr.raw_len;
  }
  return sent;
}

static uint64_t
send_file (int fd, uint64_t start, uint64_t size, uint64_t container)
{
  static uint8_t data[FRAME_RAW_MAX];
  static const uint8_t zeros[FRAME_RAW_MAX];
  uint64_t written = 0, sent = 0;
  uint32_t n;

  for (uint64_t pos = start; pos < size; pos += n) {
    n = size - pos < sizeof data ? (uint32_t)(size - pos) : sizeof data;
    if (fdio_pread_full (fd, data, n, pos, "FILE", NULL) < 0)
      exit (2);
    if (memcmp (data, zeros, n) != 0)
      send_data (pos, data, n);
    else if (container == 0)
      continue;
    else
      send_zero (pos, pos + n);
    sent += n;
    wait_written (sent, pos == start || pos / n % 2 ? 0 : WINDOW, &written);
    if (d.pause && pos == start)
      pause_reading ();
    ping ();
  }
  if (container > 0)
    sent += send_zero (size, container);
  wait_written (sent, 0, &written);
  return sent;
}

static void
check_file (int fd, uint64_t start, uint64_t size)
{
  static uint8_t data[FRAME_RAW_MAX];
  uint8_t table[FRAME_TABLE_MAX];
  struct msg_digests r = { 0 };
  struct fault f = FAULT_INIT;

  for (uint64_t pos = start; pos < size; pos += MSG_READ_MAX) {
    struct msg_check m = { .offset = pos, .length = MSG_READ_MAX };
    struct buf b = payload ();

    if (m.length > size - pos)
      m.length = size - pos;
    msg_check_encode (&m, &b);
    send_frame (FRAME_CHECK, 9, &b);
    b = expect (FRAME_DIGESTS);
    if (msg_digests_decode (&b, &r, &f) < 0)
      fail (&f);
    for (uint64_t k = 0; k < m.length; k += sizeof data) {
      size_t n = m.length - k < sizeof data ? m.length - k : sizeof data;

      if (fdio_pread_full (fd, data, n, pos + k, "FILE", NULL) < 0)
        exit (2);
      digest_table (data, n, table);
      if (memcmp (table, r.digests + k / DIGEST_BLOCK * DIGEST_SIZE,
                  DIGEST_BLOCKS (n) * DIGEST_SIZE)
          != 0) {
        fault_set (&f, FAULT_CORRUPT, 0, "read back differs near %llu",
                   (unsigned long long)(pos + k));
        fail (&f);
      }
    }
    msg_digests_reset (&r);
  }
}

static void
seal (int fd, uint64_t size, bool cow)
{
  uint8_t data[MSG_SEAL_MAX];
  struct msg_seal m = { .data = data };
  struct buf b = payload ();

  if (cow) {
    m.size = size < sizeof data ? (uint32_t)size : sizeof data;
    if (fdio_pread_full (fd, data, m.size, 0, "FILE", NULL) < 0)
      exit (2);
  }
  msg_seal_encode (&m, &b);
  send_frame (FRAME_SEAL, 10, &b);
  expect (FRAME_SEALED);
  if (cow)
    check_file (fd, 0, m.size);
}

static int
push (char **argv)
{
  struct msg_open_write m = { 0 };
  struct msg_wopened opened = { 0 };
  struct msg_truncate t;
  struct fault f = FAULT_INIT;
  struct buf b = payload ();
  bool cow = strcmp (argv[3], "cow") == 0;
  bool block;
  int fd = open (argv[5], O_RDONLY | O_CLOEXEC);
  struct stat st;
  uint64_t size;

  if (fd < 0 || fstat (fd, &st) < 0)
    return 2;
  parse_flags (argv[6]);
  size = (uint64_t)st.st_size;
  hello ();
  block = d.group.lun_count > 0;
  m.kind = block ? MSG_BLOCK : MSG_FILE;
  m.group = d.group;
  m.need = cow && block ? size : 0;
  m.format = cow ? MSG_COW : MSG_RAW;
  m.flags = (d.fresh ? MSG_WRITE_FRESH : 0) | (d.locked ? MSG_WRITE_LOCKED : 0);
  snprintf (m.dir, sizeof m.dir, "%s", argv[0]);
  snprintf (m.image, sizeof m.image, "%s", argv[1]);
  snprintf (m.volume, sizeof m.volume, "%s", argv[2]);
  m.capacity = strtoull (argv[4], NULL, 10);
  msg_open_write_encode (&m, &b);
  send_frame (FRAME_OPEN_WRITE, 7, &b);
  b = expect (FRAME_WOPENED);
  if (msg_wopened_decode (&b, &opened, &f) < 0)
    fail (&f);
  printf ("container %llu\n%s", (unsigned long long)opened.container,
          opened.identity);
  fflush (stdout);
  printf ("sent %llu\n",
          (unsigned long long)send_file (
              fd, cow ? DIGEST_BLOCK : 0, size,
              block && !cow && !d.noholes ? opened.container : 0));
  fflush (stdout);
  if (!block || d.cut) {
    t.size = size;
    b = payload ();
    msg_truncate_encode (&t, &b);
    send_frame (FRAME_TRUNCATE, 8, &b);
    expect (FRAME_TRUNCATED);
  }
  send_frame (FRAME_FLUSH, 8, NULL);
  expect (FRAME_FLUSHED);
  check_file (fd, cow ? DIGEST_BLOCK : 0, size);
  if (!d.noseal)
    seal (fd, size, cow);
  put_back (FRAME_CLOSE, FRAME_CLOSED, "closed");
  msg_wopened_reset (&opened);
  close (fd);
  return bye ();
}

/* --- broken controllers ----------------------------------------------- */

/* Its exit status within SECONDS, or 99. */
static int
await (unsigned seconds)
{
  int status;

  for (unsigned i = 0; i < seconds * 20; i++) {
    if (waitpid (d.pid, &status, WNOHANG) == d.pid)
      return WIFEXITED (status) ? WEXITSTATUS (status)
                                : 128 + WTERMSIG (status);
    poll (NULL, 0, 50);
  }
  kill (d.pid, SIGKILL);
  return 99;
}

/* More requests than a helper takes, until it has enough. */
static void
flood (void)
{
  struct buf b;
  int rc = 0;

  for (uint32_t i = 0; i < 4096 && rc == 0; i++) {
    buf_init (&b, FRAME_HEADER);
    frame_put (&b, FRAME_IDENTIFY, i + 1, NULL);
    rc = fdio_write_full (d.in, b.data, b.size, "helper", NULL);
    buf_reset (&b);
  }
}

static int
broken (const char *how, int argc, char **argv)
{
  struct msg_opened opened = { 0 };
  uint64_t begin;
  int status;

  d.heartbeat_ms = 1500;
  hello ();
  if (argc > 1)
    open_read (argv[0], argv + 1, argc - 1, &opened);
  begin = stamp_mono_ms ();
  if (strcmp (how, "eof") == 0)
    close (d.in);
  else if (strcmp (how, "garbage") == 0)
    fdio_write_full (d.in, "garbage garbage garbage garbage!", 32, "", NULL);
  else if (strcmp (how, "deaf") == 0) /* asks, and never listens */
    for (uint32_t i = 0; i < OUTSTANDING; i++)
      submit (100 + i, 0, opened.virtual_size);
  else if (strcmp (how, "flood") == 0)
    flood ();
  else if (strcmp (how, "stopped") == 0) /* the guard has to end it */
    kill (d.worker, SIGSTOP);
  status = await (25);
  msg_opened_reset (&opened);
  printf ("ended with %d after %.1f s\n", status,
          (double)(stamp_mono_ms () - begin) / 1000);
  return status == 99 ? 99 : 0;
}

int
main (int argc, char **argv)
{
  if (argc < 3)
    return 2;
  start (argv[1]);
  if (strcmp (argv[2], "pull") == 0 && argc > 6)
    return pull (argc - 3, argv + 3);
  if (strcmp (argv[2], "push") == 0 && argc == 10)
    return push (argv + 3);
  if (strcmp (argv[2], "reap") == 0) {
    hello ();
    put_back (FRAME_REAP, FRAME_REAPED, "reaped");
    return bye ();
  }
  return broken (argv[2], argc - 3, argv + 3);
}
