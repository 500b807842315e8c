/* SPDX-License-Identifier: Apache-2.0 */
/* Bases of templates: stored once, fulls and increments over them, what is
   refused, and when they may go. */
#include <config.h>

#include <dirent.h>

#include "repo/template.h"
#include "tests/unit/repo_fixture.h"

#define VOLUME "b0b0b0b0-0000-4000-8000-000000000001"
#define VOLUME2 "b0b0b0b0-0000-4000-8000-000000000002"
#define BASE_DISK "bdbdbdbd-0000-4000-8000-000000000001"
#define SIZE_BASE (260 * (uint64_t)BLOCK + 3 * 512)

/* Store M as the base of VOLUME_ID. */
static struct point *
store_base (const struct model *m, const char *volume_id)
{
  struct lease *lease = NULL;
  struct draft *draft = NULL;
  struct writer *w = NULL;
  struct point *base = NULL;
  struct manifest *manifest = make_manifest (m->size);
  struct fault f = FAULT_INIT;

  strcpy (manifest->vm_id, volume_id);
  strcpy (manifest->disks[0].id, BASE_DISK);
  strcpy (manifest->disks[0].volume_id, volume_id);
  manifest_set (&manifest->disks[0].identity, "generation 0");
  assert_int_equal (lease_take (place, volume_id, "run-b", &lease, NULL), 0);
  assert_int_equal (draft_begin_base (place, lease, "run-b", &draft, NULL), 0);
  assert_int_equal (draft_add_disk (draft, BASE_DISK, m->size, NULL, &w, NULL),
                    0);
  feed_all (m, w);
  assert_int_equal (writer_finish (w, NULL, NULL), 0);
  assert_int_equal (template_open (place, volume_id, &base, &f), -1);
  assert_int_equal (f.code, FAULT_NOTFOUND);
  fault_reset (&f);
  if (draft_publish (draft, manifest, &f) < 0
      || template_open (place, volume_id, &base, &f) < 0)
    fail_msg ("%s", f.text);
  draft_free (draft);
  manifest_free (manifest);
  lease_drop (lease);
  return base;
}

static void
verify_says (const char *name, struct verify_bases *bases, const char *text)
{
  struct verify_options options = { .bases = bases };
  struct verify_report report;
  struct point *point = open_point (name);
  struct fault f = FAULT_INIT;

  options.skip_decode = !have_qemu ();
  verify_point (place, point, &options, &report, &f);
  if (text == NULL && f.code != FAULT_NONE)
    fail_msg ("%s", f.text);
  if (text != NULL
      && (f.code != FAULT_CORRUPT || strstr (f.text, text) == NULL))
    fail_msg ("\"%s\" instead of: %s", f.text, text);
  verify_report_reset (&report);
  point_free (point);
}

/* chainlift-repository(5): mode, and that qemu-img alone reads all of it. */
static void
test_over_a_base (void **state)
{
  struct model below = model_make (SIZE_BASE, NULL);
  struct model full = model_make (SIZE1, &below); /* grown since */
  struct model next = model_make (SIZE2, &full);
  struct point *base = store_base (&below, VOLUME);
  struct verify_bases *bases = verify_bases_new ();
  struct point *point;
  char name1[POINT_NAME_SIZE];
  char name2[POINT_NAME_SIZE];
  char *path = xasprintf ("%s/bases/" VOLUME "/" BASE_DISK ".qcow2", repo);
  struct stat st;

  (void)state;
  assert_true (base->is_base);
  assert_int_equal (stat (path, &st), 0);
  assert_int_equal (st.st_mode & 0777, 0400);
  back_up_over (&full, WHEN, "run-1", NULL, base, name1);
  back_up (&next, WHEN + 1, "run-2", name1, name2);
  check_bytes (name1, &full, 2);
  check_bytes (name2, &next, 3);
  point = open_point (name1);
  assert_int_equal (point->manifest->kind, MANIFEST_FULL);
  assert_string_equal (point->manifest->disks[0].base, VOLUME);
  point_free (point);
  verify_says (name1, NULL, NULL);
  verify_says (name2, NULL, NULL);
  verify_says (name1, bases, NULL);
  verify_says (name1, bases, NULL);
  if (have_qemu ()) {
    check_by_hand (name1, &full);
    check_by_hand (name2, &next);
  }
  verify_bases_free (bases);
  point_free (base);
  free (path);
  model_free (&below);
  model_free (&full);
  model_free (&next);
}

