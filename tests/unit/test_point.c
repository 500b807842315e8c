/* SPDX-License-Identifier: Apache-2.0 */
/* Places, leases and the names of points. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/slot.h"
#include "repo/point.h"
#include "tests/unit/unit.h"

#define VM1 "0a0a0a0a-0000-4000-8000-000000000001"
#define VM2 "0a0a0a0a-0000-4000-8000-000000000002"
#define VM3 "0a0a0a0a-0000-4000-8000-000000000003"

static char folder[] = "/tmp/chainlift-unit-XXXXXX";
static char *repo;
static struct place *place;

static int
setup (void **state)
{
  (void)state;
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

static void
test_point_names (void **state)
{
  static const struct {
    const char *name;
    bool valid;
  } names[] = {
    { "20261120T010000Z", true },
    { "20261120T010000Z-2", true },
    { "20261120T010000Z-99", true },
    { "20261120T010000Z-1", false },
    { "20261120T010000Z-0", false },
    { "20261120T010000Z-02", false },
    { "20261120T010000Z-100", false },
    { "20261120T010000Z-", false },
    { "20261120T010000Z-2x", false },
    { "20261120T010000", false },
    { "20261120T010060Z", false },
    { "20261131T010000Z", false },
    { "2026112 T010000Z", false },
    { "+2261120T010000Z", false },
    { "20261120t010000z", false },
    { "..", false },
    { "", false },
    { "../20261120T0100", false },
    { "20261120T010000Z/x", false },
    { "20261120T010000Z ", false },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (names); i++) {
    if (point_name_valid (names[i].name) != names[i].valid)
      fail_msg ("\"%s\"", names[i].name);
  }
  assert_true (point_name_compare ("20261120T010000Z", "20261120T010000Z-2")
               < 0);
  assert_true (point_name_compare ("20261120T010000Z-10", "20261120T010000Z-9")
               > 0);
  assert_true (point_name_compare ("20261120T010001Z", "20261120T010000Z-9")
               > 0);
  assert_true (point_name_compare ("20261120T010001Z", "20261120T010001Z")
               == 0);
}

static void
test_place (void **state)
{
  struct fault f = FAULT_INIT;
  struct place *p = NULL;
  char *path = xasprintf ("%s/other", folder);
  char *file = xasprintf ("%s/other/notes", folder);
  char id[UUID_SIZE];
  uint64_t bytes = 0;

  (void)state;
  assert_int_equal (place_open (path, false, &p, &f), -1);
  assert_int_equal (f.code, FAULT_NOTFOUND);
  assert_int_equal (mkdir (path, 0700), 0);
  fault_reset (&f);
  assert_int_equal (place_open (path, false, &p, &f), -1);
  assert_int_equal (f.code, FAULT_NOTFOUND);
  close (open (file, O_CREAT | O_WRONLY, 0600));
  fault_reset (&f);
  assert_int_equal (place_open (path, true, &p, &f), -1);
  assert_int_equal (f.code, FAULT_USAGE);
  assert_non_null (strstr (f.text, "notes is in it"));
  assert_int_equal (unlink (file), 0);
  assert_int_equal (place_open (path, true, &p, NULL), 0);
  strcpy (id, place_id (p));
  assert_true (uuid_valid (id));
  assert_int_equal (place_free_bytes (p, &bytes, NULL), 0);
  assert_true (bytes > 0);
  place_close (p);
  assert_int_equal (place_open (path, true, &p, NULL), 0);
  assert_string_equal (place_id (p), id);
  place_close (p);
  free (file);
  /* Damage and another version are told apart. */
  file = xasprintf ("%s/chainlift", path);
  {
    int fd = open (file, O_RDWR);

    assert_int_equal (pwrite (fd, "X", 1, 30), 1);
    fault_reset (&f);
    assert_int_equal (place_open (path, false, &p, &f), -1);
    assert_int_equal (f.code, FAULT_CORRUPT);
    assert_int_equal (pwrite (fd, "9", 1, 21), 1);
    fault_reset (&f);
    assert_int_equal (place_open (path, false, &p, &f), -1);
    assert_int_equal (f.code, FAULT_USAGE);
    close (fd);
  }
  free (file);
  free (path);
}

