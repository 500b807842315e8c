/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "repo/sum.h"
#include "tests/unit/unit.h"

#define RECORDS 100000u

static char folder[] = "/tmp/chainlift-unit-XXXXXX";
static int dir = -1;

static int
setup (void **state)
{
  (void)state;
  if (mkdtemp (folder) == NULL)
    return -1;
  dir = open (folder, O_RDONLY | O_DIRECTORY);
  return dir < 0 ? -1 : 0;
}

static int
teardown (void **state)
{
  (void)state;
  close (dir);
  return fdio_remove_tree (AT_FDCWD, folder, NULL);
}

/* Record I of a file is of cluster 3 * I + 1. */
static void
record_digest (uint64_t i, uint8_t out[static DIGEST_SIZE])
{
  digest_bytes (&i, sizeof i, out);
}

static void
write_sum (const char *name, uint64_t count, uint8_t digest[static DIGEST_SIZE])
{
  struct sum_header h
      = { .virtual_size = (3 * count + 5) * SUM_CLUSTER_SIZE, .count = count };
  struct sum_writer *w = NULL;
  uint8_t d[DIGEST_SIZE];
  int fd = openat (dir, name, O_RDWR | O_CREAT | O_TRUNC, 0600);

  assert_true (fd >= 0);
  assert_int_equal (sum_writer_new (fd, &h, name, &w, NULL), 0);
  for (uint64_t i = 0; i < count; i++) {
    record_digest (i, d);
    assert_int_equal (sum_writer_add (w, 3 * i + 1, d, NULL), 0);
  }
  assert_int_equal (sum_writer_end (w, digest, NULL), 0);
  sum_writer_free (w);
  close (fd);
}

static void
test_header_bytes (void **state)
{
  static const uint8_t want[48]
      = { 'c', 'l', 's', 'u', 'm', '\r', '\n', 0x1a, 1, 0, 0, 0, 1, 0, 0, 0, 0,
          0,   1,   0,   0,   0,   0,    0,    0,    0, 3, 0, 0, 0, 0, 0, 2 };
  struct sum_header h = { .virtual_size = 0x30000, .count = 2 };
  struct sum_header back;
  struct fault f = FAULT_INIT;
  uint8_t data[SUM_HEADER_SIZE];

  (void)state;
  sum_header_encode (&h, data);
  assert_memory_equal (data, want, sizeof want);
  assert_int_equal (sum_header_decode (data, &back, &f), 0);
  assert_true (back.virtual_size == 0x30000 && back.count == 2);
  for (size_t i = 0; i < sizeof data; i++) {
    data[i] ^= 0x40;
    fault_reset (&f);
    if (sum_header_decode (data, &back, &f) == 0)
      fail_msg ("changed byte %zu accepted", i);
    assert_int_equal (f.code, FAULT_CORRUPT);
    data[i] ^= 0x40;
  }
  /* More records than clusters, although the digest is right. */
  h.count = 4;
  sum_header_encode (&h, data);
  assert_int_equal (sum_header_decode (data, &back, NULL), -1);
}

static void
test_find (void **state)
{
  struct sum *s = NULL;
  struct sum_record r;
  uint8_t digest[DIGEST_SIZE];
  uint8_t want[DIGEST_SIZE];
  uint8_t got[DIGEST_SIZE];
  char *whole;
  size_t size;

  (void)state;
  write_sum ("a.sum", RECORDS, digest);
  assert_int_equal (sum_open (dir, "a.sum", digest, &s, NULL), 0);
  assert_true (sum_info (s)->count == RECORDS);
  for (uint64_t i = 0; i < RECORDS; i++) {
    uint64_t j = i * 7919 % RECORDS; /* any order */

    record_digest (j, want);
    assert_int_equal (sum_find (s, 3 * j + 1, got, NULL), 1);
    assert_memory_equal (got, want, DIGEST_SIZE);
    assert_int_equal (sum_find (s, 3 * j, got, NULL), 0);
    assert_int_equal (sum_find (s, 3 * j + 2, got, NULL), 0);
  }
  assert_int_equal (sum_find (s, UINT64_MAX, got, NULL), 0);
  assert_int_equal (sum_get (s, 4711, &r, NULL), 0);
  assert_true (r.cluster == 3 * 4711 + 1);
  assert_int_equal (sum_get (s, RECORDS, &r, NULL), -1);
  sum_close (s);
  /* The digest is that of the whole file, as any other program gives it. */
  whole = fdio_slurp (dir, "a.sum", 1u << 24, &size, NULL);
  assert_int_equal (size, SUM_HEADER_SIZE + RECORDS * SUM_RECORD_SIZE);
  digest_bytes (whole, size, got);
  assert_memory_equal (got, digest, DIGEST_SIZE);
  free (whole);
  write_sum ("none.sum", 0, digest);
  assert_int_equal (sum_open (dir, "none.sum", digest, &s, NULL), 0);
  assert_int_equal (sum_find (s, 0, got, NULL), 0);
  sum_close (s);
}