static void
put_bytes (const char *path, off_t at, const void *data, size_t size)
{
  int fd;

  assert_int_equal (chmod (path, 0600), 0);
  fd = open (path, O_RDWR);
  assert_int_equal (pwrite (fd, data, size, at), size);
  close (fd);
}

static void
get_bytes (const char *path, off_t at, void *data, size_t size)
{
  int fd = open (path, O_RDONLY);

  assert_int_equal (pread (fd, data, size, at), size);
  close (fd);
}

/* What lies below is never anything but the base that the manifest names. */
static void
test_damage (void **state)
{
  struct model below = model_make (SIZE_BASE, NULL);
  struct model full = model_make (SIZE1, &below);
  struct model other = model_make (SIZE_BASE, NULL);
  struct point *base = store_base (&below, VOLUME2);
  struct point *again;
  struct verify_bases *bases = verify_bases_new ();
  char *home = xasprintf ("%s/bases/" VOLUME2, repo);
  char *away = xasprintf ("%s/away", folder);
  char *image = xasprintf ("%s/" BASE_DISK ".qcow2", home);
  char *upper;
  char name[POINT_NAME_SIZE];
  uint8_t byte;
  char head[128];
  uint32_t at;
  struct fault f = FAULT_INIT;

  (void)state;
  back_up_over (&full, WHEN + 10, "run-1", NULL, base, name);
  /* A byte of data. */
  get_bytes (image, BLOCK + 7, &byte, 1);
  byte ^= 1;
  put_bytes (image, BLOCK + 7, &byte, 1);
  verify_says (name, bases, "template's base " VOLUME2);
  byte ^= 1;
  put_bytes (image, BLOCK + 7, &byte, 1);
  verify_says (name, bases, "are not what was backed up"); /* remembered */
  verify_says (name, NULL, NULL);
  /* Gone; a link; an empty folder; another base of the same id. */
  assert_int_equal (rename (home, away), 0);
  verify_says (name, NULL, "template's base " VOLUME2);
  assert_int_equal (symlink (away, home), 0);
  verify_says (name, NULL, "template's base " VOLUME2);
  assert_int_equal (template_open (place, VOLUME2, &again, &f), -1);
  assert_int_not_equal (f.code, FAULT_NOTFOUND);
  unlink (home);
  assert_int_equal (mkdir (home, 0700), 0);
  verify_says (name, NULL, "template's base " VOLUME2);
  fault_reset (&f);
  assert_int_equal (template_open (place, VOLUME2, &again, &f), -1);
  assert_int_equal (f.code, FAULT_CORRUPT);
  assert_int_equal (rmdir (home), 0);
  again = store_base (&other, VOLUME2);
  verify_says (name, NULL, "is not the one that disk");
  point_free (again);
  assert_int_equal (fdio_remove_tree (AT_FDCWD, home, NULL), 0);
  assert_int_equal (rename (away, home), 0);
  verify_says (name, NULL, NULL);
  /* A string in the image that leads elsewhere is not followed. */
  upper = xasprintf ("%s/vms/" VM "/%s/" DISK ".qcow2", repo, name);
  get_bytes (upper, 8, head, 16);
  at = get_be32 (head + 4);
  get_bytes (upper, at, head, sizeof head);
  assert_memory_equal (head, "../../../bases/" VOLUME2 "/", 52);
  memcpy (head, "../../../../../", 15);
  put_bytes (upper, at, head, sizeof head);
  verify_says (name, NULL, "backing");
  point_free (base);
  verify_bases_free (bases);
  free (upper);
  free (home);
  free (away);
  free (image);
  model_free (&below);
  model_free (&full);
  model_free (&other);
}

static void
note (const char *volume_id, void *opaque)
{
  char *ids = opaque;

  strcat (strcat (ids, volume_id), " ");
}

static const char *
unused (void)
{
  static char ids[256];

  ids[0] = '\0';
  assert_int_equal (template_each_unused (place, note, ids, NULL), 0);
  return ids;
}

static int
remove_base (const char *volume_id, struct fault *f)
{
  CLEANUP (lease_drop) struct lease *lease = NULL;

  if (lease_take (place, volume_id, "run-x", &lease, f) < 0)
    return -1;
  return template_remove (place, lease, "run-x", f);
}

