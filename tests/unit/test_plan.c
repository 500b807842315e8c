/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>

#include "engine/cluster.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/vm.h"
#include "job/plan.h"
#include "job/quota.h"
#include "job/tag.h"
#include "tests/unit/unit.h"

#define CENTER "00000000-0000-0000-0000-0000000000c1"
#define CLUSTER "00000000-0000-0000-0000-0000000000c2"
#define DOMAIN_FILE "00000000-0000-0000-0000-0000000000d1"
#define DOMAIN_BLOCK "00000000-0000-0000-0000-0000000000d2"
#define DOMAIN_DOWN "00000000-0000-0000-0000-0000000000d3"
#define HOST_SPM "00000000-0000-0000-0000-000000000001"
#define HOST_TWO "00000000-0000-0000-0000-000000000002"
#define HOST_OFF "00000000-0000-0000-0000-000000000003"

static struct cluster cluster_items[] = {
  { .id = CLUSTER, .name = (char *)"Default", .center_id = CENTER },
};
static struct cluster_list clusters = { cluster_items, 1 };
static struct domain domain_items[] = {
  { .id = DOMAIN_FILE,
    .name = (char *)"files",
    .kind = DOMAIN_NFS,
    .status = "active",
    .center_id = CENTER },
  { .id = DOMAIN_BLOCK,
    .name = (char *)"blocks",
    .kind = DOMAIN_ISCSI,
    .status = "active",
    .center_id = CENTER },
  { .id = DOMAIN_DOWN,
    .name = (char *)"down",
    .kind = DOMAIN_NFS,
    .status = "maintenance",
    .center_id = CENTER },
};
static struct domain_list domains = { domain_items, 3 };
static struct host host_items[] = {
  { .id = HOST_SPM,
    .name = (char *)"h1",
    .status = "up",
    .cluster_id = CLUSTER,
    .is_spm = true },
  { .id = HOST_TWO,
    .name = (char *)"h2",
    .status = "up",
    .cluster_id = CLUSTER },
  { .id = HOST_OFF,
    .name = (char *)"h3",
    .status = "maintenance",
    .cluster_id = CLUSTER },
};
static struct host_list hosts = { host_items, 3 };

/* A second VM, which has the disk "snapshot" too. */
static struct vm_disk other_disk
    = { .disk = { .id = "00000000-0000-0000-0000-0000000000e1" } };
static struct vm other_vm = { .id = HOST_OFF, .disks = &other_disk };
static struct vm_list vms = { &other_vm, 1 };

static struct vm_disk
good_disk (void)
{
  struct vm_disk d = { .active = true,
                       .disk = { .id = "00000000-0000-0000-0000-0000000000e1",
                                 .alias = (char *)"d",
                                 .status = "ok",
                                 .content_type = "data",
                                 .storage_type = "image",
                                 .domain_ids = { DOMAIN_FILE },
                                 .domain_count = 1 } };

  return d;
}

static struct vm
running_vm (struct vm_disk *disks, size_t count)
{
  struct vm vm = { .id = "00000000-0000-0000-0000-0000000000f1",
                   .name = (char *)"v",
                   .status = "up",
                   .host_id = HOST_SPM,
                   .cluster_id = CLUSTER,
                   .disks = disks,
                   .disk_count = count };

  return vm;
}

static void
plan (const struct vm *vm, bool has_point, struct plan_vm *out)
{
  struct plan_input input = {
    .hosts = &hosts, .clusters = &clusters, .domains = &domains, .vms = &vms
  };

  plan_make (&input, vm, has_point, out);
}

