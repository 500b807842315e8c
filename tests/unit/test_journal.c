/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fdio.h"
#include "job/journal.h"
#include "job/observer.h"
#include "tests/unit/unit.h"

static void
test_parse (void **state)
{
  static const struct {
    const char *text;
    int rc;
    size_t open;
  } rows[] = {
    { "", 0, 0 },
    { "chainlift-journal 1 r 20261120T010000Z h 7\n", 0, 0 },
    { "chainlift-journal 1 r s h 7\n+ 1 snapshot v - a b\n", 0, 1 },
    { "chainlift-journal 1 r s h 7\n+ 1 snapshot v - a b\n= 1 s1\n", 0, 1 },
    { "chainlift-journal 1 r s h 7\n+ 1 snapshot v - a b\n- 1\n", 0, 0 },
    { "chainlift-journal 1 r s h 7\n+ 1 disk v d x\n+ 2 disk v e y\n- 1\n", 0,
      1 },
    { "chainlift-journal 1 r s h 7\n+ 1 snapshot v - a b\n- 1", 0, 1 },
    { "chainlift-journal 1 r s h 7\n- 1\n", -1, 0 },
    { "chainlift-journal 2 r s h 7\n", -1, 0 },
    { "chainlift-journal 1 r s h 7\nrubbish\n", -1, 0 },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    struct journal_list list = { .count = 0 };
    struct fault f = FAULT_INIT;

    assert_int_equal (journal_parse (rows[i].text, &list, &f), rows[i].rc);
    if (rows[i].rc == 0)
      assert_int_equal (list.count, rows[i].open);
    else
      assert_int_equal (f.code, FAULT_CORRUPT);
    journal_list_reset (&list);
  }
}

static void
test_life (void **state)
{
  char dir[] = "/tmp/chainlift-unit-XXXXXX";
  struct journal_list list = { .count = 0 };
  struct fault f = FAULT_INIT;
  struct journal *j;
  unsigned a;
  unsigned b;
  int fd;

  (void)state;
  assert_non_null (mkdtemp (dir));
  fd = fdio_open_dir (AT_FDCWD, dir, &f);
  j = journal_new (fd, "run1");
  assert_int_equal (journal_intend (j, "snapshot", "vm1", NULL,
                                    "a text\nof two lines", &a, &f),
                    0);
  assert_int_equal (journal_intend (j, "disk", NULL, "d1", "x", &b, &f), 0);
  assert_int_equal (journal_exists (j, a, "snap1", &f), 0);
  assert_int_equal (journal_settle (j, b, &f), 0);
  journal_free (j);
  assert_int_equal (journal_read_all (fd, "run1", &list, &f), 0);
  assert_int_equal (list.count, 0);
  assert_int_equal (journal_read_all (fd, NULL, &list, &f), 0);
  assert_int_equal (list.count, 1);
  assert_string_equal (list.entries[0].run_id, "run1");
  assert_string_equal (list.entries[0].kind, "snapshot");
  assert_string_equal (list.entries[0].object_id, "snap1");
  assert_string_equal (list.entries[0].text, "a text of two lines");
  assert_true (list.entries[0].exists);
  journal_list_reset (&list);
  assert_int_equal (journal_settle_other (fd, "run1", a, &f), 0);
  assert_int_equal (faccessat (fd, "run1", F_OK, 0), -1);
  j = journal_new (fd, "run2");
  assert_int_equal (journal_intend (j, "vm", "v", NULL, "t", &a, &f), 0);
  assert_int_equal (journal_settle (j, a, &f), 0);
  journal_free (j);
  assert_int_equal (faccessat (fd, "run2", F_OK, 0), -1);
  close (fd);
  assert_int_equal (fdio_remove_tree (AT_FDCWD, dir, &f), 0);
}

static void
test_exit_status (void **state)
{
  static const struct {
    unsigned done;
    enum fault_code fail[2];
    unsigned leftovers;
    int status;
  } rows[] = {
    { 0, { 0, 0 }, 0, 0 },
    { 3, { 0, 0 }, 0, 0 },
    { 3, { 0, 0 }, 1, 1 },
    { 1, { FAULT_NET, 0 }, 0, 1 },
    { 0, { FAULT_NET, 0 }, 0, FAULT_NET },
    { 0, { FAULT_NET, FAULT_NET }, 0, FAULT_NET },
    { 0, { FAULT_NET, FAULT_IO }, 0, 1 },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    struct observer_tally tally = { .leftovers = rows[i].leftovers };
    struct observer_result r = { .state = OBSERVER_DONE };

    for (unsigned k = 0; k < rows[i].done; k++)
      observer_count (&tally, &r);
    for (unsigned k = 0; k < 2 && rows[i].fail[k] != FAULT_NONE; k++) {
      struct fault f = { .code = rows[i].fail[k] };

      r.state = OBSERVER_FAILED;
      r.fault = &f;
      observer_count (&tally, &r);
    }
    assert_int_equal (observer_exit_status (&tally), rows[i].status);
  }
}

int
main (void)
{
  static const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_parse),
    cmocka_unit_test (test_life),
    cmocka_unit_test (test_exit_status),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
