/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

struct folder {
  char path[32];
  int fd;
};

static void
folder_make (struct folder *d)
{
  struct fault f = FAULT_INIT;

  strcpy (d->path, "/tmp/chainlift-unit-XXXXXX");
  assert_non_null (mkdtemp (d->path));
  d->fd = fdio_open_dir (AT_FDCWD, d->path, &f);
  assert_true (d->fd >= 0);
}

static void
folder_remove (struct folder *d)
{
  struct fault f = FAULT_INIT;

  close (d->fd);
  assert_int_equal (fdio_remove_tree (AT_FDCWD, d->path, &f), 0);
}

static bool
there (const struct folder *d, const char *name)
{
  return faccessat (d->fd, name, F_OK, 0) == 0;
}

static size_t
count_open (const struct folder *d)
{
  struct journal_list list = { .count = 0 };
  struct fault f = FAULT_INIT;
  size_t count;

  assert_int_equal (journal_read_all (d->fd, NULL, &list, &f), 0);
  count = list.count;
  journal_list_reset (&list);
  return count;
}

static unsigned
intend (struct journal *j)
{
  struct fault f = FAULT_INIT;
  unsigned number;

  assert_int_equal (journal_intend (j, "disk", "v", NULL, "t", &number, &f), 0);
  return number;
}

/* What others settle in the journal of a living run does not remove it. */
static void
test_living (void **state)
{
  struct fault f = FAULT_INIT;
  struct folder d;
  struct journal *j;

  (void)state;
  folder_make (&d);
  j = journal_new (d.fd, "run");
  assert_int_equal (journal_settle_other (d.fd, "run", intend (j), &f), 0);
  assert_true (there (&d, "run"));
  assert_int_equal (count_open (&d), 0);
  (void)intend (j);
  assert_int_equal (count_open (&d), 1);
  assert_int_equal (journal_settle_other (d.fd, "run", 2, &f), 0);
  journal_free (j);
  assert_false (there (&d, "run"));
  folder_remove (&d);
}

/* A disk that fills up in the middle of a line. */
static void
test_full (void **state)
{
  struct fault f = FAULT_INIT;
  struct rlimit was;
  struct rlimit little;
  struct folder d;
  struct journal *j;
  struct stat st;
  unsigned number;
  int rc;

  (void)state;
  folder_make (&d);
  signal (SIGXFSZ, SIG_IGN);
  j = journal_new (d.fd, "run");
  assert_int_equal (getrlimit (RLIMIT_FSIZE, &was), 0);
  little = was;
  little.rlim_cur = 10;
  setrlimit (RLIMIT_FSIZE, &little);
  rc = journal_intend (j, "disk", "v", NULL, "t", &number, &f);
  setrlimit (RLIMIT_FSIZE, &was);
  assert_int_equal (rc, -1);
  assert_false (there (&d, "run"));
  (void)intend (j);
  assert_int_equal (fstatat (d.fd, "run", &st, 0), 0);
  little.rlim_cur = (rlim_t)st.st_size + 5;
  setrlimit (RLIMIT_FSIZE, &little);
  rc = journal_intend (j, "disk", "v", NULL, "t", &number, &f);
  setrlimit (RLIMIT_FSIZE, &was);
  assert_int_equal (rc, -1);
  assert_int_equal (count_open (&d), 1);
  (void)intend (j);
  assert_int_equal (count_open (&d), 2);
  journal_free (j);
  assert_true (there (&d, "run"));
  folder_remove (&d);
}

/* A crash in the middle of a line: who appends next, the run or another. */
static void
test_torn (void **state)
{
  static const char torn[] = "+ 7 disk v - a te";
  struct fault f = FAULT_INIT;
  struct folder d;
  struct journal *j;
  int fd;

  (void)state;
  folder_make (&d);
  j = journal_new (d.fd, "run");
  (void)intend (j);
  fd = openat (d.fd, "run", O_WRONLY | O_APPEND);
  assert_int_equal (fdio_write_full (fd, torn, strlen (torn), "run", &f), 0);
  (void)intend (j);
  assert_int_equal (count_open (&d), 2);
  assert_int_equal (fdio_write_full (fd, torn, strlen (torn), "run", &f), 0);
  close (fd);
  journal_free (j);
  assert_int_equal (journal_settle_other (d.fd, "run", 1, &f), 0);
  assert_int_equal (count_open (&d), 1);
  assert_int_equal (journal_settle_other (d.fd, "run", 2, &f), 0);
  assert_false (there (&d, "run"));
  folder_remove (&d);
}

enum { SHARED = 40 };

struct settler {
  int dirfd;
  unsigned first;
  int rc;
};

static void *
settle_half (void *opaque)
{
  struct settler *s = opaque;
  struct fault f = FAULT_INIT;

  for (unsigned n = s->first; s->rc == 0 && n <= SHARED; n += 2)
    s->rc = journal_settle_other (s->dirfd, "run", n, &f);
  return NULL;
}

/* Two settle side by side what a dead run left: the last removes it. */
static void
test_last (void **state)
{
  struct settler settlers[2];
  pthread_t threads[2];
  struct folder d;
  struct journal *j;

  (void)state;
  folder_make (&d);
  j = journal_new (d.fd, "run");
  for (int i = 0; i < SHARED + 1; i++)
    (void)intend (j);
  journal_free (j);
  for (unsigned i = 0; i < 2; i++) {
    settlers[i] = (struct settler){ d.fd, i + 1, 0 };
    pthread_create (&threads[i], NULL, settle_half, &settlers[i]);
  }
  for (unsigned i = 0; i < 2; i++) {
    pthread_join (threads[i], NULL);
    assert_int_equal (settlers[i].rc, 0);
  }
  assert_int_equal (count_open (&d), 1);
  assert_int_equal (
      journal_settle_other (d.fd, "run", SHARED + 1, &(struct fault)FAULT_INIT),
      0);
  assert_false (there (&d, "run"));
  folder_remove (&d);
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
    cmocka_unit_test (test_parse),       cmocka_unit_test (test_life),
    cmocka_unit_test (test_living),      cmocka_unit_test (test_full),
    cmocka_unit_test (test_torn),        cmocka_unit_test (test_last),
    cmocka_unit_test (test_exit_status),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