static void
test_disks (void **state)
{
  static const struct {
    const char *what;
    const char *value;
    bool take;
    const char *reason;
  } rows[] = {
    { "", "", true, "full: no point yet" },
    { "storage", "lun", false, "" },
    { "content", "ovf_store", false, "" },
    { "status", "illegal", false, "its status is illegal in the engine" },
    { "shareable", "", false, "" },
    { "inactive", "", false,
      "not plugged while the VM runs: it has no part in the snapshot" },
    { "domain", DOMAIN_BLOCK, false,
      "storage domain blocks is of type iscsi, which is not supported" },
    { "domain", DOMAIN_DOWN, false, "storage domain down is maintenance" },
    { "domain", HOST_TWO, false, "its storage domain is not known" },
    { "snapshot", HOST_TWO, true, "full: no point yet" },
    { "foreign", HOST_TWO, false, "a snapshot of another VM's disk" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    struct vm_disk d = good_disk ();
    struct vm vm = running_vm (&d, 1);
    struct plan_vm p;
    const char *what = rows[i].what;

    if (strcmp (what, "storage") == 0)
      snprintf (d.disk.storage_type, sizeof d.disk.storage_type, "%s",
                rows[i].value);
    if (strcmp (what, "content") == 0)
      snprintf (d.disk.content_type, sizeof d.disk.content_type, "%s",
                rows[i].value);
    if (strcmp (what, "status") == 0)
      snprintf (d.disk.status, sizeof d.disk.status, "%s", rows[i].value);
    if (strcmp (what, "domain") == 0)
      snprintf (d.disk.domain_ids[0], UUID_SIZE, "%s", rows[i].value);
    other_vm.disk_count = strcmp (what, "foreign") == 0;
    if (strcmp (what, "snapshot") == 0 || other_vm.disk_count > 0)
      snprintf (d.snapshot_id, UUID_SIZE, "%s", rows[i].value);
    d.disk.shareable = strcmp (what, "shareable") == 0;
    d.active = strcmp (what, "inactive") != 0;
    plan (&vm, false, &p);
    assert_int_equal (p.disks[0].take, rows[i].take);
    assert_int_equal (p.take, rows[i].take);
    assert_true (p.disks[0].reason[0] != '\0');
    if (rows[i].reason[0] != '\0')
      assert_string_equal (p.disks[0].reason, rows[i].reason);
    plan_reset (&p);
  }
}

static void
test_vms (void **state)
{
  static const struct {
    const char *status;
    const char *host;
    bool illegal;
    bool hosted_engine;
    bool locked;
    bool take;
    enum fault_code code;
    const char *on; /* host */
  } rows[] = {
    { "up", HOST_SPM, false, false, false, true, FAULT_NONE, HOST_SPM },
    { "up", HOST_TWO, false, false, false, true, FAULT_NONE, HOST_TWO },
    { "paused", HOST_TWO, false, false, false, true, FAULT_NONE, HOST_TWO },
    { "down", "", false, false, false, true, FAULT_NONE, HOST_TWO },
    { "up", HOST_OFF, false, false, false, false, FAULT_NET, NULL },
    { "migrating", HOST_TWO, false, false, false, false, FAULT_BUSY, NULL },
    { "image_locked", "", false, false, false, false, FAULT_BUSY, NULL },
    { "suspended", "", false, false, false, false, FAULT_BUSY, NULL },
    { "up", HOST_TWO, true, false, false, false, FAULT_BUSY, NULL },
    { "up", HOST_TWO, false, true, false, false, FAULT_NONE, NULL },
    { "up", HOST_TWO, false, false, true, false, FAULT_BUSY, NULL },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    struct vm_disk d = good_disk ();
    struct vm vm = running_vm (&d, 1);
    struct plan_vm p;

    snprintf (vm.status, sizeof vm.status, "%s", rows[i].status);
    snprintf (vm.host_id, sizeof vm.host_id, "%s", rows[i].host);
    vm.has_illegal_images = rows[i].illegal;
    vm.hosted_engine = rows[i].hosted_engine;
    if (rows[i].locked)
      snprintf (d.disk.status, sizeof d.disk.status, "locked");
    plan (&vm, true, &p);
    assert_int_equal (p.take, rows[i].take);
    assert_int_equal (p.code, rows[i].code);
    if (rows[i].take)
      assert_string_equal (p.host->id, rows[i].on);
    else
      assert_true (p.reason[0] != '\0');
    plan_reset (&p);
  }
}

static void
test_quota (void **state)
{
  struct quota *q = quota_new (0);

  (void)state;
  assert_int_equal (quota_take (q, 1 << 30, 1000), 0);
  quota_free (q);
  q = quota_new (1000);
  /* One second may be used at once, then each byte has to be waited for. */
  assert_int_equal (quota_take (q, 1000, 100000), 0);
  assert_int_equal (quota_take (q, 500, 100000), 500);
  assert_int_equal (quota_take (q, 500, 100500), 500);
  assert_int_equal (quota_take (q, 1000, 200000), 0);
  quota_free (q);
}

static void
test_tag (void **state)
{
  static const struct {
    const char *text;
    bool ours;
  } rows[] = {
    { "chainlift:" CENTER ":0123456789ab backup by chainlift", true },
    { "chainlift:" CENTER ":0123456789ab", true },
    { "chainlift:" CENTER ":0123456789abc", false },
    { "chainlift:" CENTER ":0123456789a", false },
    { "chainlift:" CENTER, false },
    { "chainlift:", false },
    { "chainlift: my own snapshot", false },
    { "Chainlift:" CENTER ":0123456789ab", false },
    { "", false },
  };
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    assert_int_equal (tag_parse (rows[i].text, repository, run), rows[i].ours);
    if (!rows[i].ours)
      continue;
    assert_string_equal (repository, CENTER);
    assert_string_equal (run, "0123456789ab");
  }
}

int
main (void)
{
  static const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_disks),
    cmocka_unit_test (test_vms),
    cmocka_unit_test (test_quota),
    cmocka_unit_test (test_tag),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