static void
patch (const char *name, off_t offset, const void *data, size_t size)
{
  int fd = openat (dir, name, O_RDWR);

  assert_true (fd >= 0);
  assert_int_equal (pwrite (fd, data, size, offset), size);
  close (fd);
}

static void
refused (const char *name, const uint8_t *digest, const char *message)
{
  struct fault f = FAULT_INIT;
  struct sum *s = NULL;

  assert_int_equal (sum_open (dir, name, digest, &s, &f), -1);
  assert_null (s);
  if (f.code != FAULT_CORRUPT || strstr (f.text, message) == NULL)
    fail_msg ("%s instead of: %s", f.text, message);
}

static void
test_damage (void **state)
{
  uint8_t digest[DIGEST_SIZE];
  uint8_t record[8];
  char byte = 'x';

  (void)state;
  write_sum ("b.sum", 1000, digest);
  patch ("b.sum", SUM_HEADER_SIZE + 500 * SUM_RECORD_SIZE + 8, &byte, 1);
  refused ("b.sum", digest, "digest");
  write_sum ("b.sum", 1000, digest);
  put_le64 (record, 1);
  patch ("b.sum", SUM_HEADER_SIZE + 500 * SUM_RECORD_SIZE, record, 8);
  refused ("b.sum", NULL, "out of order");
  put_le64 (record, UINT64_C (1) << 60);
  patch ("b.sum", SUM_HEADER_SIZE + 500 * SUM_RECORD_SIZE, record, 8);
  refused ("b.sum", NULL, "beyond the disk");
  write_sum ("b.sum", 1000, digest);
  patch ("b.sum", SUM_HEADER_SIZE + 1000 * SUM_RECORD_SIZE, &byte, 1);
  refused ("b.sum", NULL, "do not hold");
  write_sum ("b.sum", 1000, digest);
  {
    int fd = openat (dir, "b.sum", O_RDWR);

    assert_int_equal (ftruncate (fd, 40), 0);
    close (fd);
  }
  refused ("b.sum", NULL, "too short");
}

static void
test_writer_order (void **state)
{
  struct sum_header h = { .virtual_size = 1u << 20, .count = 2 };
  struct sum_writer *w = NULL;
  uint8_t d[DIGEST_SIZE] = { 0 };
  int fd = openat (dir, "c.sum", O_RDWR | O_CREAT, 0600);

  (void)state;
  assert_int_equal (sum_writer_new (fd, &h, "c.sum", &w, NULL), 0);
  assert_int_equal (sum_writer_add (w, 5, d, NULL), 0);
  assert_int_equal (sum_writer_end (w, d, NULL), -1);
  assert_int_equal (sum_writer_add (w, 5, d, NULL), -1);
  assert_int_equal (sum_writer_add (w, 4, d, NULL), -1);
  assert_int_equal (sum_writer_add (w, 6, d, NULL), 0);
  assert_int_equal (sum_writer_add (w, 7, d, NULL), -1);
  sum_writer_free (w);
  close (fd);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_header_bytes),
    cmocka_unit_test (test_find),
    cmocka_unit_test (test_damage),
    cmocka_unit_test (test_writer_order),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
