/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/uuid.h"
#include "tests/unit/unit.h"

static void
test_fault_first_wins (void **state)
{
  struct fault f = FAULT_INIT;

  (void)state;
  errno = EAGAIN;
  assert_int_equal (fault_set (&f, FAULT_IO, ENOSPC, "write %s", "a\nb"), -1);
  assert_int_equal (errno, EAGAIN);
  assert_int_equal (f.code, FAULT_SPACE);
  assert_string_equal (f.text, "write a b: No space left on device");
  fault_set (&f, FAULT_NET, 0, "later");
  assert_int_equal (f.code, FAULT_SPACE);
  fault_prefix (&f, "disk %d", 7);
  assert_string_equal (f.text, "disk 7: write a b: No space left on device");
  fault_append (&f, "; %s", "free some");
  assert_non_null (strstr (f.text, "device; free some"));
  assert_string_equal (fault_name (FAULT_SPACE), "space");
  assert_string_equal (fault_name ((enum fault_code)99), "unknown");
}

static void
test_buf_round_trip (void **state)
{
  struct buf b;
  struct buf v;
  char s[8];

  (void)state;
  buf_init (&b, 64);
  buf_put_u8 (&b, 0x12);
  buf_put_le16 (&b, 0x3456);
  buf_put_le32 (&b, 0x789abcde);
  buf_put_le64 (&b, 0x0123456789abcdefu);
  buf_put_str (&b, "hello");
  assert_false (buf_bad (&b));
  assert_int_equal (b.size, 1 + 2 + 4 + 8 + 2 + 5);
  assert_int_equal (b.data[1], 0x56);
  buf_view (&v, b.data, b.size);
  assert_int_equal (buf_get_u8 (&v), 0x12);
  assert_int_equal (buf_get_le16 (&v), 0x3456);
  assert_int_equal (buf_get_le32 (&v), 0x789abcde);
  assert_true (buf_get_le64 (&v) == 0x0123456789abcdefu);
  buf_get_str (&v, s, sizeof s);
  assert_string_equal (s, "hello");
  assert_int_equal (buf_left (&v), 0);
  assert_false (buf_bad (&v));
  assert_int_equal (buf_get_le32 (&v), 0);
  assert_true (buf_bad (&v));
  buf_put_u8 (&v, 1);
  buf_put (&b, s, 63);
  assert_true (buf_bad (&b));
  buf_reset (&b);
}

static void
test_buf_str_limits (void **state)
{
  static const uint8_t nul[] = { 3, 0, 'a', 0, 'b' };
  static const uint8_t past[] = { 9, 0, 'a' };
  static const uint8_t wide[] = { 4, 0, 'a', 'b', 'c', 'd' };
  struct buf v;
  char s[4];

  (void)state;
  buf_view (&v, nul, sizeof nul);
  buf_get_str (&v, s, sizeof s);
  assert_true (buf_bad (&v));
  buf_view (&v, past, sizeof past);
  buf_get_str (&v, s, sizeof s);
  assert_true (buf_bad (&v));
  buf_view (&v, wide, sizeof wide);
  buf_get_str (&v, s, sizeof s);
  assert_true (buf_bad (&v));
  assert_string_equal (s, "");
}

static void
test_stamp (void **state)
{
  static const struct {
    const char *iso;
    const char *stamp; /* NULL: refused */
  } rows[] = {
    { "2024-05-01T10:20:30.123+02:00", "20240501T082030Z" },
    { "2024-05-01T10:20:30Z", "20240501T102030Z" },
    { "2024-12-31T23:59:59.9-01:30", "20250101T012959Z" },
    { "2024-05-01T10:20:30", NULL },
    { "2024-13-01T10:20:30Z", NULL },
    { "yesterday", NULL },
  };
  char out[STAMP_SIZE];
  int64_t t;
  int64_t u;

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    struct fault f = FAULT_INIT;
    int rc = stamp_parse_iso (rows[i].iso, &t, &f);

    assert_int_equal (rc, rows[i].stamp != NULL ? 0 : -1);
    if (rc < 0)
      continue;
    stamp_format (t, out);
    assert_string_equal (out, rows[i].stamp);
    assert_int_equal (stamp_parse (out, &u, &f), 0);
    assert_true (t == u);
  }
  assert_int_equal (stamp_parse ("20241301T000000Z", &t, NULL), -1);
  assert_int_equal (stamp_parse ("20240101T000000", &t, NULL), -1);
}

static void
test_uuid (void **state)
{
  char a[UUID_SIZE];
  char b[UUID_SIZE];

  (void)state;
  uuid_make (a);
  uuid_make (b);
  assert_true (uuid_valid (a));
  assert_string_not_equal (a, b);
  assert_true (uuid_valid (UUID_BLANK));
  assert_false (uuid_valid (""));
  assert_false (uuid_valid ("00000000-0000-0000-0000-00000000000"));
  assert_false (uuid_valid ("00000000-0000-0000-0000-0000000000000"));
  assert_false (uuid_valid ("00000000-0000-0000-0000-00000000000/"));
}

static void
test_fdio (void **state)
{
  struct fault f = FAULT_INIT;
  char dir[] = "/tmp/chainlift-unit-XXXXXX";
  struct stat st;
  char *text;
  size_t size;
  int fd;

  (void)state;
  assert_non_null (mkdtemp (dir));
  fd = fdio_open_dir (AT_FDCWD, dir, &f);
  assert_true (fd >= 0);
  assert_int_equal (fdio_replace (fd, "a", "one", 3, 0600, &f), 0);
  assert_int_equal (fdio_replace (fd, "a", "second", 6, 0600, &f), 0);
  text = fdio_slurp (fd, "a", 6, &size, &f);
  assert_non_null (text);
  assert_string_equal (text, "second");
  assert_int_equal (size, 6);
  free (text);
  assert_null (fdio_slurp (fd, "a", 5, NULL, &f));
  assert_int_equal (f.code, FAULT_CORRUPT);
  fault_reset (&f);
  assert_null (fdio_slurp (fd, "none", 5, NULL, &f));
  assert_int_equal (f.code, FAULT_NOTFOUND);
  fault_reset (&f);
  assert_int_equal (symlinkat ("a", fd, "link"), 0);
  assert_null (fdio_slurp (fd, "link", 99, NULL, &f));
  fault_reset (&f);
  assert_int_equal (fdio_mkdir (fd, "d", 0700, &f), 0);
  assert_int_equal (fdio_mkdir (fd, "d", 0700, &f), 0);
  assert_int_equal (fdio_remove_tree (fd, "d", &f), 0);
  assert_int_equal (fdio_remove_tree (AT_FDCWD, dir, &f), 0);
  assert_int_equal (fstatat (AT_FDCWD, dir, &st, 0), -1);
  assert_int_equal (fdio_remove_tree (AT_FDCWD, dir, &f), 0);
  close (fd);
}

int
main (void)
{
  static const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_fault_first_wins),
    cmocka_unit_test (test_buf_round_trip),
    cmocka_unit_test (test_buf_str_limits),
    cmocka_unit_test (test_stamp),
    cmocka_unit_test (test_uuid),
    cmocka_unit_test (test_fdio),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
