/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/fault.h"
#include "engine/domain.h"
#include "job/target.h"
#include "repo/manifest.h"
#include "tests/unit/unit.h"

#define MIB (UINT64_C (1) << 20)
#define GIB (UINT64_C (1) << 30)

enum { RAW, COW };
enum { PREALLOCATED, THIN };

static char *luns[] = { (char *)"36001405f" };
static struct domain files
    = { .name = (char *)"files", .kind = DOMAIN_NFS, .format = 5 };
static struct domain blocks = { .name = (char *)"blocks",
                                .kind = DOMAIN_ISCSI,
                                .format = 4,
                                .luns = luns,
                                .lun_count = 1 };
static struct domain old_blocks = { .name = (char *)"old",
                                    .kind = DOMAIN_FCP,
                                    .format = 3,
                                    .luns = luns,
                                    .lun_count = 1 };

/* Does the engine take it?  (ImagesHandler: checkImageConfiguration) */
static bool
is_legal (const struct target *t)
{
  if (!t->cow)
    return !t->incremental && !(t->block && t->sparse);
  return t->sparse || t->incremental;
}

/* All forms on all domains: what comes out, and that the engine takes it. */
static void
test_forms (void **state)
{
  static const struct {
    int was, was_thin;
    enum target_format format;
    struct domain *domain;
    int is, is_thin;
    const char *note;
  } rows[] = {
    { RAW, THIN, TARGET_AS_RECORDED, &files, RAW, THIN, "" },
    { RAW, PREALLOCATED, TARGET_AS_RECORDED, &files, RAW, PREALLOCATED, "" },
    { COW, THIN, TARGET_AS_RECORDED, &files, COW, THIN, "" },
    { COW, PREALLOCATED, TARGET_AS_RECORDED, &files, COW, PREALLOCATED, "" },
    { RAW, THIN, TARGET_QCOW2, &files, COW, THIN, "" },
    { RAW, PREALLOCATED, TARGET_QCOW2, &files, COW, THIN, "preallocated" },
    { COW, THIN, TARGET_RAW, &files, RAW, THIN, "" },
    { COW, PREALLOCATED, TARGET_RAW, &files, RAW, PREALLOCATED, "" },
    { RAW, THIN, TARGET_AS_RECORDED, &blocks, COW, THIN, "was raw" },
    { RAW, THIN, TARGET_RAW, &blocks, RAW, PREALLOCATED, "was thin" },
    { RAW, THIN, TARGET_QCOW2, &blocks, COW, THIN, "" },
    { RAW, PREALLOCATED, TARGET_AS_RECORDED, &blocks, RAW, PREALLOCATED, "" },
    { RAW, PREALLOCATED, TARGET_QCOW2, &blocks, COW, THIN, "preallocated" },
    { COW, THIN, TARGET_AS_RECORDED, &blocks, COW, THIN, "" },
    { COW, THIN, TARGET_RAW, &blocks, RAW, PREALLOCATED, "was thin" },
    { COW, PREALLOCATED, TARGET_AS_RECORDED, &blocks, COW, PREALLOCATED, "" },
    { COW, PREALLOCATED, TARGET_RAW, &blocks, RAW, PREALLOCATED, "" },
  };
  struct target t;

  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct manifest_disk from
        = { .format = rows[i].was == COW ? MANIFEST_COW : MANIFEST_RAW,
            .sparse = rows[i].was_thin == THIN };

    assert_int_equal (
        target_choose (&from, rows[i].domain, rows[i].format, &t, NULL), 0);
    if (t.cow != (rows[i].is == COW) || t.sparse != (rows[i].is_thin == THIN)
        || t.block != (rows[i].domain == &blocks)
        || (rows[i].note[0] == '\0') != (t.note[0] == '\0')
        || strstr (t.note, rows[i].note) == NULL || !is_legal (&t))
      fail_msg ("row %zu: %s %s, note \"%s\"", i, t.cow ? "qcow2" : "raw",
                t.sparse ? "thin" : "preallocated", t.note);
  }
}

static void
test_refused (void **state)
{
  struct manifest_disk from = { .format = MANIFEST_RAW };
  struct domain backup = files;
  struct domain ancient = blocks;
  struct domain blind = blocks;
  struct domain other = { .name = (char *)"ceph", .kind = DOMAIN_OTHER };
  struct domain *const rows[] = { &backup, &ancient, &blind, &other };
  struct target t;

  (void)state;
  backup.is_backup = true;
  ancient.format = 2;
  blind.lun_count = 0;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct fault f = FAULT_INIT;

    assert_int_equal (
        target_choose (&from, rows[i], TARGET_AS_RECORDED, &t, &f), -1);
    assert_int_equal (f.code, FAULT_USAGE);
    assert_non_null (strstr (f.text, rows[i]->name));
  }
  assert_int_equal (target_choose (&from, &old_blocks, TARGET_QCOW2, &t, NULL),
                    0);
  assert_int_equal (t.qcow2_version, 2);
}