static void
test_open_vm_names (void **state)
{
  static const char *const bad[] = { "..",
                                     "",
                                     "/",
                                     "../vms",
                                     "0a0a0a0a-0000-4000-8000-00000000000",
                                     "0a0a0a0a-0000-4000-8000-0000000000010" };
  struct fault f = FAULT_INIT;

  (void)state;
  for (size_t i = 0; i < COUNT_OF (bad); i++) {
    fault_reset (&f);
    assert_int_equal (place_open_vm (place, bad[i], NULL, &f), -1);
    assert_int_equal (f.code, FAULT_USAGE);
  }
  fault_reset (&f);
  assert_int_equal (place_open_vm (place, VM1, "../x", &f), -1);
  assert_int_equal (f.code, FAULT_USAGE);
  /* A folder that is a link is not entered. */
  assert_int_equal (symlinkat ("/tmp", place_folder_fd (place, PLACE_VMS), VM3),
                    0);
  fault_reset (&f);
  assert_int_equal (place_open_vm (place, VM3, NULL, &f), -1);
  assert_int_equal (unlinkat (place_folder_fd (place, PLACE_VMS), VM3, 0), 0);
}

/* Run in another process: take the lease, say so, wait to be killed. */
static pid_t
holder_start (int *ready)
{
  int pipes[2];
  pid_t pid;

  assert_int_equal (pipe (pipes), 0);
  pid = fork ();
  if (pid == 0) {
    struct place *p = NULL;
    struct lease *l = NULL;
    char c = 'n';

    alarm (30);
    if (place_open (repo, false, &p, NULL) == 0
        && lease_take (p, VM1, "run-of-child", &l, NULL) == 0)
      c = 'y';
    if (write (pipes[1], &c, 1) == 1)
      pause ();
    _exit (0);
  }
  close (pipes[1]);
  *ready = pipes[0];
  return pid;
}

static void
test_lease_conflict (void **state)
{
  struct fault f = FAULT_INIT;
  struct lease *l = NULL;
  struct lease *second = NULL;
  char *text = NULL;
  char expect[64];
  bool locked;
  int ready;
  char c;
  pid_t pid = holder_start (&ready);

  (void)state;
  assert_true (pid > 0);
  assert_int_equal (read (ready, &c, 1), 1);
  assert_int_equal (c, 'y');
  assert_int_equal (lease_take (place, VM1, "mine", &l, &f), -1);
  assert_int_equal (f.code, FAULT_BUSY);
  snprintf (expect, sizeof expect, "process %ld on host ", (long)pid);
  if (strstr (f.text, expect) == NULL)
    fail_msg ("%s", f.text);
  /* Another VM is free; a live holder is never robbed. */
  assert_int_equal (lease_take (place, VM2, "mine", &l, NULL), 0);
  lease_drop (l);
  fault_reset (&f);
  assert_int_equal (lease_break (place, VM1, &f), -1);
  assert_int_equal (f.code, FAULT_BUSY);
  assert_int_equal (lease_holder (place, VM1, &text, &locked, NULL), 0);
  assert_true (locked);
  assert_non_null (strstr (text, "run run-of-child\n"));
  free (text);
  /* Killed: its text is still there, but it was of this machine. */
  assert_int_equal (kill (pid, SIGKILL), 0);
  assert_int_equal (waitpid (pid, NULL, 0), pid);
  close (ready);
  assert_int_equal (lease_holder (place, VM1, &text, &locked, NULL), 0);
  assert_false (locked);
  assert_non_null (text);
  free (text);
  assert_int_equal (lease_take (place, VM1, "mine", &l, NULL), 0);
  assert_int_equal (lease_check (l, NULL), 0);
  /* Not twice in one process either. */
  assert_int_equal (lease_take (place, VM1, "mine", &second, NULL), -1);
  assert_int_equal (lease_check (l, NULL), 0);
  lease_drop (l);
  assert_int_equal (lease_holder (place, VM1, &text, &locked, NULL), 0);
  assert_null (text);
  assert_false (locked);
}

/* Processes that take and drop the same lease as fast as they can: never are
   two inside. */
