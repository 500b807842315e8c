/* SPDX-License-Identifier: Apache-2.0 */
/* Drives src/host from a shell script:

     ssh_peer [-a ADDRESS] -p PORT [-u USER] -k KEY [-H PIN]... [-t CONNECT_S]
              [-s STALL_S] [-c CIPHERS] VERB [ARGUMENT...]

     open              connect and tell the cipher
     run COMMAND       its output and exit status
     count COMMAND     count the bytes of its output
     feed SIZE COMMAND send SIZE bytes to its stdin, then as run
     start HELPER [RUN-ID [BEAT_S]] push it, say HELLO, then BYE; RUN-ID tells
                       the mock helper how to behave
     placed PATH HELPER as start, with the helper at PATH
     pool COUNT THREADS COMMAND    THREADS threads over a pool of COUNT
     idle COMMAND      run it, wait for a line on stdin, run it again
     probe             helpers that run there

   A fault is one line "fault CODE TEXT" and its code as exit status. */
#include <config.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "host/chan.h"
#include "host/conn.h"
#include "host/pool.h"
#include "host/remote.h"

#define PINS_MAX 16

static const char *pins[PINS_MAX];
static struct conn_params params
    = { .name = "hv1", .address = "127.0.0.1", .hostkeys = pins };
static bool use_sudo;

static int
run (struct conn *c, char **argv, struct fault *f)
{
  CLEANUP_FREE char *out = NULL;
  CLEANUP_FREE char *errors = NULL;
  int status;

  if (chan_run (c, argv[0], 65536, &out, NULL, &errors, &status, f) < 0)
    return -1;
  printf ("%sstatus %d stderr %s\n", out, status, errors);
  return 0;
}

static int
count (struct conn *c, char **argv, struct fault *f)
{
  CLEANUP (chan_free) struct chan *ch = NULL;
  static char part[1 << 20];
  uint64_t total = 0;
  ssize_t n;
  int status;

  if (chan_open (c, argv[0], &ch, f) < 0)
    return -1;
  while ((n = chan_read (ch, part, sizeof part, f)) > 0)
    total += (uint64_t)n;
  if (n < 0 || chan_finish (ch, &status, f) < 0)
    return -1;
  printf ("count %" PRIu64 " status %d\n", total, status);
  return total == chan_received (ch) ? 0 : -1;
}

static int
feed (struct conn *c, char **argv, struct fault *f)
{
  CLEANUP (chan_free) struct chan *ch = NULL;
  static char part[1 << 20];
  uint64_t left = strtoull (argv[0], NULL, 10);
  ssize_t n;
  int status;

  if (chan_open (c, argv[1], &ch, f) < 0)
    return -1;
  while (left > 0) {
    size_t size = left < sizeof part ? (size_t)left : sizeof part;

    if (chan_write (ch, part, size, f) < 0)
      return -1;
    left -= size;
  }
  if (chan_send_eof (ch, f) < 0)
    return -1;
  while ((n = chan_read (ch, part, sizeof part, f)) > 0)
    fwrite (part, 1, (size_t)n, stdout);
  if (n < 0 || chan_finish (ch, &status, f) < 0)
    return -1;
  printf ("status %d\n", status);
  return 0;
}

/* All that a run does with a helper, in one go. */
static int
talk (struct remote *r, struct fault *f)
{
  struct msg_layer layer = {
    .format = MSG_COW,
    .voltype = MSG_INTERNAL,
    .legality = MSG_LEGAL,
  };
  struct msg_open_read m
      = { .kind = MSG_FILE, .dir = "/d", .layer_count = 1, .layers = &layer };
  struct msg_opened opened = { 0 };
  struct remote_map map = { 0 };
  struct remote_block block;
  uint64_t data = 0;
  uint64_t zero = 0;

  uuid_make (layer.image);
  uuid_make (layer.volume);
  memcpy (layer.parent, UUID_BLANK, sizeof layer.parent);
  if (remote_open_read (r, &m, &opened, f) < 0)
    return -1;
  if (remote_map (r, &map, f) < 0) {
    msg_opened_reset (&opened);
    return -1;
  }
  for (size_t i = 0; i < map.span_count; i++) {
    uint64_t start = (uint64_t)i * MSG_SPAN;
    uint64_t length = opened.virtual_size - start;

    if (length > MSG_SPAN)
      length = MSG_SPAN;
    if (map.spans[i] != 0
        && remote_read_submit (r, (uint32_t)i + 1, start, length, f) < 0)
      break;
  }
  msg_opened_reset (&opened);
  remote_map_reset (&map);
  if (f->code != FAULT_NONE)
    return -1;
  while (remote_read_outstanding (r) > 0) {
    if (remote_next (r, &block, f) < 0)
      return -1;
    data += block.kind == REMOTE_DATA ? block.size : 0;
    zero += block.kind == REMOTE_ZERO ? block.size : 0;
  }
  printf ("data %" PRIu64 " zero %" PRIu64 "\n", data, zero);
  return remote_close_volume (r, f);
}

