/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "engine/cluster.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "job/identity.h"
#include "job/plan.h"
#include "job/quota.h"
#include "job/tag.h"
#include "job/volgroup.h"
#include "job/template_store.h"
#include "repo/manifest.h"
#include "repo/point.h"
#include "repo/reader.h"
#include "tests/unit/unit.h"
#include "wire/group.h"

#define CENTER "00000000-0000-0000-0000-0000000000c1"
#define CLUSTER "00000000-0000-0000-0000-0000000000c2"
#define DOMAIN_FILE "00000000-0000-0000-0000-0000000000d1"
#define DOMAIN_BLOCK "00000000-0000-0000-0000-0000000000d2"
#define DOMAIN_BARE "00000000-0000-0000-0000-0000000000d4"
#define DOMAIN_DOWN "00000000-0000-0000-0000-0000000000d3"
#define HOST_SPM "00000000-0000-0000-0000-000000000001"
#define HOST_TWO "00000000-0000-0000-0000-000000000002"
#define HOST_OFF "00000000-0000-0000-0000-000000000003"

static struct cluster cluster_items[] = {
  { .id = CLUSTER, .name = (char *)"Default", .center_id = CENTER },
};
static struct cluster_list clusters = { cluster_items, 1 };
static char *luns[] = { (char *)"360014055f1a2b3c4", (char *)"3600b" };
static struct domain domain_items[] = {
  { .id = DOMAIN_FILE,
    .name = (char *)"files",
    .kind = DOMAIN_NFS,
    .status = "active",
    .center_id = CENTER },
  { .id = DOMAIN_BLOCK,
    .name = (char *)"blocks",
    .kind = DOMAIN_ISCSI,
    .format = 5,
    .status = "active",
    .luns = luns,
    .lun_count = 2,
    .center_id = CENTER },
  { .id = DOMAIN_BARE,
    .name = (char *)"bare",
    .kind = DOMAIN_FCP,
    .format = 5,
    .status = "active",
    .center_id = CENTER },
  { .id = DOMAIN_DOWN,
    .name = (char *)"down",
    .kind = DOMAIN_NFS,
    .status = "maintenance",
    .center_id = CENTER },
};
static struct domain_list domains = { domain_items, 4 };
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
plan (const struct vm *vm, struct plan_vm *out)
{
  struct plan_input input = {
    .hosts = &hosts, .clusters = &clusters, .domains = &domains, .vms = &vms
  };
  struct plan_base base = { .keep = true };

  plan_make (&input, &base, vm, out);
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
    { "domain", DOMAIN_BLOCK, true, "full: no point yet" },
    { "domain", DOMAIN_BARE, false,
      "storage domain bare (fcp): the engine tells none of its LUNs: the user "
      "needs an administrator's role" },
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
    plan (&vm, &p);
    assert_int_equal (p.disks[0].take, rows[i].take);
    assert_int_equal (p.take, rows[i].take);
    assert_true (p.disks[0].reason[0] != '\0');
    if (rows[i].reason[0] != '\0')
      assert_string_equal (p.disks[0].reason, rows[i].reason);
    plan_reset (&p);
  }
}