static void
test_lease_crowd (void **state)
{
  enum { PROCESSES = 4, ROUNDS = 40 };
  pid_t pids[PROCESSES];
  char *inside = xasprintf ("%s/inside", folder);
  struct stat st;
  int status;

  (void)state;
  for (int i = 0; i < PROCESSES; i++) {
    pids[i] = fork ();
    if (pids[i] != 0)
      continue;
    alarm (60);
    for (int done = 0; done < ROUNDS;) {
      struct lease *l = NULL;
      struct fault f = FAULT_INIT;
      int fd;

      if (lease_take (place, VM3, "crowd", &l, &f) < 0) {
        if (f.code != FAULT_BUSY)
          _exit (2);
        continue;
      }
      fd = open (inside, O_CREAT | O_EXCL | O_WRONLY, 0600);
      if (fd < 0 || lease_check (l, NULL) < 0)
        _exit (3);
      close (fd);
      if (unlink (inside) < 0)
        _exit (4);
      lease_drop (l);
      done++;
    }
    _exit (0);
  }
  for (int i = 0; i < PROCESSES; i++) {
    assert_int_equal (waitpid (pids[i], &status, 0), pids[i]);
    assert_int_equal (status, 0);
  }
  /* And no file of it stays. */
  assert_int_equal (fstatat (place_folder_fd (place, PLACE_LEASES), VM3, &st,
                             AT_SYMLINK_NOFOLLOW),
                    -1);
  free (inside);
}

static void
test_lease_lost (void **state)
{
  struct fault f = FAULT_INIT;
  struct lease *l = NULL;
  struct lease *other = NULL;
  int leases = place_folder_fd (place, PLACE_LEASES);
  int fd;

  (void)state;
  /* The file is replaced: another process can lock the new one. */
  assert_int_equal (lease_take (place, VM1, "one", &l, NULL), 0);
  assert_int_equal (renameat (leases, VM1, leases, "moved"), 0);
  assert_int_equal (lease_check (l, &f), -1);
  assert_int_equal (f.code, FAULT_BUSY);
  assert_int_equal (lease_take (place, VM1, "two", &other, NULL), 0);
  fault_reset (&f);
  assert_int_equal (lease_check (l, &f), -1);
  assert_int_equal (lease_check (other, NULL), 0);
  lease_drop (l);
  assert_int_equal (lease_check (other, NULL), 0);
  /* Its text is replaced: somebody broke it. */
  fd = openat (leases, VM1, O_RDWR);
  assert_int_equal (pwrite (fd, "chainlift-lease 1\n#", 19, 0), 19);
  close (fd);
  fault_reset (&f);
  assert_int_equal (lease_check (other, &f), -1);
  assert_int_equal (f.code, FAULT_BUSY);
  lease_drop (other);
  assert_int_equal (unlinkat (leases, VM1, 0), 0);
  assert_int_equal (unlinkat (leases, "moved", 0), 0);
}

static void
test_lease_of_another_machine (void **state)
{
  /* As another host would have left it: the digest is right. */
  static const char body[] = "chainlift-lease 1\n"
                             "host elsewhere\n"
                             "machine 0123456789abcdef0123456789abcdef\n"
                             "boot 01234567-89ab-4def-8123-456789abcdef\n"
                             "pid 77\n"
                             "run far-away\n"
                             "since 20261120T010000Z\n";
  struct fault f = FAULT_INIT;
  struct lease *l = NULL;
  uint8_t digest[DIGEST_SIZE];
  char hex[2 * DIGEST_SIZE + 1];
  char text[512];
  int leases = place_folder_fd (place, PLACE_LEASES);
  int fd = openat (leases, VM2, O_RDWR | O_CREAT, 0600);

  (void)state;
  digest_bytes (body, strlen (body), digest);
  digest_format (digest, hex);
  snprintf (text, sizeof text, "%send %s\n", body, hex);
  assert_int_equal (write (fd, text, strlen (text)), strlen (text));
  close (fd);
  assert_int_equal (lease_take (place, VM2, "mine", &l, &f), -1);
  assert_int_equal (f.code, FAULT_BUSY);
  assert_non_null (strstr (f.text, "process 77 on host elsewhere"));
  assert_non_null (strstr (f.text, "unlock --force"));
  assert_int_equal (lease_break (place, VM2, NULL), 0);
  assert_int_equal (lease_take (place, VM2, "mine", &l, NULL), 0);
  lease_drop (l);
  fault_reset (&f);
  assert_int_equal (lease_take (place, "../x", "mine", &l, &f), -1);
  assert_int_equal (f.code, FAULT_USAGE);
}

