/* SPDX-License-Identifier: Apache-2.0 */
/* Drafts: their rules, and what a crash leaves of them. */
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
    cmocka_unit_test (test_draft_rules),
    cmocka_unit_test (test_torn_drafts),
    cmocka_unit_test (test_content),
    cmocka_unit_test (test_clean_spares_the_living),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
