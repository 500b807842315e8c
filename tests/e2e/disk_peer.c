/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes volumes by helpers over real connections, without engine
   and repository:

     disk_peer [-a ADDRESS] -p PORT [-u USER] -k KEY -H PIN [-n THREADS] [-S]
               [-L] read HELPER DIR OUT LAYER...
     disk_peer ... write HELPER DIR IMAGE VOLUME FORMAT CAPACITY IN

   LAYER is IMAGE:VOLUME:PARENT:FORMAT:VOLTYPE:CAPACITY, top first, PARENT "-"
   for none, FORMAT 1 raw, 2 cow, VOLTYPE a mask.  OUT gets the guest's bytes,
   "-" none of them.  -L lets the helper compress.  IN is copied as it is and
   read back.  Prints bytes, seconds, and CPU seconds of this process. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "host/conn.h"
#include "host/remote.h"

#define THREADS_MAX 8
#define RANGE (16u * 1024 * 1024)
#define DEPTH 3

static const char *pin;
static struct conn_params params
    = { .name = "hv1", .address = "127.0.0.1", .hostkeys = &pin };
static struct remote_options options = { .run_id = "disk_peer" };
static unsigned threads = 1;

struct work {
  const struct msg_open_read *open;
  int out;
  pthread_mutex_t lock; /* of what follows */
  uint64_t next;
  uint64_t size;
  uint32_t last_id;
  uint64_t data;
  uint64_t skipped;
  uint64_t wire;
  struct fault fault;
};

static bool
submit_next (struct work *w, struct remote *r, struct fault *f)
{
  uint64_t start;
  uint32_t id;

  {
    SCOPED_LOCK (&w->lock);

    if (w->next >= w->size)
      return true;
    start = w->next;
    w->next += RANGE;
    id = ++w->last_id;
  }
  return remote_read_submit (
             r, id, start, w->size - start < RANGE ? w->size - start : RANGE, f)
         == 0;
}

static int
fetch (struct work *w, struct remote *r, struct fault *f)
{
  struct msg_opened opened = { 0 };
  struct remote_totals totals;
  struct remote_block b;
  uint64_t data = 0;
  uint64_t skipped = 0;

  if (remote_open_read (r, w->open, &opened, f) < 0)
    return -1;
  {
    SCOPED_LOCK (&w->lock);

    w->size = opened.virtual_size;
  }
  msg_opened_reset (&opened);
  for (unsigned i = 0; i < DEPTH; i++) {
    if (!submit_next (w, r, f))
      return -1;
  }
  while (remote_read_outstanding (r) > 0) {
    if (remote_next (r, &b, f) < 0)
      return -1;
    if (b.kind == REMOTE_DONE) {
      skipped += b.done.skipped_bytes;
      if (!submit_next (w, r, f))
        return -1;
      continue;
    }
    data += b.size;
    if (w->out >= 0
        && fdio_pwrite_full (w->out, b.data, b.size, b.offset, "out", f) < 0)
      return -1;
  }
  remote_totals (r, &totals);
  SCOPED_LOCK (&w->lock);
  w->data += data;
  w->skipped += skipped;
  w->wire += totals.wire_bytes;
  return 0;
}

static void *
read_main (void *opaque)
{
  struct work *w = opaque;
  CLEANUP (conn_close) struct conn *c = NULL;
  CLEANUP (remote_free) struct remote *r = NULL;
  struct fault f = FAULT_INIT;

  if (conn_open (&params, &c, &f) < 0 || remote_start (c, &options, &r, &f) < 0
      || fetch (w, r, &f) < 0 || remote_close_volume (r, &f) < 0
      || remote_stop (r, &f) < 0) {
    SCOPED_LOCK (&w->lock);

    fault_copy (&w->fault, &f);
  }
  return NULL;
}

static int
parse_layer (char *text, struct msg_layer *l)
{
  char *part[6];
  char *rest = NULL;

  for (unsigned i = 0; i < 6; i++) {
    part[i] = strtok_r (i == 0 ? text : NULL, ":", &rest);
    if (part[i] == NULL)
      return -1;
  }
  snprintf (l->image, sizeof l->image, "%s", part[0]);
  snprintf (l->volume, sizeof l->volume, "%s", part[1]);
  snprintf (l->parent, sizeof l->parent, "%s",
            strcmp (part[2], "-") == 0 ? UUID_BLANK : part[2]);
  l->format = (uint8_t)atoi (part[3]);
  l->voltype = (uint8_t)atoi (part[4]);
  l->legality = MSG_LEGAL;
  l->capacity = strtoull (part[5], NULL, 10);
  return 0;
}