static void
test_sizes (void **state)
{
  static const struct {
    bool block, cow, sparse;
    uint64_t virtual_size, image_size, initial_size, room;
  } rows[] = {
    { false, false, true, GIB, GIB, 0, 0 },
    { false, true, true, GIB, 10 * MIB, 0, 0 },
    { false, false, false, GIB, GIB, 0, GIB },
    { true, false, false, GIB, GIB, 0, GIB },
    { true, false, false, GIB + 512, GIB + 512, 0, GIB + 128 * MIB },
    /* 128 MiB hold what is a tenth smaller */
    { true, true, true, GIB, 116 * MIB, 116 * MIB, 128 * MIB },
    { true, true, true, GIB, 117 * MIB, 117 * MIB, 256 * MIB },
    { true, true, true, GIB, 393216, 393216, 128 * MIB },
    /* a full disk: never more than vdsm's largest volume */
    { true, true, true, GIB, GIB + 512 * 1024, GIB + 512 * 1024, 1152 * MIB },
    { true, true, true, 64 * MIB, 200 * MIB, 128 * MIB, 256 * MIB },
    { true, true, false, GIB, 10 * MIB, 0, 1152 * MIB },
    { true, true, false, GIB, GIB, 0, 1152 * MIB },
    /* no tables fit behind it: it becomes a thin one */
    { true, true, false, GIB, GIB + 65536, GIB + 65536, 1152 * MIB },
  };

  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct target t = { .block = rows[i].block,
                        .cow = rows[i].cow,
                        .sparse = rows[i].sparse };

    target_measure (&t, rows[i].virtual_size, rows[i].image_size);
    assert_int_equal (t.image_size, rows[i].image_size);
    if (t.initial_size != rows[i].initial_size || t.room != rows[i].room)
      fail_msg ("row %zu: initial %llu, room %llu", i,
                (unsigned long long)t.initial_size, (unsigned long long)t.room);
  }
}

/* CAP= of a raw logical volume is its size, whatever the engine has heard. */
static void
test_capacity (void **state)
{
  struct target t = { .block = true };

  (void)state;
  assert_int_equal (target_capacity (&t, GIB + 512), GIB + 128 * MIB);
  assert_int_equal (target_capacity (&t, GIB), GIB);
  t.cow = true;
  assert_int_equal (target_capacity (&t, GIB + 512), GIB + 512);
  t = (struct target){ .block = false };
  assert_int_equal (target_capacity (&t, GIB + 512), GIB + 512);
}

static void
test_fits (void **state)
{
  static const struct {
    bool block;
    bool cow;
    uint64_t told;
    uint64_t found;
    bool fits;
  } rows[] = {
    { false, false, GIB + 512, GIB + 512, true },
    { false, false, GIB + 512, GIB + 4096, true },
    { false, false, GIB + 512, GIB, false },
    { false, false, GIB + 512, GIB + 1024, false },
    { false, false, GIB + 512, GIB + 8192, false },
    { false, false, GIB, GIB + 4096, false },
    { false, true, GIB + 512, GIB + 4096, true },
    { true, true, GIB + 512, GIB + 512, true },
    { true, true, GIB + 512, GIB + 4096, true },
    { true, true, GIB + 512, GIB + 128 * MIB, false },
    { true, false, GIB + 512, GIB + 128 * MIB, true },
    { true, false, GIB + 512, GIB + 4096, false },
    { true, false, GIB, GIB, true },
    { true, false, GIB, GIB + 128 * MIB, false },
  };

  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct target t = { .block = rows[i].block, .cow = rows[i].cow };

    if (target_fits (&t, rows[i].told, rows[i].found) != rows[i].fits)
      fail_msg ("row %zu", i);
  }
}

static void
test_room (void **state)
{
  struct domain domain = blocks;
  struct fault f = FAULT_INIT;

  (void)state;
  domain.available = 3 * GIB; /* 3.999 may be */
  assert_int_equal (target_check_room (&domain, 4 * GIB - 1, &f), 0);
  assert_int_equal (target_check_room (&domain, 4 * GIB, &f), -1);
  assert_int_equal (f.code, FAULT_SPACE);
  assert_non_null (strstr (f.text, "3 GiB available, the new disks need 4"));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_forms), cmocka_unit_test (test_refused),
    cmocka_unit_test (test_sizes), cmocka_unit_test (test_capacity),
    cmocka_unit_test (test_fits),  cmocka_unit_test (test_room),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