static void
test_volgroup (void **state)
{
  static char *odd[] = { (char *)"360a", (char *)"../x" };
  static char *many[DOMAIN_LUNS_MAX + 1];
  static const struct {
    enum domain_kind kind;
    unsigned format;
    char **luns;
    size_t count;
    const char *refusal;
  } rows[] = {
    { DOMAIN_ISCSI, 5, luns, 2, NULL },
    { DOMAIN_FCP, 3, luns, 1, NULL },
    { DOMAIN_ISCSI, 2, luns, 2, "its format is not v3, v4 or v5" },
    { DOMAIN_ISCSI, 6, luns, 2, "its format is not v3, v4 or v5" },
    { DOMAIN_ISCSI, 0, luns, 2, "its format is not v3, v4 or v5" },
    { DOMAIN_ISCSI, 5, odd, 2,
      "the id of one of its LUNs cannot be a name of multipath" },
    { DOMAIN_ISCSI, 5, many, DOMAIN_LUNS_MAX + 1, "it has more than 128 LUNs" },
    { DOMAIN_NFS, 0, NULL, 0, NULL },
    { DOMAIN_OTHER, 5, luns, 2, "a host has no volumes of its type" },
  };
  static const struct {
    uint64_t told;
    uint64_t found;
    bool fits;
  } sizes[] = {
    { VOLGROUP_EXTENT, VOLGROUP_EXTENT, true },
    { VOLGROUP_EXTENT, 2 * VOLGROUP_EXTENT, false },
    { VOLGROUP_EXTENT + 512, VOLGROUP_EXTENT + 512, true },
    { VOLGROUP_EXTENT + 512, 2 * VOLGROUP_EXTENT, true },
    { VOLGROUP_EXTENT + 512, VOLGROUP_EXTENT, false },
    { VOLGROUP_EXTENT + 512, VOLGROUP_EXTENT + 4096, true },
    { VOLGROUP_EXTENT + 512, VOLGROUP_EXTENT + 1024, false },
    { VOLGROUP_EXTENT + 512, VOLGROUP_EXTENT + 8192, false },
    { VOLGROUP_EXTENT + 4096, VOLGROUP_EXTENT + 8192, false },
    { VOLGROUP_EXTENT + 4097, VOLGROUP_EXTENT + 8192, true },
    { VOLGROUP_EXTENT + 4096, VOLGROUP_EXTENT + 512, false },
    { VOLGROUP_EXTENT, 0, false },
    { UINT64_MAX, 0, false },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (many); i++)
    many[i] = luns[0];
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    struct domain d = { .kind = rows[i].kind,
                        .format = rows[i].format,
                        .center_id = CENTER,
                        .luns = rows[i].luns,
                        .lun_count = rows[i].count };
    const char *why = volgroup_refusal (&d);
    struct group_spec g;

    if (rows[i].refusal != NULL) {
      assert_string_equal (why, rows[i].refusal);
      continue;
    }
    assert_null (why);
    if (!domain_is_block (&d))
      continue;
    volgroup_fill (&d, &g);
    assert_int_equal (g.version, rows[i].format);
    assert_int_equal (g.lun_count, rows[i].count);
    assert_string_equal (g.pool, CENTER);
    assert_string_equal (g.luns[rows[i].count - 1].id, luns[rows[i].count - 1]);
    group_reset (&g);
  }
  for (size_t i = 0; i < COUNT_OF (sizes); i++)
    assert_int_equal (volgroup_size_fits (sizes[i].told, sizes[i].found),
                      sizes[i].fits);
}

