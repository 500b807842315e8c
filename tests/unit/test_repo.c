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
#include "tests/unit/repo_fixture.h"

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

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_full_and_increments),
    cmocka_unit_test (test_extremes),
    cmocka_unit_test (test_writer_rules),
    cmocka_unit_test (test_damage_is_found),
    cmocka_unit_test (test_sum_mismatch),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