static void
tell (uint64_t data, uint64_t skipped, uint64_t wire, uint64_t begin_ms)
{
  struct rusage u;

  getrusage (RUSAGE_SELF, &u);
  printf ("data %" PRIu64 " skipped %" PRIu64 " wire %" PRIu64
          " wall %.2f cpu %.2f\n",
          data, skipped, wire, (double)(stamp_mono_ms () - begin_ms) / 1000,
          (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6
              + (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6);
}

static int
run_read (char **argv, int argc, struct fault *f)
{
  struct msg_layer layers[MSG_LAYERS_MAX];
  struct msg_open_read open_read = { .kind = MSG_FILE, .layers = layers };
  struct work w = { .open = &open_read,
                    .out = -1,
                    .size = UINT64_MAX,
                    .lock = PTHREAD_MUTEX_INITIALIZER };
  pthread_t ids[THREADS_MAX];
  uint64_t begin = stamp_mono_ms ();

  options.helper_local = argv[0];
  snprintf (open_read.dir, sizeof open_read.dir, "%s", argv[1]);
  for (int i = 3; i < argc; i++) {
    if (parse_layer (argv[i], &layers[open_read.layer_count++]) < 0)
      return fault_set (f, FAULT_USAGE, 0, "layer %s", argv[i]);
  }
  if (strcmp (argv[2], "-") != 0)
    w.out = open (argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
  for (unsigned i = 0; i < threads; i++)
    pthread_create (&ids[i], NULL, read_main, &w);
  for (unsigned i = 0; i < threads; i++)
    pthread_join (ids[i], NULL);
  if (w.fault.code != FAULT_NONE)
    return fault_copy (f, &w.fault);
  if (w.out >= 0 && (ftruncate (w.out, (off_t)w.size) < 0 || close (w.out) < 0))
    return fault_set (f, FAULT_IO, errno, "%s", argv[2]);
  tell (w.data, w.skipped, w.wire, begin);
  return 0;
}

/* All of IN but its first block, which SEAL writes; then back by digests. */
static int
store (struct remote *r, int in, uint64_t size, struct fault *f)
{
  static uint8_t part[FRAME_RAW_MAX];
  static uint8_t first[DIGEST_BLOCK];
  uint8_t expected[FRAME_TABLE_MAX];
  uint8_t got[FRAME_TABLE_MAX];

  for (uint64_t at = 0; at < size; at += sizeof part) {
    size_t n = size - at < sizeof part ? (size_t)(size - at) : sizeof part;

    if (fdio_pread_full (in, part, n, at, "in", f) < 0)
      return -1;
    if (at == 0)
      memcpy (first, part, sizeof first);
    if (remote_write (r, at == 0 ? DIGEST_BLOCK : at,
                      at == 0 ? part + DIGEST_BLOCK : part,
                      at == 0 ? n - DIGEST_BLOCK : n, NULL, f)
        < 0)
      return -1;
  }
  if (remote_truncate (r, size, f) < 0 || remote_flush (r, f) < 0
      || remote_seal (r, first, sizeof first, NULL, f) < 0)
    return -1;
  for (uint64_t at = 0; at < size; at += sizeof part) {
    size_t n = size - at < sizeof part ? (size_t)(size - at) : sizeof part;

    if (fdio_pread_full (in, part, n, at, "in", f) < 0
        || remote_check (r, at, n, got, f) < 0)
      return -1;
    digest_table (part, n, expected);
    if (memcmp (expected, got, frame_table_size ((uint32_t)n)) != 0)
      return fault_set (f, FAULT_CORRUPT, 0, "read back at %" PRIu64, at);
  }
  return 0;
}

static int
run_write (char **argv, struct fault *f)
{
  CLEANUP (conn_close) struct conn *c = NULL;
  CLEANUP (remote_free) struct remote *r = NULL;
  CLEANUP_CLOSE int in = open (argv[6], O_RDONLY);
  struct msg_open_write m = { .kind = MSG_FILE, .flags = MSG_WRITE_FRESH };
  struct msg_wopened wopened = { 0 };
  uint64_t begin = stamp_mono_ms ();
  struct stat st;

  if (in < 0 || fstat (in, &st) < 0)
    return fault_set (f, FAULT_IO, errno, "%s", argv[6]);
  options.helper_local = argv[0];
  m.format = (uint8_t)atoi (argv[4]);
  m.capacity = strtoull (argv[5], NULL, 10);
  snprintf (m.dir, sizeof m.dir, "%s", argv[1]);
  snprintf (m.image, sizeof m.image, "%s", argv[2]);
  snprintf (m.volume, sizeof m.volume, "%s", argv[3]);
  if (conn_open (&params, &c, f) < 0 || remote_start (c, &options, &r, f) < 0
      || remote_open_write (r, &m, &wopened, f) < 0)
    return -1;
  msg_wopened_reset (&wopened);
  if (store (r, in, (uint64_t)st.st_size, f) < 0
      || remote_close_volume (r, f) < 0 || remote_stop (r, f) < 0)
    return -1;
  tell ((uint64_t)st.st_size, 0, 0, begin);
  return 0;
}

int
main (int argc, char **argv)
{
  struct fault f = FAULT_INIT;
  int rc = -1;
  int opt;

  while ((opt = getopt (argc, argv, "+a:p:u:k:H:n:SL")) != -1) {
    if (opt == 'a')
      params.address = optarg;
    else if (opt == 'p')
      params.port = (unsigned)atoi (optarg);
    else if (opt == 'u')
      params.user = optarg;
    else if (opt == 'k')
      params.key_file = optarg;
    else if (opt == 'n' && atoi (optarg) <= THREADS_MAX)
      threads = (unsigned)atoi (optarg);
    else if (opt == 'S')
      options.sudo = true;
    else if (opt == 'L')
      options.lz4 = true;
    else if (opt == 'H') {
      pin = optarg;
      params.hostkey_count = 1;
    }
    else
      return FAULT_USAGE;
  }
  argc -= optind;
  argv += optind;
  if (cancel_setup (&f) < 0)
    return FAULT_INTERNAL;
  if (argc >= 5 && strcmp (argv[0], "read") == 0)
    rc = run_read (argv + 1, argc - 1, &f);
  else if (argc == 8 && strcmp (argv[0], "write") == 0)
    rc = run_write (argv + 1, &f);
  else
    return FAULT_USAGE;
  if (rc == 0)
    return 0;
  printf ("fault %s %s\n", fault_name (f.code), f.text);
  return (int)f.code;
}