/* A point without disks. */
static void
make_point (const char *vm_id, const char *vm_name, const char *name)
{
  struct manifest *m = manifest_new ();
  size_t size;
  char *text;
  int vms = place_folder_fd (place, PLACE_VMS);
  int vm;
  int fd;

  strcpy (m->vm_id, vm_id);
  manifest_set (&m->vm_name, vm_name);
  strcpy (m->point, name);
  manifest_set (&m->run_id, "r");
  manifest_set (&m->program, "p");
  strcpy (m->finished, "20261120T010000Z");
  text = manifest_format (m, &size, NULL);
  assert_non_null (text);
  manifest_free (m);
  assert_int_equal (fdio_mkdir (vms, vm_id, 0700, NULL), 0);
  vm = fdio_open_dir (vms, vm_id, NULL);
  assert_int_equal (fdio_mkdir (vm, name, 0700, NULL), 0);
  fd = fdio_open_dir (vm, name, NULL);
  assert_int_equal (fdio_replace (fd, MANIFEST_NAME, text, size, 0600, NULL),
                    0);
  free (text);
  close (fd);
  close (vm);
}

/* So many at once, by id; a place that is given back can be taken again. */
static void
test_slot (void **state)
{
  struct slot *slots[3];
  struct slot *other;
  struct fault f = FAULT_INIT;

  (void)state;
  assert_int_equal (slot_take (place, "merge", VM1, 2, &slots[0], NULL), 1);
  assert_int_equal (slot_take (place, "merge", VM1, 2, &slots[1], NULL), 1);
  assert_int_equal (slot_take (place, "merge", VM1, 2, &slots[2], NULL), 0);
  assert_null (slots[2]);
  assert_int_equal (slot_take (place, "merge", VM2, 1, &other, NULL), 1);
  slot_drop (other);
  assert_int_equal (slot_take (place, "merge", VM1, 3, &slots[2], NULL), 1);
  slot_drop (slots[0]);
  assert_int_equal (slot_take (place, "merge", VM1, 1, &slots[0], NULL), 1);
  for (size_t i = 0; i < 3; i++)
    slot_drop (slots[i]);
  assert_int_equal (slot_take (place, "merge", "../x", 2, &other, &f), -1);
}

static void
test_find (void **state)
{
  static const struct {
    const char *text;
    enum fault_code code; /* 0: found */
    const char *point;    /* or a part of the message */
  } table[] = {
    { "web@latest", FAULT_NONE, "20261120T010000Z-10" },
    { "web@-0", FAULT_NONE, "20261120T010000Z-10" },
    { "web@-1", FAULT_NONE, "20261120T010000Z-2" },
    { "web@-3", FAULT_NONE, "20261119T010000Z" },
    { "web@-4", FAULT_NOTFOUND, "only 4 points" },
    { "web@20261120T010000Z", FAULT_NONE, "20261120T010000Z" },
    { "web@20261120T010000Z-2", FAULT_NONE, "20261120T010000Z-2" },
    { "web@20261120T010001Z", FAULT_NOTFOUND, "20261120T010001Z" },
    { VM1 "@latest", FAULT_NONE, "20261120T010000Z-10" },
    { "old web@latest", FAULT_NONE, "20261120T010000Z-10" },
    { "a@b c@latest", FAULT_NONE, "20260101T000000Z" },
    { "twin@latest", FAULT_NONE, "20260101T000000Z" },
    { "nobody@latest", FAULT_NOTFOUND, "nobody" },
    { "web", FAULT_USAGE, "names no point" },
    { "@latest", FAULT_USAGE, "names no point" },
    { "web@", FAULT_USAGE, "names no point" },
    { "web@-", FAULT_USAGE, "names no point" },
    { "web@--1", FAULT_USAGE, "names no point" },
    { "web@../20261120T010000Z", FAULT_USAGE, "names no point" },
    { "web@-99999999999999999999", FAULT_USAGE, "names no point" },
    { "../vms@latest", FAULT_NOTFOUND, "no VM" },
  };

  (void)state;
  make_point (VM1, "old web", "20261119T010000Z");
  make_point (VM1, "web", "20261120T010000Z");
  make_point (VM1, "web", "20261120T010000Z-10");
  make_point (VM1, "web", "20261120T010000Z-2");
  make_point (VM2, "twin", "20251231T000000Z");
  make_point (VM2, "a@b c", "20260101T000000Z");
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct fault f = FAULT_INIT;
    struct point *point = NULL;
    int rc = point_find (place, table[i].text, &point, &f);

    if (f.code != table[i].code || rc != (table[i].code == 0 ? 0 : -1))
      fail_msg ("%s: %s", table[i].text, f.text);
    if (rc == 0)
      assert_string_equal (point->name, table[i].point);
    else if (strstr (f.text, table[i].point) == NULL)
      fail_msg ("%s: %s", table[i].text, f.text);
    point_free (point);
  }
}