/* Only what no manifest names goes, and not under a run that may need it. */
static void
test_removal (void **state)
{
  struct model m = model_make (SIZE_BASE, NULL);
  struct point *base = NULL;
  struct lease *lease = NULL;
  struct draft *draft = NULL;
  struct fault f = FAULT_INIT;
  char *vm = xasprintf ("%s/vms/" VM, repo);
  char *away = xasprintf ("%s/away", folder);
  char *home = xasprintf ("%s/bases/" VOLUME, repo);
  char *aside = xasprintf ("%s/bases/" VOLUME ".removed", repo);
  char *manifest;
  struct point_list list;

  (void)state;
  assert_string_equal (unused (), "");
  assert_int_equal (remove_base (VOLUME, &f), -1);
  assert_int_equal (f.code, FAULT_BUSY);
  assert_int_equal (template_open (place, VOLUME, &base, NULL), 0);
  point_free (base);
  /* A manifest that cannot be read may name it. */
  assert_int_equal (point_list (place, VM, &list, NULL), 0);
  assert_int_equal (list.count, 3);
  for (size_t i = 1; i < list.count; i++) {
    char *point = xasprintf ("%s/%s", vm, list.points[i].name);

    assert_int_equal (fdio_remove_tree (AT_FDCWD, point, NULL), 0);
    free (point);
  }
  manifest = xasprintf ("%s/%s/manifest", vm, list.points[0].name);
  point_list_reset (&list);
  put_bytes (manifest, 3, "X", 1);
  assert_string_equal (unused (), "");
  assert_int_equal (rename (vm, away), 0);
  assert_true (strlen (unused ()) == 2 * UUID_SIZE);
  /* Interrupted in the middle. */
  assert_int_equal (rename (home, aside), 0);
  assert_true (template_exists (place, VOLUME));
  assert_true (strlen (unused ()) == 2 * UUID_SIZE);
  assert_int_equal (template_recover (place, VOLUME, NULL), 0);
  assert_int_equal (template_recover (place, VOLUME, NULL), 0);
  assert_int_equal (template_open (place, VOLUME, &base, NULL), 0);
  point_free (base);
  assert_int_equal (rename (home, aside), 0);
  /* A draft may be over it; a lease says that it is at work. */
  assert_int_equal (lease_take (place, VM2, "run-d", &lease, NULL), 0);
  assert_int_equal (draft_begin (place, lease, WHEN, "run-d", &draft, NULL), 0);
  fault_reset (&f);
  assert_int_equal (remove_base (VOLUME, &f), -1);
  assert_int_equal (f.code, FAULT_BUSY);
  assert_int_equal (template_open (place, VOLUME, &base, NULL), 0);
  point_free (base);
  draft_abort (draft);
  draft_free (draft);
  lease_drop (lease);
  assert_int_equal (lease_take (place, VOLUME, "run-d", &lease, NULL), 0);
  fault_reset (&f);
  assert_int_equal (remove_base (VOLUME, &f), -1);
  assert_int_equal (f.code, FAULT_BUSY);
  lease_drop (lease);
  fault_reset (&f);
  if (remove_base (VOLUME, &f) < 0)
    fail_msg ("%s", f.text);
  assert_string_equal (unused (), VOLUME2 " ");
  assert_false (template_exists (place, VOLUME));
  assert_int_equal (remove_base (VOLUME, &f), -1);
  assert_int_equal (f.code, FAULT_NOTFOUND);
  assert_int_equal (remove_base (VOLUME2, NULL), 0);
  /* A draft over a base that has gone is not published. */
  base = store_base (&m, VOLUME);
  assert_int_equal (lease_take (place, VM, "run-g", &lease, NULL), 0);
  assert_int_equal (draft_begin (place, lease, WHEN, "run-g", &draft, NULL), 0);
  {
    struct writer *w;
    struct manifest *mine = make_manifest (SIZE1);

    assert_int_equal (draft_add_disk_over (draft, DISK, SIZE1, base, &w, NULL),
                      0);
    assert_int_equal (writer_finish (w, NULL, NULL), 0);
    assert_int_equal (rename (home, aside), 0);
    fault_reset (&f);
    assert_int_equal (draft_publish (draft, mine, &f), -1);
    assert_non_null (strstr (f.text, VOLUME));
    assert_int_equal (rename (aside, home), 0);
    assert_int_equal (draft_publish (draft, mine, NULL), 0);
    manifest_free (mine);
  }
  draft_free (draft);
  lease_drop (lease);
  point_free (base);
  free (vm);
  free (away);
  free (home);
  free (aside);
  free (manifest);
  model_free (&m);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_over_a_base),
    cmocka_unit_test (test_damage),
    cmocka_unit_test (test_removal),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
