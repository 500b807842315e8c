/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "job/reap.h"
#include "job/verdict.h"
#include "tests/unit/unit.h"

struct row {
  struct verdict_facts facts;
  enum verdict verdict;
  const char *reason; /* a part of it; "": none at all */
};

static void
check (const struct row *rows, size_t count, enum verdict_kind kind)
{
  for (size_t i = 0; i < count; i++) {
    struct verdict_facts facts = rows[i].facts;
    const char *reason = NULL;
    enum verdict got;

    facts.kind = kind;
    if (facts.status == NULL)
      facts.status = kind == VERDICT_VM ? "down" : "ok";
    got = verdict_of (&facts, &reason);
    if (got != rows[i].verdict || strstr (reason, rows[i].reason) == NULL
        || (rows[i].reason[0] == '\0') != (reason[0] == '\0'))
      fail_msg ("%s, row %zu: %d \"%s\"", verdict_kind_name (kind), i, (int)got,
                reason);
  }
}

/* What holds for objects of every kind. */
static void
test_all (void **state)
{
  static const struct row rows[] = {
    { { .lease = VERDICT_LEASE_OURS }, VERDICT_REMOVE, "" },
    { { .lease = VERDICT_LEASE_HELD }, VERDICT_BUSY, "a run is at work" },
    { { .lease = VERDICT_LEASE_AWAY }, VERDICT_LEAVE, "another machine" },
    { { .lease = VERDICT_LEASE_UNKNOWN }, VERDICT_LEAVE, "no journal" },
    { { .foreign = true }, VERDICT_FOREIGN, "another repository" },
    { { .foreign = true, .lease = VERDICT_LEASE_HELD },
      VERDICT_FOREIGN,
      "another repository" },
    { { .gone = true }, VERDICT_GONE, "" },
    { { .gone = true, .lease = VERDICT_LEASE_AWAY }, VERDICT_GONE, "" },
    { { .gone = true, .foreign = true }, VERDICT_GONE, "" },
  };
  static const enum verdict_kind kinds[] = {
    VERDICT_ATTACHMENT, VERDICT_SNAPSHOT, VERDICT_VM,      VERDICT_DISK,
    VERDICT_DRAFT,      VERDICT_BASE,     VERDICT_JOURNAL, VERDICT_VOLUMES
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (kinds); i++)
    check (rows, COUNT_OF (rows), kinds[i]);
}

static void
test_snapshots (void **state)
{
  static const struct row rows[] = {
    { { .needed = true }, VERDICT_KEPT, "" },
    { { .needed = true, .lease = VERDICT_LEASE_HELD }, VERDICT_KEPT, "" },
    { { .needed = true, .status = "locked" }, VERDICT_KEPT, "" },
    { { .needed = true, .foreign = true }, VERDICT_FOREIGN, "another" },
    { { .needed = true, .gone = true }, VERDICT_GONE, "" },
    { { .on_hold = true }, VERDICT_LEAVE, "left on purpose" },
    { { .status = "locked" }, VERDICT_LEAVE, "it is locked" },
    { { .status = "in_preview" }, VERDICT_LEAVE, "in preview" },
    { { .vm_locked = true }, VERDICT_LEAVE, "its VM is locked" },
    { { .after_failure = true }, VERDICT_LEAVE, "another snapshot" },
    { { .on_hold = true, .lease = VERDICT_LEASE_HELD }, VERDICT_BUSY, "run" },
  };

  (void)state;
  check (rows, COUNT_OF (rows), VERDICT_SNAPSHOT);
}

static void
test_disks (void **state)
{
  static const struct row rows[] = {
    { { .attached = true }, VERDICT_LEAVE, "attached to a VM" },
    { { .status = "locked" }, VERDICT_LEAVE, "it is locked" },
    { { .status = "locked", .pinned = true }, VERDICT_REMOVE, "" },
    { { .status = "locked", .pinned = true, .helper = VERDICT_HELPER_THERE },
      VERDICT_LEAVE,
      "may still write" },
    { { .status = "illegal" }, VERDICT_REMOVE, "" },
    { { .helper = VERDICT_HELPER_THERE }, VERDICT_LEAVE, "may still write" },
    { { .helper = VERDICT_HELPER_HUNG }, VERDICT_LEAVE, "hangs in the" },
    { { .helper = VERDICT_HELPER_UNSURE }, VERDICT_LEAVE, "does not tell" },
    { { .mapped = true }, VERDICT_LEAVE, "volume active" },
    { { .helper = VERDICT_HELPER_UNSURE, .lease = VERDICT_LEASE_HELD },
      VERDICT_BUSY,
      "run" },
  };

  (void)state;
  check (rows, COUNT_OF (rows), VERDICT_DISK);
}