static void
test_ambiguous (void **state)
{
  struct fault f = FAULT_INIT;
  struct point *point = NULL;

  (void)state;
  make_point (VM3, "web", "20261010T000000Z");
  assert_int_equal (point_find (place, "web@latest", &point, &f), -1);
  assert_int_equal (f.code, FAULT_USAGE);
  assert_non_null (strstr (f.text, VM1 ", " VM3));
  assert_int_equal (point_find (place, VM3 "@latest", &point, NULL), 0);
  point_free (point);
}

static void
test_list (void **state)
{
  struct fault f = FAULT_INIT;
  struct point_list list;
  struct point *point = NULL;
  char *path;
  int fd;

  (void)state;
  assert_int_equal (point_list (place, VM1, &list, NULL), 0);
  assert_int_equal (list.count, 4);
  assert_string_equal (list.points[0].name, "20261120T010000Z-10");
  assert_string_equal (list.points[3].name, "20261119T010000Z");
  point_list_reset (&list);
  assert_int_equal (point_list (place, NULL, &list, NULL), 0);
  assert_int_equal (list.count, 7);
  point_list_reset (&list);
  /* Without a manifest it is no point. */
  path = xasprintf ("%s/vms/" VM1 "/20261120T010000Z-10/manifest", repo);
  assert_int_equal (unlink (path), 0);
  assert_int_equal (point_find (place, VM1 "@latest", &point, NULL), 0);
  assert_string_equal (point->name, "20261120T010000Z-2");
  point_free (point);
  /* A damaged one is listed and never passed over. */
  fd = open (path, O_WRONLY | O_CREAT, 0600);
  assert_int_equal (write (fd, "chainlift-manifest 1\n", 21), 21);
  close (fd);
  assert_int_equal (point_list (place, VM1, &list, NULL), 0);
  assert_int_equal (list.count, 4);
  assert_null (list.points[0].manifest);
  assert_non_null (strstr (list.points[0].damage, "cut off"));
  point_list_reset (&list);
  assert_int_equal (point_find (place, VM1 "@latest", &point, &f), -1);
  assert_int_equal (f.code, FAULT_CORRUPT);
  assert_int_equal (
      point_list (place, "0b0b0b0b-0000-4000-8000-000000000001", &list, NULL),
      0);
  assert_int_equal (list.count, 0);
  free (path);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_point_names),
    cmocka_unit_test (test_place),
    cmocka_unit_test (test_open_vm_names),
    cmocka_unit_test (test_lease_conflict),
    cmocka_unit_test (test_lease_crowd),
    cmocka_unit_test (test_lease_lost),
    cmocka_unit_test (test_lease_of_another_machine),
    cmocka_unit_test (test_slot),
    cmocka_unit_test (test_find),
    cmocka_unit_test (test_ambiguous),
    cmocka_unit_test (test_list),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