static int
start (struct conn *c, const char *placed, char **argv, struct fault *f)
{
  CLEANUP (remote_free) struct remote *r = NULL;
  struct remote_options options = {
    .helper_local = argv[0],
    .helper_path = placed,
    .sudo = use_sudo,
    .run_id = argv[1],
    .lz4 = true,
  };

  if (argv[1] != NULL && argv[2] != NULL)
    options.heartbeat_s = (unsigned)atoi (argv[2]);
  if (remote_start (c, &options, &r, f) < 0)
    return -1;
  printf ("helper %s pid %u\n", remote_welcome (r)->program,
          (unsigned)remote_welcome (r)->pid);
  fflush (stdout);
  if (argv[1] != NULL && talk (r, f) < 0)
    return -1;
  return remote_stop (r, f);
}

static int
probe (struct conn *c, struct fault *f)
{
  CLEANUP_FREE struct remote_leftover *list = NULL;
  char boot_id[MSG_NAME_MAX];
  size_t n = 0;

  if (remote_probe (c, use_sudo, &list, &n, boot_id, f) < 0)
    return -1;
  printf ("boot %s\n", boot_id);
  for (size_t i = 0; i < n; i++)
    printf ("leftover %u %c %s\n", (unsigned)list[i].pid, list[i].state,
            list[i].run_id);
  return 0;
}

struct worker {
  struct pool *pool;
  char **argv;
  struct fault fault;
};

static void *
work (void *opaque)
{
  struct worker *w = opaque;
  struct conn *c = NULL;

  for (int i = 0; i < 3; i++) {
    if (pool_get (w->pool, &params, &c, &w->fault) < 0)
      return NULL;
    run (c, w->argv, &w->fault);
    pool_put (w->pool, c);
    if (w->fault.code != FAULT_NONE)
      return NULL;
  }
  return NULL;
}

static int
pooled (char **argv, struct fault *f)
{
  unsigned threads = (unsigned)atoi (argv[1]);
  struct worker *workers = xcalloc (threads, sizeof *workers);
  pthread_t *ids = xcalloc (threads, sizeof *ids);
  struct pool *pool = pool_new ((unsigned)atoi (argv[0]));

  for (unsigned i = 0; i < threads; i++) {
    workers[i] = (struct worker){ .pool = pool, .argv = argv + 2 };
    pthread_create (&ids[i], NULL, work, &workers[i]);
  }
  for (unsigned i = 0; i < threads; i++) {
    pthread_join (ids[i], NULL);
    if (workers[i].fault.code != FAULT_NONE)
      fault_copy (f, &workers[i].fault);
  }
  pool_free (pool);
  free (workers);
  free (ids);
  return f->code == FAULT_NONE ? 0 : -1;
}

/* The connection may die while it is in the pool. */
static int
idle (char **argv, struct fault *f)
{
  struct pool *pool = pool_new (1);
  struct conn *c = NULL;
  int rc = 0;

  for (int i = 0; rc == 0 && i < 2; i++) {
    if (i > 0 && getchar () == EOF)
      break;
    rc = pool_get (pool, &params, &c, f);
    if (rc == 0) {
      rc = run (c, argv, f);
      pool_put (pool, c);
      fflush (stdout);
    }
  }
  pool_free (pool);
  return rc;
}

static int
perform (char **argv, struct fault *f)
{
  CLEANUP (conn_close) struct conn *c = NULL;

  if (strcmp (argv[0], "pool") == 0)
    return pooled (argv + 1, f);
  if (strcmp (argv[0], "idle") == 0)
    return idle (argv + 1, f);
  if (conn_open (&params, &c, f) < 0)
    return -1;
  if (strcmp (argv[0], "run") == 0)
    return run (c, argv + 1, f);
  if (strcmp (argv[0], "count") == 0)
    return count (c, argv + 1, f);
  if (strcmp (argv[0], "feed") == 0)
    return feed (c, argv + 1, f);
  if (strcmp (argv[0], "start") == 0)
    return start (c, NULL, argv + 1, f);
  if (strcmp (argv[0], "placed") == 0)
    return start (c, argv[1], argv + 2, f);
  if (strcmp (argv[0], "probe") == 0)
    return probe (c, f);
  printf ("cipher %s\n", conn_cipher (c));
  return 0;
}

int
main (int argc, char **argv)
{
  struct fault f = FAULT_INIT;
  uint64_t begin = stamp_mono_ms ();
  int opt;

  while ((opt = getopt (argc, argv, "+a:p:u:k:H:t:s:A:c:S")) != -1) {
    switch (opt) {
    case 'a':
      params.address = optarg;
      break;
    case 'p':
      params.port = (unsigned)atoi (optarg);
      break;
    case 'u':
      params.user = optarg;
      break;
    case 'k':
      params.key_file = optarg;
      break;
    case 'H':
      if (params.hostkey_count < PINS_MAX)
        pins[params.hostkey_count++] = optarg;
      break;
    case 't':
      params.connect_s = (unsigned)atoi (optarg);
      break;
    case 's':
      params.stall_s = (unsigned)atoi (optarg);
      break;
    case 'A':
      params.answer_s = (unsigned)atoi (optarg);
      break;
    case 'c':
      params.ciphers = optarg;
      break;
    case 'S':
      use_sudo = true;
      break;
    default:
      return FAULT_USAGE;
    }
  }
  if (optind == argc || cancel_setup (&f) < 0)
    return FAULT_USAGE;
  if (perform (argv + optind, &f) == 0)
    return 0;
  printf ("fault %s %s\n", fault_name (f.code), f.text);
  fprintf (stderr, "after %u ms\n", (unsigned)(stamp_mono_ms () - begin));
  return (int)f.code;
}