static void
test_vms (void **state)
{
  static const struct row rows[] = {
    { { .status = "image_locked" }, VERDICT_LEAVE, "it is locked" },
    { { .status = "up" }, VERDICT_LEAVE, "it is not down" },
    { { .status = "paused" }, VERDICT_LEAVE, "it is not down" },
    { { .status = "unknown" }, VERDICT_LEAVE, "it is not down" },
    { { .renamed = true }, VERDICT_LEAVE, "renamed" },
    { { .is_protected = true }, VERDICT_LEAVE, "protected" },
    { { .other_disk = true }, VERDICT_LEAVE, "did not make" },
  };

  (void)state;
  check (rows, COUNT_OF (rows), VERDICT_VM);
}

/* A helper is told, never ended. */
static void
test_helpers (void **state)
{
  static const struct row rows[] = {
    { { .helper = VERDICT_HELPER_THERE }, VERDICT_LEAVE, "ends by itself" },
    { { .helper = VERDICT_HELPER_HUNG }, VERDICT_LEAVE, "hangs" },
    { { .helper = VERDICT_HELPER_THERE, .lease = VERDICT_LEASE_HELD },
      VERDICT_BUSY,
      "a run" },
  };

  (void)state;
  check (rows, COUNT_OF (rows), VERDICT_HELPER);
}

/* What a helper says that became of logical volumes. */
static void
test_reports (void **state)
{
  static const struct {
    const char *report;
    struct reap_sum sum;
  } rows[] = {
    { "", { 0, 0, 0 } },
    { "off SD/A\noff SD/B\n", { 2, 0, 0 } },
    { "gone SD/A: removed elsewhere\nused SD/B: vdsm\n", { 1, 1, 0 } },
    { "left SD/A: in use by process 7\noff SD/B", { 1, 0, 1 } },
    /* never taken for good news */
    { "offline SD/A\n", { 0, 0, 1 } },
    { "off\n", { 0, 0, 1 } },
    { "\n\nwhat\n", { 0, 0, 1 } },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    struct reap_sum sum;

    reap_count (rows[i].report, &sum);
    assert_int_equal (sum.off, rows[i].sum.off);
    assert_int_equal (sum.used, rows[i].sum.used);
    assert_int_equal (sum.left, rows[i].sum.left);
  }
}

/* Of a repository that is lost. */
static void
test_adopt (void **state)
{
  static const struct {
    struct verdict_adopt facts;
    const char *reason;
  } rows[] = {
    { { .age_known = true, .age_s = VERDICT_ADOPT_AGE_S }, "" },
    { { .age_known = true, .age_s = VERDICT_ADOPT_AGE_S - 1 }, "younger" },
    { { .age_known = true, .age_s = -5 }, "younger" },
    { { .age_known = true, .age_s = INT64_MAX }, "" },
    { { .age_s = INT64_MAX }, "not known" },
    { { .locked = true, .age_known = true, .age_s = INT64_MAX }, "locked" },
    { { .used = true, .age_known = true, .age_s = INT64_MAX }, "in use" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    const char *reason = verdict_adopt_reason (&rows[i].facts);

    assert_non_null (strstr (reason, rows[i].reason));
    assert_int_equal (reason[0] == '\0', rows[i].reason[0] == '\0');
  }
}

int
main (void)
{
  static const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_all),     cmocka_unit_test (test_snapshots),
    cmocka_unit_test (test_disks),   cmocka_unit_test (test_vms),
    cmocka_unit_test (test_helpers), cmocka_unit_test (test_reports),
    cmocka_unit_test (test_adopt),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