static void
test_identity (void **state)
{
  static const struct {
    const char *was;
    const char *now;
    const char *words;
  } rows[] = {
    { "", "", "" },
    { "domain A\nlayer 0 volume V\n", "domain A\nlayer 0 volume V\n", "" },
    { "domain A\nlayer 0 volume V\nlayer 0 lv X\n",
      "domain A\nlayer 0 volume V\nlayer 0 lv Y\n",
      "volume V: its logical volume was removed and made anew (was X, is Y)" },
    { "group G\nlayer 10 volume V\nlayer 10 ranges a:0-1 b:2-3\n",
      "group G\nlayer 10 volume V\nlayer 10 ranges a:0-1\n",
      "volume V: its logical volume lies on other extents (was a:0-1 b:2-3, "
      "is a:0-1)" },
    { "layer 0 volume V\nlayer 0 size 1\nlayer 1 volume W\nlayer 1 size 2\n",
      "layer 0 volume V\nlayer 0 size 1\nlayer 1 volume W\nlayer 1 size 3\n",
      "volume W: its size changed (was 2, is 3)" },
    { "group G\n", "group H\n",
      "its volume group was made anew (was G, is H)" },
    { "layer 0 volume V\nlayer 0 news 1\n", "layer 0 volume V\n",
      "volume V: it changed (was 1, is )" },
    { "domain A\n", "domain A\nlayer 0 volume V\n",
      "there is more than before" },
    { "size", "layer 7", "its size changed (was , is )" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    char words[IDENTITY_WORDS_MAX];

    identity_differs (rows[i].was, rows[i].now, words);
    assert_string_equal (words, rows[i].words);
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
    plan (&vm, &p);
    assert_int_equal (p.take, rows[i].take);
    assert_int_equal (p.code, rows[i].code);
    if (rows[i].take)
      assert_string_equal (p.host->id, rows[i].on);
    else
      assert_true (p.reason[0] != '\0');
    plan_reset (&p);
  }
}

/* The guard VM is no VM to back up, takes no disk from another one, and serves
   its own data center only. */
static void
test_guard (void **state)
{
  static const struct {
    const char *what;
    bool take;
    enum fault_code code;
    const char *reason;
  } rows[] = {
    { "", true, FAULT_NONE, "" },
    { "holds", true, FAULT_NONE, "" },
    { "itself", false, FAULT_NONE, "it is the guard VM (snapshot.guard_vm)" },
    { "elsewhere", false, FAULT_CONF,
      "it is in another data center than the guard VM keeper: back it up by a "
      "configuration with a guard VM there" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    const char *what = rows[i].what;
    struct vm_disk d = good_disk ();
    struct vm vm = running_vm (&d, 1);
    struct plan_input input = { .hosts = &hosts,
                                .clusters = &clusters,
                                .domains = &domains,
                                .vms = &vms,
                                .guard = &other_vm };
    struct plan_base base = { .keep = true };
    struct plan_vm p;

    other_vm.name = (char *)"keeper";
    other_vm.disk_count = strcmp (what, "holds") == 0;
    snprintf (other_vm.cluster_id, UUID_SIZE, "%s",
              strcmp (what, "elsewhere") == 0 ? HOST_TWO : CLUSTER);
    /* The engine may name a snapshot for the VM's own disk too. */
    snprintf (d.snapshot_id, UUID_SIZE, "%s", HOST_TWO);
    if (strcmp (what, "itself") == 0)
      input.guard = &vm;
    plan_make (&input, &base, &vm, &p);
    assert_int_equal (p.take, rows[i].take);
    assert_int_equal (p.code, rows[i].code);
    assert_string_equal (p.reason, rows[i].reason);
    assert_int_equal (p.disks[0].take, true);
    plan_reset (&p);
    other_vm.disk_count = 0;
  }
}

#define DISK_ID "00000000-0000-0000-0000-0000000000e1"
#define OURS "chainlift:" CENTER ":0123456789ab backup by chainlift"
#define GIB (UINT64_C (1) << 30)

/* Everything is right for an increment but what a row says. */
static void
test_increment (void **state)
{
  static const struct {
    const char *what;
    const char *reason;
  } rows[] = {
    { "", "increment on 20261120T010000Z" },
    { "grown", "increment on 20261120T010000Z" },
    { "engine not known", "increment on 20261120T010000Z" },
    { "engine was not known", "increment on 20261120T010000Z" },
    { "full", "full: asked for" },
    { "no point", "full: no point yet" },
    { "not kept", "full: no snapshot is kept to build on" },
    { "damaged", "full: the last point is damaged" },
    { "no manifest", "full: the last point is damaged" },
    { "engine", "full: the last point is of another engine" },
    { "deep", "full: the last point is built on too many others" },
    { "gone", "full: kept snapshot is gone" },
    { "disks gone", "full: kept snapshot is gone" },
    { "preview", "full: kept snapshot is in preview" },
    { "in_preview", "full: kept snapshot is in preview" },
    { "stateless", "full: kept snapshot is not a regular one any more" },
    { "active", "full: kept snapshot is not a regular one any more" },
    { "locked", "full: kept snapshot is locked" },
    { "renamed", "full: kept snapshot does not carry our mark any more" },
    { "foreign", "full: kept snapshot does not carry our mark any more" },
    { "merge", "full: a merge has failed since the last point" },
    { "no events",
      "full: the engine's events since the last point are not all there" },
    { "new", "full: the last point does not have it" },
    { "same alias", "full: the last point does not have it" },
    { "not listed", "full: kept snapshot does not list the disk" },
    { "no volume", "full: kept snapshot does not list the disk" },
    { "illegal", "full: kept snapshot has illegal images" },
    { "smaller", "full: the disk has become smaller" },
    { "d", "differential on 20261120T010000Z" },
    { "d no point", "full: no full to build on" },
    { "d damaged", "full: the last full is damaged" },
    { "d engine", "full: the last full is of another engine" },
    { "d new", "full: the last full does not have it" },
    { "d merge", "full: a merge has failed since the last full" },
    { "d gone", "full: kept snapshot is gone" },
    { "d full", "full: asked for" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    const char *what = rows[i].what;
    struct manifest_disk saved = { .id = DISK_ID,
                                   .alias = (char *)"d",
                                   .virtual_size = GIB + 4096,
                                   .provisioned_size = GIB };
    struct manifest m
        = { .engine_id = (char *)HOST_SPM, .disks = &saved, .disk_count = 1 };
    struct point point = { .name = "20261120T010000Z", .manifest = &m };
    struct snapshot s
        = { .description = (char *)OURS, .status = "ok", .type = "regular" };
    struct disk listed
        = { .id = DISK_ID, .volume_id = HOST_TWO, .status = "ok" };
    struct disk_list disks = { &listed, 1 };
    struct disk disk = { .id = DISK_ID, .provisioned_size = GIB };
    struct plan_base base = { .keep = true,
                              .point = &point,
                              .depth = 3,
                              .snapshot = &s,
                              .disks = &disks,
                              .repository_id = CENTER,
                              .engine_id = HOST_SPM };
    char reason[PLAN_REASON_MAX];
    bool taken;

    base.differential = what[0] == 'd' && (what[1] == ' ' || what[1] == '\0');
    what += base.differential + (base.differential && what[1] == ' ');
#define IS(name) (strcmp (what, name) == 0)
    if (IS ("grown"))
      disk.provisioned_size = 2 * GIB;
    if (IS ("smaller"))
      disk.provisioned_size = GIB - 1;
    if (IS ("engine not known"))
      base.engine_id = "";
    if (IS ("engine was not known"))
      m.engine_id = NULL;
    if (IS ("engine"))
      base.engine_id = HOST_TWO;
    if (IS ("no point"))
      base.point = NULL;
    if (IS ("no manifest"))
      point.manifest = NULL;
    if (IS ("gone"))
      base.snapshot = NULL;
    if (IS ("disks gone"))
      base.disks = NULL;
    if (IS ("preview") || IS ("stateless") || IS ("active"))
      snprintf (s.type, sizeof s.type, "%s", what);
    if (IS ("in_preview") || IS ("locked"))
      snprintf (s.status, sizeof s.status, "%s", what);
    if (IS ("renamed"))
      s.description = (char *)"before the update";
    if (IS ("foreign"))
      base.repository_id = CLUSTER;
    if (IS ("new") || IS ("same alias"))
      strcpy (saved.id, HOST_OFF);
    if (IS ("same alias"))
      saved.alias = (char *)DISK_ID;
    if (IS ("not listed"))
      disks.count = 0;
    if (IS ("no volume"))
      listed.volume_id[0] = '\0';
    if (IS ("illegal"))
      strcpy (listed.status, "illegal");
    if (IS ("merge"))
      base.merges = PLAN_MERGES_FAILED;
    if (IS ("no events"))
      base.merges = PLAN_MERGES_UNKNOWN;
    base.full = IS ("full");
    base.keep = !IS ("not kept");
    base.damaged = IS ("damaged") || IS ("no manifest");
    if (IS ("deep"))
      base.depth = READER_DEPTH_MAX;
    taken = plan_increment (&base, &disk, reason);
    assert_string_equal (reason, rows[i].reason);
    assert_int_equal (taken, strncmp (reason, "full", 4) != 0);
  }
}

/* Points newest first: F full, I increment, X damaged; which is built on. */
static void
test_point (void **state)
{
  static const struct {
    const char *points;
    int newest; /* index, -1: none */
    int full;
  } rows[] = {
    { "", -1, -1 },    { "F", 0, 0 },    { "I", 0, -1 }, { "IF", 0, 1 },
    { "IIFIF", 0, 2 }, { "FIF", 0, 0 },  { "XF", 0, 1 }, { "X", 0, -1 },
    { "IXF", 0, 2 },   { "XIXF", 0, 3 },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    struct manifest manifests[8] = { { .kind = MANIFEST_FULL } };
    struct point points[8] = { { .name = "" } };
    struct point_list list = { points, strlen (rows[i].points) };

    for (size_t k = 0; k < list.count; k++) {
      manifests[k].kind
          = rows[i].points[k] == 'I' ? MANIFEST_INCREMENT : MANIFEST_FULL;
      if (rows[i].points[k] != 'X')
        points[k].manifest = &manifests[k];
    }
    assert_ptr_equal (plan_point (&list, false),
                      rows[i].newest < 0 ? NULL : &points[rows[i].newest]);
    assert_ptr_equal (plan_point (&list, true),
                      rows[i].full < 0 ? NULL : &points[rows[i].full]);
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

/* What proves the volume of a template, and what is told when it differs. */
static void
test_template (void **state)
{
  static const char text[]
      = "domain " DOMAIN_FILE "\nlayer 1 volume x\nlayer 1 image y\n"
        "layer 1 parent z\nlayer 1 format COW\nlayer 1 legality LEGAL\n"
        "layer 1 voltype SHARED\nlayer 1 generation 0\nlayer 1 created 7\n"
        "layer 1 capacity 4096\nlayer 1 inode 5\nlayer 1 size 9\n"
        "layer 1 io direct\nlayer 1 head abcd\nlayer 11 image other\n";
#define FACTS                                                                  \
  "domain " DOMAIN_FILE " image y parent z format COW generation 0 created 7 " \
  "capacity 4096 size 9 head abcd"
  static const struct {
    const char *stored;
    const char *now;
    const char *says; /* "": the same */
  } rows[] = {
    { "", "", "" },
    { "a 1 b 2", "a 1 b 2", "" },
    { "a 1 b 2", "a 1 b 3", "has b 3, what is stored under that id has b 2" },
    { "a 1 b 2", "a 1 b 22", "has b 22, what is stored under that id has b 2" },
    { "a 1", "a 1 b 2", "has b 2, what is stored under that id has " },
    { "a 1 b 2", "a 1", "has , what is stored under that id has b 2" },
    { "a", "b", "has b, what is stored under that id has a" },
  };
  char *facts = template_store_identity (text, 1);
  char *none = template_store_identity (text, 2);
  char why[PLAN_REASON_MAX];

  (void)state;
  assert_string_equal (facts, FACTS);
  assert_string_equal (none, "domain " DOMAIN_FILE);
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    template_store_differs (rows[i].stored, rows[i].now, why);
    if (rows[i].says[0] == '\0')
      assert_string_equal (why, "");
    else
      assert_non_null (strstr (why, rows[i].says));
  }
  free (facts);
  free (none);
}

int
main (void)
{
  static const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_disks),     cmocka_unit_test (test_volgroup),
    cmocka_unit_test (test_identity),  cmocka_unit_test (test_vms),
    cmocka_unit_test (test_increment), cmocka_unit_test (test_point),
    cmocka_unit_test (test_guard),     cmocka_unit_test (test_quota),
    cmocka_unit_test (test_tag),       cmocka_unit_test (test_template),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
