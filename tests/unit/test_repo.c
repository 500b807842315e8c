/* SPDX-License-Identifier: Apache-2.0 */
/* Points as a backup writes them: drafts, images, reading them back, and
   whether verify notices what is wrong. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "repo/content.h"
#include "repo/draft.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/oracle.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/qemuimg.h"
#include "repo/reader.h"
#include "repo/sum.h"
#include "repo/verify.h"
#include "repo/writer.h"
#include "tests/unit/unit.h"

#define VM "0a0a0a0a-0000-4000-8000-000000000001"
#define VM2 "0a0a0a0a-0000-4000-8000-000000000002"
#define DISK "d1d1d1d1-0000-4000-8000-000000000001"
#define BLOCK DIGEST_BLOCK
#define SIZE1 (300 * (uint64_t)BLOCK + 5 * 512) /* no multiple of 64 KiB */
#define SIZE2 (340 * (uint64_t)BLOCK + 512)
#define WHEN INT64_C (1795136400)
#define THREADS 4
#define RUN_BLOCKS 16u /* of one put: 1 MiB */

static char folder[] = "/tmp/chainlift-unit-XXXXXX";
static char *repo;
static struct place *place;
static uint64_t seed = 88172645463325252u;

static uint64_t
next_random (void)
{
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static int
setup (void **state)
{
  (void)state;
  signal (SIGPIPE, SIG_IGN);
  if (mkdtemp (folder) == NULL)
    return -1;
  repo = xasprintf ("%s/repo", folder);
  return place_open (repo, true, &place, NULL);
}

static int
teardown (void **state)
{
  (void)state;
  place_close (place);
  free (repo);
  return fdio_remove_tree (AT_FDCWD, folder, NULL);
}

static bool
have_qemu (void)
{
  char version[QEMUIMG_VERSION_SIZE];

  return qemuimg_version ("qemu-img", version, NULL) == 0;
}

/* What the guest has on its disk, and what of it a run has to send. */
enum kind { SAME, ZERO, DATA };
struct model {
  uint64_t size;
  uint64_t blocks;
  uint8_t *bytes;
  enum kind *kinds;
};

static void
model_free (struct model *m)
{
  free (m->bytes);
  free (m->kinds);
}

static size_t
block_size (const struct model *m, uint64_t block)
{
  uint64_t left = m->size - block * BLOCK;

  return left < BLOCK ? (size_t)left : BLOCK;
}

/* A guest that wrote here and there over what was in BEFORE (or nothing). */
static struct model
model_make (uint64_t size, const struct model *before)
{
  struct model m = { .size = size, .blocks = DIGEST_BLOCKS (size) };

  m.bytes = xcalloc (m.blocks, BLOCK);
  m.kinds = xcalloc (m.blocks, sizeof *m.kinds);
  if (before != NULL)
    memcpy (m.bytes, before->bytes, before->size);
  for (uint64_t i = 0; i < m.blocks; i++) {
    unsigned dice = next_random () % 8;

    /* The last block, which is short, always holds data. */
    m.kinds[i] = dice < 3 || i == m.blocks - 1 ? DATA : dice < 5 ? ZERO : SAME;
    if (m.kinds[i] == SAME)
      continue;
    memset (m.bytes + i * BLOCK, 0, block_size (&m, i));
    for (size_t j = 0; m.kinds[i] == DATA && j < block_size (&m, i); j += 8)
      put_le64 (m.bytes + i * BLOCK + j, next_random ());
  }
  return m;
}

/* The pieces of a run, in a shuffled order, taken by several threads. */
struct feed {
  const struct model *m;
  struct writer *w;
  uint64_t *order;
  uint64_t count;
  uint64_t next;
  pthread_mutex_t lock;
  int failed;
};

static int
feed_piece (struct feed *feed, uint64_t first)
{
  const struct model *m = feed->m;
  uint64_t end
      = first + RUN_BLOCKS < m->blocks ? first + RUN_BLOCKS : m->blocks;
  uint8_t digests[RUN_BLOCKS * DIGEST_SIZE];

  while (first < end) {
    uint64_t last = first;
    size_t size = 0;

    while (last < end && m->kinds[last] == m->kinds[first])
      size += block_size (m, last++);
    digest_table (m->bytes + first * BLOCK, size, digests);
    if (m->kinds[first] == DATA
        && writer_put (feed->w, first * BLOCK, m->bytes + first * BLOCK, size,
                       digests, NULL)
               < 0)
      return -1;
    if (m->kinds[first] == ZERO
        && writer_zero (feed->w, first * BLOCK, size, NULL) < 0)
      return -1;
    first = last;
  }
  return 0;
}

static void *
feed_thread (void *arg)
{
  struct feed *feed = arg;

  for (;;) {
    uint64_t i;

    pthread_mutex_lock (&feed->lock);
    i = feed->next++;
    pthread_mutex_unlock (&feed->lock);
    if (i >= feed->count)
      return NULL;
    if (feed_piece (feed, feed->order[i] * RUN_BLOCKS) < 0)
      feed->failed = 1;
  }
}

static void
feed_all (const struct model *m, struct writer *w)
{
  struct feed feed = { .m = m, .w = w };
  pthread_t threads[THREADS];

  feed.count = (m->blocks + RUN_BLOCKS - 1) / RUN_BLOCKS;
  feed.order = xcalloc (feed.count, sizeof *feed.order);
  pthread_mutex_init (&feed.lock, NULL);
  for (uint64_t i = 0; i < feed.count; i++) {
    uint64_t j = next_random () % (i + 1);

    feed.order[i] = feed.order[j];
    feed.order[j] = i;
  }
  for (int i = 0; i < THREADS; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, feed_thread, &feed),
                      0);
  for (int i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  pthread_mutex_destroy (&feed.lock);
  free (feed.order);
  assert_int_equal (feed.failed, 0);
}

static struct manifest *
make_manifest (uint64_t size)
{
  struct manifest *m = manifest_new ();
  struct manifest_disk *d = manifest_add_disk (m, NULL);

  strcpy (m->vm_id, VM);
  manifest_set (&m->vm_name, "web");
  strcpy (d->id, DISK);
  manifest_set (&d->alias, "web_Disk1");
  d->virtual_size = size;
  d->provisioned_size = size;
  return m;
}

/* Back up model M at WHEN; the name of the point into NAME. */
static void
back_up (const struct model *m, int64_t when, const char *run,
         const char *parent, char name[static POINT_NAME_SIZE])
{
  struct lease *lease = NULL;
  struct draft *draft = NULL;
  struct writer *w = NULL;
  struct writer_totals totals;
  struct manifest *manifest = make_manifest (m->size);
  struct fault f = FAULT_INIT;

  assert_int_equal (lease_take (place, VM, run, &lease, NULL), 0);
  assert_int_equal (draft_begin (place, lease, when, run, &draft, NULL), 0);
  assert_int_equal (draft_put_text (draft, "vm.ovf", "<ovf/>", 6, NULL), 0);
  assert_int_equal (draft_add_disk (draft, DISK, m->size, parent, &w, NULL), 0);
  feed_all (m, w);
  assert_null (writer_totals (w));
  if (writer_finish (w, &totals, &f) < 0)
    fail_msg ("%s", f.text);
  assert_true (totals.data == writer_stored (w));
  if (draft_publish (draft, manifest, &f) < 0)
    fail_msg ("%s", f.text);
  strcpy (name, draft_point (draft));
  draft_free (draft);
  manifest_free (manifest);
  lease_drop (lease);
}

static struct point *
open_point (const char *name)
{
  struct point *point = NULL;
  struct fault f = FAULT_INIT;

  if (point_open (place, VM, name, &point, &f) < 0)
    fail_msg ("%s", f.text);
  return point;
}

static int
mark_extent (const struct extent *e, void *opaque, struct fault *f)
{
  uint8_t *map = opaque;

  (void)f;
  assert_int_equal (e->kind, EXTENT_DATA);
  for (uint64_t i = e->start; i < e->start + e->length; i += BLOCK)
    map[i / BLOCK] = 1;
  return 0;
}

/* The point gives exactly the bytes of M. */
static void
check_bytes (const char *name, const struct model *m, unsigned depth)
{
  struct point *point = open_point (name);
  struct reader *r = NULL;
  struct fault f = FAULT_INIT;
  uint8_t *data = xmalloc (RUN_BLOCKS * BLOCK);
  uint8_t *map = xcalloc (m->blocks, 1);

  if (reader_open (place, point, DISK, &r, &f) < 0)
    fail_msg ("%s", f.text);
  assert_true (reader_size (r) == m->size);
  assert_int_equal (reader_depth (r), depth);
  for (uint64_t at = 0; at < m->size; at += RUN_BLOCKS * BLOCK) {
    size_t size = m->size - at < RUN_BLOCKS * BLOCK ? (size_t)(m->size - at)
                                                    : RUN_BLOCKS * BLOCK;

    if (reader_read (r, at, data, size, &f) < 0)
      fail_msg ("%s", f.text);
    assert_memory_equal (data, m->bytes + at, size);
  }
  assert_int_equal (reader_map (r, 0, m->size, mark_extent, map, NULL), 0);
  for (uint64_t i = 0; i < m->blocks; i++) {
    uint8_t is[DIGEST_SIZE];
    uint8_t want[DIGEST_SIZE];
    int rc = reader_digest (r, i, is, &f);

    assert_int_equal (rc, map[i]);
    digest_of (m->bytes + i * BLOCK, block_size (m, i), want);
    assert_true (digest_equal (rc == 1 ? is : digest_zero (), want));
  }
  assert_int_equal (reader_read (r, 512, data, BLOCK, NULL), -1);
  assert_int_equal (reader_read (r, m->size, data, BLOCK, NULL), -1);
  reader_close (r);
  point_free (point);
  free (data);
  free (map);
}

/* Verify NAME; its fault, or "" when all is right. */
static void
verify (const char *name, bool only_qemu, struct fault *f,
        char decoder[static VERIFY_DECODER_SIZE], uint64_t *bad)
{
  struct verify_options options = { .only_qemu = only_qemu };
  struct verify_report report;
  struct point *point = open_point (name);
  int rc = verify_point (place, point, &options, &report, f);

  assert_int_equal (rc, f->code == FAULT_NONE ? 0 : -1);
  assert_int_equal (report.disk_count, 1);
  assert_true (report.disks[0].good || rc == -1);
  strcpy (decoder, report.disks[0].decoder);
  *bad = report.disks[0].bad;
  verify_report_reset (&report);
  point_free (point);
}

static void
verify_good (const char *name, bool only_qemu, const char *decoder_begins)
{
  struct fault f = FAULT_INIT;
  char decoder[VERIFY_DECODER_SIZE];
  uint64_t bad;

  verify (name, only_qemu, &f, decoder, &bad);
  if (f.code != FAULT_NONE)
    fail_msg ("%s", f.text);
  if (strncmp (decoder, decoder_begins, strlen (decoder_begins)) != 0)
    fail_msg ("decoder %s", decoder);
}

static void
verify_bad (const char *name, const char *message, uint64_t want_bad)
{
  struct fault f = FAULT_INIT;
  char decoder[VERIFY_DECODER_SIZE];
  uint64_t bad;

  verify (name, false, &f, decoder, &bad);
  if (f.code != FAULT_CORRUPT || strstr (f.text, message) == NULL)
    fail_msg ("\"%s\" instead of: %s", f.text, message);
  assert_true (bad == want_bad);
}

/* As chainlift-repository(5) says: qemu-img alone, in the point's folder. */
static void
check_by_hand (const char *name, const struct model *m)
{
  char *command = xasprintf ("cd %s/vms/" VM "/%s"
                             " && qemu-img check -q -f qcow2 " DISK ".qcow2"
                             " && qemu-img convert -f qcow2 -O raw " DISK
                             ".qcow2 %s/by-hand.raw",
                             repo, name, folder);
  char *path = xasprintf ("%s/by-hand.raw", folder);
  char *raw;
  size_t size;

  assert_int_equal (system (command), 0);
  raw = fdio_slurp (AT_FDCWD, path, 1u << 30, &size, NULL);
  assert_non_null (raw);
  assert_true (size == m->size);
  assert_memory_equal (raw, m->bytes, size);
  free (raw);
  free (path);
  free (command);
}

static void
test_full_and_increments (void **state)
{
  struct model full = model_make (SIZE1, NULL);
  struct model second = model_make (SIZE1, &full);
  struct model grown = model_make (SIZE2, &second);
  char name1[POINT_NAME_SIZE];
  char name2[POINT_NAME_SIZE];
  char name3[POINT_NAME_SIZE];

  (void)state;
  back_up (&full, WHEN, "run-1", NULL, name1);
  check_bytes (name1, &full, 1);
  back_up (&second, WHEN, "run-2", name1, name2);
  assert_string_equal (name2 + STAMP_SIZE - 1, "-2"); /* the same second */
  check_bytes (name2, &second, 2);
  back_up (&grown, WHEN + 60, "run-3", name2, name3);
  check_bytes (name3, &grown, 3);
  check_bytes (name1, &full, 1);
  if (oracle_version () != NULL)
    verify_good (name1, false, "libqcow 20");
  if (have_qemu ()) {
    verify_good (name1, true, "qemu-img ");
    verify_good (name2, false, "qemu-img ");
    verify_good (name3, false, "qemu-img ");
    check_by_hand (name1, &full);
    check_by_hand (name2, &second);
    check_by_hand (name3, &grown);
  }
  model_free (&full);
  model_free (&second);
  model_free (&grown);
}

/* Nothing at all, and all of it. */
static void
test_extremes (void **state)
{
  struct model empty = { .size = 1u << 30, .blocks = (1u << 30) / BLOCK };
  struct model small = model_make (512, NULL);
  char name[POINT_NAME_SIZE];

  (void)state;
  empty.bytes = xcalloc (empty.blocks, BLOCK);
  empty.kinds = xcalloc (empty.blocks, sizeof *empty.kinds);
  back_up (&empty, WHEN + 100, "run-e", NULL, name);
  if (have_qemu ())
    verify_good (name, true, "qemu-img ");
  if (oracle_version () != NULL)
    verify_good (name, false, "libqcow ");
  back_up (&small, WHEN + 101, "run-s", NULL, name);
  check_bytes (name, &small, 1);
  if (have_qemu ())
    verify_good (name, true, "qemu-img ");
  model_free (&empty);
  model_free (&small);
}

static void
test_writer_rules (void **state)
{
  static const struct {
    uint64_t offset;
    uint64_t size;
  } bad[] = {
    { 1, BLOCK },
    { 512, BLOCK },
    { 0, 512 },
    { 0, 0 },
    { SIZE1, BLOCK },
    { SIZE1 - 512, 512 },
    { 0, SIZE1 + BLOCK },
    { UINT64_MAX - BLOCK + 1, BLOCK },
    { BLOCK, UINT64_MAX },
    { 299 * (uint64_t)BLOCK, 2 * BLOCK },
  };
  uint8_t *data = xcalloc (4, BLOCK);
  uint8_t digests[4 * DIGEST_SIZE];
  struct writer *w = NULL;
  struct fault f = FAULT_INIT;
  int dir = open (folder, O_RDONLY | O_DIRECTORY);

  (void)state;
  memset (data, 7, BLOCK);
  data[4 * BLOCK - 1] = 1;
  digest_table (data, 4 * BLOCK, digests);
  assert_int_equal (writer_open (dir, "i", "s", SIZE1, NULL, &w, NULL), 0);
  for (size_t i = 0; i < COUNT_OF (bad); i++) {
    fault_reset (&f);
    if (writer_zero (w, bad[i].offset, bad[i].size, &f) == 0)
      fail_msg ("%zu accepted", i);
    assert_int_equal (f.code, FAULT_PROTO);
  }
  /* Blocks of zeros in the middle of data are no data. */
  assert_int_equal (writer_put (w, 0, data, 4 * BLOCK, digests, NULL), 0);
  assert_true (writer_stored (w) == 2 * BLOCK);
  /* Each cluster once, whatever it was. */
  for (unsigned i = 0; i < 4; i++) {
    fault_reset (&f);
    assert_int_equal (writer_put (w, i * BLOCK, data, BLOCK, digests, &f), -1);
    assert_int_equal (f.code, FAULT_PROTO);
    assert_int_equal (writer_zero (w, i * BLOCK, BLOCK, NULL), -1);
  }
  /* The digest alone does not make it zeros. */
  memcpy (digests, digest_zero (), DIGEST_SIZE);
  assert_int_equal (writer_put (w, 8 * BLOCK, data, BLOCK, digests, NULL), 0);
  assert_true (writer_stored (w) == 3 * BLOCK);
  assert_int_equal (writer_finish (w, NULL, NULL), 0);
  assert_int_equal (writer_finish (w, NULL, NULL), -1);
  writer_free (w);
  assert_int_equal (writer_open (dir, "i", "s", SIZE1, NULL, &w, NULL), -1);
  close (dir);
  free (data);
}

static char *
point_path (const char *name, const char *file)
{
  return xasprintf ("%s/vms/" VM "/%s/%s", repo, name, file);
}

/* Change one byte of a file of a point. */
static void
flip (const char *name, const char *file, off_t offset, uint8_t mask)
{
  char *path = point_path (name, file);
  int fd = open (path, O_RDWR);
  uint8_t byte;

  assert_int_equal (pread (fd, &byte, 1, offset), 1);
  byte ^= mask;
  assert_int_equal (pwrite (fd, &byte, 1, offset), 1);
  close (fd);
  free (path);
}

/* Offset in the image of the first L2 entry that is not 0. */
static off_t
first_l2_entry (const char *name)
{
  char *path = point_path (name, DISK ".qcow2");
  int fd = open (path, O_RDONLY);
  uint8_t word[8];
  uint64_t l1;
  uint64_t l2;

  assert_int_equal (pread (fd, word, 8, 40), 8);
  l1 = get_be64 (word);
  assert_int_equal (pread (fd, word, 8, (off_t)l1), 8);
  l2 = get_be64 (word) & UINT64_C (0x00fffffffffffe00);
  do {
    assert_int_equal (pread (fd, word, 8, (off_t)l2), 8);
    l2 += 8;
  } while (get_be64 (word) == 0);
  close (fd);
  free (path);
  return (off_t)l2 - 8;
}

static void
test_damage_is_found (void **state)
{
  struct model m = model_make (SIZE1, NULL);
  struct model over = model_make (SIZE1, &m);
  char name[POINT_NAME_SIZE];
  char upper[POINT_NAME_SIZE];
  struct point *point;
  struct reader *r = NULL;
  struct fault f = FAULT_INIT;
  uint8_t *data = xmalloc (BLOCK);
  char decoder[VERIFY_DECODER_SIZE];
  unsigned found = 0;
  uint64_t bad;
  off_t entry;

  (void)state;
  back_up (&m, WHEN + 200, "run-d", NULL, name);
  back_up (&over, WHEN + 201, "run-u", name, upper);
  /* One bit of one data cluster. */
  flip (name, DISK ".qcow2", 3 * BLOCK + 12345, 0x10);
  verify_bad (name, "are not what was backed up", 1);
  point = open_point (name);
  assert_int_equal (reader_open (place, point, DISK, &r, NULL), 0);
  for (uint64_t i = 0; i < m.blocks; i++) {
    fault_reset (&f);
    if (reader_read (r, i * BLOCK, data, block_size (&m, i), &f) < 0) {
      assert_int_equal (f.code, FAULT_CORRUPT);
      assert_non_null (strstr (f.text, DISK));
      assert_non_null (strstr (f.text, name));
      found++;
    }
  }
  assert_int_equal (found, 1);
  reader_close (r);
  flip (name, DISK ".qcow2", 3 * BLOCK + 12345, 0x10);
  /* The sum, its header, the configuration. */
  flip (name, DISK ".sum", SUM_HEADER_SIZE + 8, 1);
  verify_bad (name, "digest is not the one in the manifest", 0);
  assert_int_equal (reader_open (place, point, DISK, &r, NULL), -1);
  flip (name, DISK ".sum", SUM_HEADER_SIZE + 8, 1);
  flip (name, "vm.ovf", 2, 1);
  fault_reset (&f);
  verify (name, false, &f, decoder, &bad);
  assert_int_equal (f.code, FAULT_CORRUPT);
  assert_non_null (strstr (f.text, "vm.ovf"));
  flip (name, "vm.ovf", 2, 1);
  /* A cluster that the tables lose, then one in another place. */
  entry = first_l2_entry (name);
  flip (name, DISK ".qcow2", entry + 5, 0xff);
  verify_bad (name, "disk web_Disk1", 0);
  flip (name, DISK ".qcow2", entry + 5, 0xff);
  /* The header: size, backing file, feature bits. */
  flip (name, DISK ".qcow2", 31, 2);
  verify_bad (name, "disk web_Disk1", 0);
  flip (name, DISK ".qcow2", 31, 2);
  flip (name, DISK ".qcow2", 79, 1);
  verify_bad (name, "not one that is written here", 0);
  flip (name, DISK ".qcow2", 79, 1);
  if (have_qemu ())
    verify_good (name, true, "qemu-img ");
  point_free (point);
  /* An increment whose zero became "unchanged". */
  entry = first_l2_entry (upper);
  {
    char *path = point_path (upper, DISK ".qcow2");
    int fd = open (path, O_RDONLY);
    uint8_t word[8];

    do {
      assert_int_equal (pread (fd, word, 8, entry), 8);
      entry += 8;
    } while (get_be64 (word) != 1);
    close (fd);
    free (path);
  }
  flip (upper, DISK ".qcow2", entry - 1, 1);
  verify_bad (upper, "in zero clusters, the manifest says", 0);
  flip (upper, DISK ".qcow2", entry - 1, 1);
  /* A parent that is gone. */
  {
    char *path = point_path (name, "manifest");
    char *away = point_path (name, "away");

    assert_int_equal (rename (path, away), 0);
    point = open_point (upper);
    fault_reset (&f);
    assert_int_equal (reader_open (place, point, DISK, &r, &f), -1);
    assert_int_equal (f.code, FAULT_CORRUPT);
    point_free (point);
    assert_int_equal (rename (away, path), 0);
    free (path);
    free (away);
  }
  check_bytes (upper, &over, 2);
  model_free (&m);
  model_free (&over);
  free (data);
}

/* Replace a file of a point by a sealed sum that lacks the last record. */
static void
test_sum_mismatch (void **state)
{
  struct model m = model_make (SIZE1, NULL);
  char name[POINT_NAME_SIZE];
  struct point *point;
  struct sum *s = NULL;
  struct sum_writer *w = NULL;
  struct sum_header h;
  struct sum_record record;
  struct verify_report report;
  struct fault f = FAULT_INIT;
  char *path;
  int dir;
  int fd;

  (void)state;
  back_up (&m, WHEN + 300, "run-m", NULL, name);
  point = open_point (name);
  dir = place_open_vm (place, VM, name, NULL);
  assert_int_equal (sum_open (dir, DISK ".sum", NULL, &s, NULL), 0);
  h = *sum_info (s);
  h.count--;
  path = point_path (name, "new.sum");
  fd = open (path, O_RDWR | O_CREAT, 0600);
  assert_int_equal (sum_writer_new (fd, &h, "new", &w, NULL), 0);
  for (uint64_t i = 0; i < h.count; i++) {
    assert_int_equal (sum_get (s, i, &record, NULL), 0);
    assert_int_equal (sum_writer_add (w, record.cluster, record.digest, NULL),
                      0);
  }
  /* As if the manifest had been written for it. */
  assert_int_equal (sum_writer_end (w, point->manifest->disks[0].digest, NULL),
                    0);
  sum_writer_free (w);
  sum_close (s);
  close (fd);
  assert_int_equal (renameat (dir, "new.sum", dir, DISK ".sum"), 0);
  assert_int_equal (verify_point (place, point, NULL, &report, &f), -1);
  assert_int_equal (f.code, FAULT_CORRUPT);
  assert_non_null (strstr (f.text, "number of its records"));
  verify_report_reset (&report);
  point->manifest->disks[0].data -= BLOCK;
  fault_reset (&f);
  assert_int_equal (verify_point (place, point, NULL, &report, &f), -1);
  assert_non_null (strstr (f.text, "data in one, not in the other"));
  verify_report_reset (&report);
  point_free (point);
  close (dir);
  free (path);
  model_free (&m);
}

static unsigned
count_entries (enum place_folder which)
{
  char *command = xasprintf ("%s/%s", repo, which == PLACE_TMP ? "tmp" : "vms");
  unsigned count = 0;
  int fd = open (command, O_RDONLY | O_DIRECTORY);
  struct stat st;

  /* Links of a directory: itself, its name, one for each folder in it. */
  assert_int_equal (fstat (fd, &st), 0);
  count = (unsigned)st.st_nlink - 2;
  close (fd);
  free (command);
  return count;
}

static void
test_draft_rules (void **state)
{
  struct lease *lease = NULL;
  struct draft *draft = NULL;
  struct draft *other = NULL;
  struct writer *w = NULL;
  struct manifest *m = make_manifest (SIZE1);
  struct fault f = FAULT_INIT;
  int leases = place_folder_fd (place, PLACE_LEASES);

  (void)state;
  assert_int_equal (lease_take (place, VM, "run-r", &lease, NULL), 0);
  assert_int_equal (draft_begin (place, lease, WHEN + 400, "../x", &draft, &f),
                    -1);
  assert_int_equal (
      draft_begin (place, lease, WHEN + 400, "run-r", &draft, NULL), 0);
  assert_int_equal (
      draft_begin (place, lease, WHEN + 400, "run-r", &other, NULL), -1);
  assert_int_equal (draft_put_text (draft, "../vm.ovf", "x", 1, NULL), -1);
  assert_int_equal (draft_put_text (draft, "manifest", "x", 1, NULL), -1);
  assert_int_equal (draft_add_disk (draft, "../" DISK, SIZE1, NULL, &w, NULL),
                    -1);
  fault_reset (&f);
  assert_int_equal (
      draft_add_disk (draft, DISK, SIZE1, "20200101T000000Z", &w, &f), -1);
  assert_int_equal (f.code, FAULT_NOTFOUND);
  assert_int_equal (draft_add_disk (draft, DISK, SIZE1, NULL, &w, NULL), 0);
  /* Not finished. */
  assert_int_equal (draft_publish (draft, m, NULL), -1);
  assert_int_equal (writer_finish (w, NULL, NULL), 0);
  /* Under a lease that was lost. */
  assert_int_equal (renameat (leases, VM, leases, "moved"), 0);
  fault_reset (&f);
  assert_int_equal (draft_publish (draft, m, &f), -1);
  assert_int_equal (f.code, FAULT_BUSY);
  assert_int_equal (renameat (leases, "moved", leases, VM), 0);
  assert_int_equal (count_entries (PLACE_TMP), 1);
  draft_abort (draft);
  draft_free (draft);
  assert_int_equal (count_entries (PLACE_TMP), 0);
  manifest_free (m);
  lease_drop (lease);
}

/* Back up M in another process, which is killed after DELAY_US (or never, when
   that is 0).  The time that it took. */
static uint64_t
back_up_killed (const struct model *m, int64_t when, const char *run,
                useconds_t delay_us)
{
  uint64_t start = stamp_mono_ms ();
  pid_t pid = fork ();

  if (pid == 0) {
    char name[POINT_NAME_SIZE];

    alarm (60);
    back_up (m, when, run, NULL, name);
    _exit (0);
  }
  assert_true (pid > 0);
  if (delay_us > 0) {
    usleep (delay_us);
    kill (pid, SIGKILL);
  }
  assert_int_equal (waitpid (pid, NULL, 0), pid);
  return stamp_mono_ms () - start;
}

/* The point of second WHEN: 0 there is none, 1 it is whole. */
static unsigned
check_published (const struct model *m, int64_t when)
{
  struct point_list list;
  char stamp[STAMP_SIZE];
  unsigned found = 0;

  stamp_format (when, stamp);
  assert_int_equal (point_list (place, VM, &list, NULL), 0);
  for (size_t i = 0; i < list.count; i++) {
    assert_null (list.points[i].damage);
    if (strcmp (list.points[i].name, stamp) == 0) {
      check_bytes (stamp, m, 1);
      found++;
    }
  }
  point_list_reset (&list);
  return found;
}

/* Killed at any instant there is no point or a whole one, and what is left
   behind is removed. */
static void
test_torn_drafts (void **state)
{
  enum { ROUNDS = 30 };
  struct model m = model_make (40 * BLOCK, NULL);
  uint64_t ms = back_up_killed (&m, WHEN + 1000, "torn", 0);
  unsigned published = 0;
  unsigned left = 0;

  (void)state;
  assert_int_equal (check_published (&m, WHEN + 1000), 1);
  for (unsigned i = 1; i <= ROUNDS; i++) {
    char run[16];
    unsigned removed;

    snprintf (run, sizeof run, "torn-%u", i);
    back_up_killed (&m, WHEN + 1000 + i, run,
                    (useconds_t)((ms + 1) * 1000 * i / ROUNDS));
    assert_int_equal (draft_clean (place, NULL, NULL, &removed, NULL), 0);
    assert_true (removed <= 1);
    left += removed;
    assert_int_equal (count_entries (PLACE_TMP), 0);
    published += check_published (&m, WHEN + 1000 + i);
  }
  print_message ("of %d runs %u were published, %u left a draft\n", ROUNDS,
                 published, left);
  model_free (&m);
}

/* The comparison with what a foreign decoder gives. */
static int
feed_content (struct reader *r, const uint8_t *bytes, uint64_t size, bool holes,
              struct fault *f)
{
  struct content *c = content_new (r, "decoder");
  uint64_t at = 0;
  int rc = 0;

  while (at < size && rc == 0) {
    uint64_t part = 1 + next_random () % (3 * BLOCK);
    uint64_t zeros = 0;

    if (part > size - at)
      part = size - at;
    while (holes && zeros < part && bytes[at + zeros] == 0)
      zeros++;
    if (zeros > 0)
      rc = content_feed (c, NULL, part = zeros, f);
    else
      rc = content_feed (c, bytes + at, part, f);
    at += part;
  }
  if (rc == 0)
    rc = content_end (c, f);
  content_free (c);
  return rc;
}

static void
test_content (void **state)
{
  struct model m = model_make (SIZE1, NULL);
  struct fault f = FAULT_INIT;
  struct reader *r = NULL;
  struct point *point;
  char name[POINT_NAME_SIZE];
  char text[64];

  (void)state;
  back_up (&m, WHEN + 2000, "run-c", NULL, name);
  point = open_point (name);
  assert_int_equal (reader_open (place, point, DISK, &r, NULL), 0);
  for (unsigned i = 0; i < 10; i++) {
    if (feed_content (r, m.bytes, m.size, i % 2, &f) < 0)
      fail_msg ("%s", f.text);
  }
  /* One byte of any block, data or not. */
  for (uint64_t i = 0; i < m.blocks; i += 7) {
    uint64_t at = i * BLOCK + next_random () % block_size (&m, i);

    m.bytes[at] ^= 4;
    fault_reset (&f);
    assert_int_equal (feed_content (r, m.bytes, m.size, i % 2, &f), -1);
    m.bytes[at] ^= 4;
    snprintf (text, sizeof text, "decoder decodes the 64 KiB at %llu to",
              (unsigned long long)(i * BLOCK));
    assert_int_equal (f.code, FAULT_CORRUPT);
    assert_non_null (strstr (f.text, text));
  }
  assert_int_equal (feed_content (r, m.bytes, m.size - 1, false, NULL), -1);
  assert_int_equal (feed_content (r, m.bytes, m.size + 1, false, NULL), -1);
  reader_close (r);
  point_free (point);
  model_free (&m);
}

static void
test_clean_spares_the_living (void **state)
{
  int ready[2];
  unsigned removed = 99;
  char c;
  pid_t pid;
  struct lease *own = NULL;

  (void)state;
  assert_int_equal (pipe (ready), 0);
  pid = fork ();
  if (pid == 0) {
    struct place *p = NULL;
    struct lease *l = NULL;
    struct draft *d = NULL;

    alarm (30);
    if (place_open (repo, false, &p, NULL) == 0
        && lease_take (p, VM2, "live", &l, NULL) == 0
        && draft_begin (p, l, WHEN, "live", &d, NULL) == 0
        && write (ready[1], "y", 1) == 1)
      pause ();
    _exit (0);
  }
  assert_int_equal (read (ready[0], &c, 1), 1);
  assert_int_equal (
      mkdirat (place_folder_fd (place, PLACE_TMP), "old." VM, 0700), 0);
  assert_int_equal (
      mkdirat (place_folder_fd (place, PLACE_TMP), "mine." VM, 0700), 0);
  assert_int_equal (
      mkdirat (place_folder_fd (place, PLACE_TMP), "somebody's", 0700), 0);
  assert_int_equal (lease_take (place, VM, "mine", &own, NULL), 0);
  assert_int_equal (draft_clean (place, own, "mine", &removed, NULL), 0);
  assert_int_equal (removed, 1);
  assert_int_equal (count_entries (PLACE_TMP), 3);
  lease_drop (own);
  kill (pid, SIGKILL);
  assert_int_equal (waitpid (pid, NULL, 0), pid);
  assert_int_equal (draft_clean (place, NULL, NULL, &removed, NULL), 0);
  assert_int_equal (removed, 2);
  assert_int_equal (
      unlinkat (place_folder_fd (place, PLACE_TMP), "somebody's", AT_REMOVEDIR),
      0);
  close (ready[0]);
  close (ready[1]);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_full_and_increments),
    cmocka_unit_test (test_extremes),
    cmocka_unit_test (test_writer_rules),
    cmocka_unit_test (test_damage_is_found),
    cmocka_unit_test (test_sum_mismatch),
    cmocka_unit_test (test_draft_rules),
    cmocka_unit_test (test_torn_drafts),
    cmocka_unit_test (test_content),
    cmocka_unit_test (test_clean_spares_the_living),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
