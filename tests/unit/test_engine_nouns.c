/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers of the API's documents. */
#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "engine/cluster.h"
#include "engine/disk.h"
#include "engine/doc.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/snapshot.h"
#include "engine/task.h"
#include "engine/vm.h"
#include "tests/unit/unit.h"

static struct doc *
load (const char *name)
{
  struct fault f = FAULT_INIT;
  CLEANUP_FREE char *path = xasprintf (TEST_DATA "/engine/%s", name);
  CLEANUP_FREE char *text = NULL;
  struct doc *doc = NULL;
  size_t size;

  text = fdio_slurp (AT_FDCWD, path, DOC_SIZE_MAX, &size, &f);
  if (text == NULL || doc_parse (text, size, path, &doc, &f) < 0)
    fail_msg ("%s", f.text);
  return doc;
}

static void
test_vm (void **state)
{
  struct doc *doc = load ("vms.xml");
  const struct doc_node *item = doc_first (doc_root (doc), "vm");
  struct fault f = FAULT_INIT;
  const struct vm_disk *d;
  struct vm vm;

  (void)state;
  if (vm_parse (item, &vm, &f) < 0)
    fail_msg ("%s", f.text);
  assert_string_equal (vm.name, "web & \"mail\" <1>");
  assert_string_equal (vm.description, "Z\xc3\xbcrich");
  assert_string_equal (vm.status, "up");
  assert_true (vm_is_running (&vm));
  assert_true (vm.delete_protected);
  assert_true (vm.next_run);
  assert_false (vm.hosted_engine);
  assert_string_equal (vm.host_id, "91111111-1111-4111-8111-111111111111");
  assert_string_equal (vm.cluster_id, "b1111111-1111-4111-8111-111111111111");
  assert_true (vm.memory == 4294967296u);
  assert_int_equal (vm.disk_count, 2);
  d = vm_find_disk (&vm, "d1111111-1111-4111-8111-111111111111");
  assert_ptr_equal (d, &vm.disks[0]);
  assert_true (d->active && d->bootable && d->pass_discard && !d->read_only);
  assert_string_equal (d->interface, "virtio_scsi");
  assert_string_equal (d->disk.alias, "web_Disk1");
  assert_string_equal (d->disk.volume_id,
                       "a1111111-1111-4111-8111-111111111111");
  assert_true (d->disk.provisioned_size == 10737417728u);
  assert_int_equal (d->disk.format, DISK_FORMAT_COW);
  assert_true (d->disk.sparse && d->disk.incremental);
  assert_int_equal (d->disk.domain_count, 1);
  assert_string_equal (d->disk.domain_ids[0],
                       "51111111-1111-4111-8111-111111111111");
  assert_null (disk_skip_reason (&d->disk));
  d = &vm.disks[1];
  assert_false (d->active);
  assert_string_equal (d->disk.content_type, "data");
  assert_non_null (strstr (disk_skip_reason (&d->disk), "LUN"));
  assert_int_equal (vm.nic_count, 2);
  assert_string_equal (vm.nics[0].mac, "00:1a:4a:16:01:51");
  assert_false (vm.nics[0].plugged);
  assert_string_equal (vm.nics[1].profile_id, "");
  assert_int_equal (vm.tag_count, 2);
  assert_string_equal (vm.tags[1], "nightly");
  vm_reset (&vm);

  assert_int_equal (vm_parse (doc_next (item, "vm"), &vm, &f), 0);
  assert_true (vm.hosted_engine);
  assert_false (vm_is_running (&vm));
  assert_string_equal (vm.template_id, UUID_BLANK);
  assert_int_equal (vm.disk_count, 0);
  vm_reset (&vm);
  doc_free (doc);
}

static void
test_host (void **state)
{
  struct doc *doc = load ("hosts.xml");
  const struct doc_node *item = doc_first (doc_root (doc), "host");
  struct fault f = FAULT_INIT;
  struct host host;

  (void)state;
  assert_int_equal (host_parse (item, &host, &f), 0);
  assert_string_equal (host.address, "h1.example");
  assert_int_equal (host.ssh_port, 2022);
  assert_string_equal (host.ssh_user, "backup");
  assert_string_equal (host.public_key, "ecdsa-sha2-nistp256 AAAAE2");
  assert_true (host.is_spm && host_is_up (&host));
  host_reset (&host);
  assert_int_equal (host_parse (doc_next (item, "host"), &host, &f), 0);
  assert_int_equal (host.ssh_port, 22);
  assert_string_equal (host.ssh_user, "root");
  assert_string_equal (host.public_key, "");
  assert_false (host.is_spm || host_is_up (&host));
  host_reset (&host);
  doc_free (doc);
}

static void
test_domain (void **state)
{
  static const struct {
    const char *name;
    const char *dir; /* NULL: none */
    bool block;
  } cases[] = {
    { "data1",
      "/rhev/data-center/mnt/10.0.0.1:_export_my__data/"
      "51111111-1111-4111-8111-111111111111",
      false },
    { "g",
      "/rhev/data-center/mnt/glusterSD/g1.example:_vol__a/"
      "52222222-2222-4222-8222-222222222222",
      false },
    { "san",
      "/rhev/data-center/mnt/blockSD/53333333-3333-4333-8333-333333333333",
      true },
    { "local",
      "/rhev/data-center/mnt/_data_images/"
      "54444444-4444-4444-8444-444444444444",
      false },
    { "v6",
      "/rhev/data-center/mnt/[fe80::1]:_x/"
      "55555555-5555-4555-8555-555555555555",
      false },
    { "ceph", NULL, false },
    { "evil", NULL, false },
  };
  struct doc *doc = load ("domains.xml");
  const struct doc_node *item = doc_first (doc_root (doc), "storage_domain");

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    char dir[DOMAIN_DIR_MAX];
    struct domain d;
    int r;

    assert_int_equal (domain_parse (item, &d, &f), 0);
    assert_string_equal (d.name, cases[i].name);
    assert_int_equal (domain_is_block (&d), cases[i].block);
    r = domain_dir (&d, dir, &f);
    if (cases[i].dir == NULL)
      assert_int_equal (r, -1);
    else
      assert_string_equal (dir, cases[i].dir);
    domain_reset (&d);
    item = doc_next (item, "storage_domain");
  }
  assert_null (item);
  doc_free (doc);
}

#define LUN(id) "<logical_unit id='" id "'><paths>2</paths></logical_unit>"

/* LUNS as the engine tells them of a domain of KIND. */
static void
make_domain (const char *kind, const char *luns, struct domain *d)
{
  struct fault f = FAULT_INIT;
  struct doc *doc;
  CLEANUP_FREE char *text
      = xasprintf ("<storage_domain id='53333333-3333-4333-8333-333333333333'>"
                   "<storage><type>%s</type><volume_group id='Vg'>"
                   "<logical_units>%s</logical_units></volume_group></storage>"
                   "</storage_domain>",
                   kind, luns);

  assert_int_equal (doc_parse (text, strlen (text), "t", &doc, &f), 0);
  assert_int_equal (domain_parse (doc_root (doc), d, &f), 0);
  doc_free (doc);
}

static void
test_domain_luns (void **state)
{
  static const struct {
    const char *kind;
    const char *luns;
    size_t count;
    const char *last;
  } rows[] = {
    { "iscsi", LUN ("360a") LUN ("360b"), 2, "360b" },
    { "fcp", LUN ("360a"), 1, "360a" },
    /* one for each path */
    { "iscsi", LUN ("360a") LUN ("360b") LUN ("360a"), 2, "360b" },
    { "iscsi", LUN ("../x"), 1, "../x" },
    { "iscsi", "<logical_unit/>", 1, "" },
    { "iscsi", "", 0, NULL },
    { "nfs", LUN ("360a"), 0, NULL },
  };
  char many[(DOMAIN_LUNS_MAX + 9) * 64] = "";
  struct domain d;

  (void)state;
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    make_domain (rows[i].kind, rows[i].luns, &d);
    assert_int_equal (d.lun_count, rows[i].count);
    if (d.lun_count > 0)
      assert_string_equal (d.luns[d.lun_count - 1], rows[i].last);
    domain_reset (&d);
  }
  for (unsigned i = 0; i < DOMAIN_LUNS_MAX + 9; i++)
    snprintf (many + strlen (many), sizeof many - strlen (many),
              "<logical_unit id='3600%u'/>", i);
  make_domain ("iscsi", many, &d);
  assert_int_equal (d.lun_count, DOMAIN_LUNS_MAX + 1);
  domain_reset (&d);
}

static void
test_domain_long_path (void **state)
{
  struct fault f = FAULT_INIT;
  char dir[DOMAIN_DIR_MAX];
  char path[DOMAIN_DIR_MAX];
  struct domain d = { .kind = DOMAIN_NFS,
                      .id = "51111111-1111-4111-8111-111111111111",
                      .name = (char *)"n",
                      .address = (char *)"a",
                      .path = path };

  (void)state;
  memset (path, '_', sizeof path);
  path[sizeof path - 1] = '\0';
  assert_int_equal (domain_dir (&d, dir, &f), -1);
  path[400] = '\0';
  fault_reset (&f);
  assert_int_equal (domain_dir (&d, dir, &f), 0);
  strcpy (path, "/a\nb");
  assert_int_equal (domain_dir (&d, dir, &f), -1);
}

static struct disk_layers *
load_layers (void)
{
  struct doc *doc = load ("disksnapshots.xml");
  const struct doc_node *item = doc_first (doc_root (doc), "disk_snapshot");
  struct disk_layers *all = xcalloc (1, sizeof *all);
  struct fault f = FAULT_INIT;

  all->items = xcalloc (3, sizeof *all->items);
  for (; item != NULL; item = doc_next (item, "disk_snapshot")) {
    if (disk_parse_layer (item, &all->items[all->count++], &f) < 0)
      fail_msg ("%s", f.text);
  }
  doc_free (doc);
  return all;
}

static void
test_layers (void **state)
{
  struct disk_layers *all = load_layers ();
  struct disk_layers *chain;
  char missing[UUID_SIZE];
  struct fault f = FAULT_INIT;

  (void)state;
  assert_int_equal (disk_layers_link (all,
                                      "a0000003-0000-4000-8000-000000000003",
                                      &chain, missing, &f),
                    0);
  assert_string_equal (missing, "");
  assert_int_equal (chain->count, 3);
  assert_true (chain->items[0].provisioned_size == 2147483648u);
  assert_int_equal (chain->items[2].format, DISK_FORMAT_RAW);
  assert_string_equal (chain->items[2].parent_id, "");
  disk_layers_free (chain);

  strcpy (all->items[2].volume_id, "a0000009-0000-4000-8000-000000000009");
  assert_int_equal (disk_layers_link (all,
                                      "a0000003-0000-4000-8000-000000000003",
                                      &chain, missing, &f),
                    0);
  assert_int_equal (chain->count, 2);
  assert_string_equal (missing, "a0000001-0000-4000-8000-000000000001");
  disk_layers_free (chain);

  strcpy (all->items[0].parent_id, "a0000003-0000-4000-8000-000000000003");
  assert_int_equal (disk_layers_link (all,
                                      "a0000003-0000-4000-8000-000000000003",
                                      &chain, missing, &f),
                    -1);
  assert_non_null (strstr (f.text, "circle"));
  disk_layers_free (all);
}

static void
test_snapshot (void **state)
{
  struct doc *doc = load ("snapshots.xml");
  const struct doc_node *item = doc_first (doc_root (doc), "snapshot");
  struct fault f = FAULT_INIT;
  struct snapshot s;

  (void)state;
  assert_int_equal (snapshot_parse (item, &s, &f), 0);
  assert_string_equal (s.type, "active");
  assert_string_equal (s.vm_id, "11111111-1111-4111-8111-111111111111");
  snapshot_reset (&s);
  assert_int_equal (snapshot_parse (doc_next (item, "snapshot"), &s, &f), 0);
  assert_string_equal (s.status, "locked");
  assert_string_equal (s.description, "chainlift:R:7f3a0c before <update>");
  assert_true (s.memory);
  assert_true (s.date == 1714551630);
  snapshot_reset (&s);
  doc_free (doc);
}

static void
test_event (void **state)
{
  static const unsigned bad[] = { 69, 170, 0 };
  static const unsigned other[] = { 69, 0 };
  struct doc *doc = load ("events.xml");
  const struct doc_node *item = doc_first (doc_root (doc), "event");
  struct fault f = FAULT_INIT;
  struct task_events *events = xcalloc (1, sizeof *events);

  (void)state;
  events->items = xcalloc (2, sizeof *events->items);
  for (; item != NULL; item = doc_next (item, "event"))
    assert_int_equal (
        task_parse_event (item, &events->items[events->count++], &f), 0);
  assert_true (events->items[0].id == 4712);
  assert_int_equal (events->items[0].code, 170);
  assert_string_equal (events->items[0].correlation, "cl-7f3a0c-1");
  assert_string_equal (events->items[1].vm_id, "");
  assert_true (events->items[0].time - events->items[1].time == 0);
  assert_ptr_equal (task_find_event (events, bad), &events->items[0]);
  assert_null (task_find_event (events, other));
  task_events_free (events);
  doc_free (doc);
}

/* Documents that each parser must refuse. */
static void
test_malformed (void **state)
{
  static const char *const cases[] = {
    "<x/>",
    "<x id='no-uuid'/>",
    "<x id='11111111-1111-4111-8111-111111111111'>"
    "<provisioned_size>ten</provisioned_size><ssh><port>70000</port></ssh>"
    "<block_size>-1</block_size><version><major>x</major></version>"
    "<date>yesterday</date><code>x</code><memory>lots</memory></x>",
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f[7] = { FAULT_INIT };
    struct doc *doc;
    const struct doc_node *x;
    struct vm vm;
    struct disk disk;
    struct disk_layer layer;
    struct host host;
    struct cluster cluster;
    struct domain domain;
    struct snapshot snapshot;
    struct task_event event;

    assert_int_equal (doc_parse (cases[i], strlen (cases[i]), "t", &doc, &f[0]),
                      0);
    x = doc_root (doc);
    assert_int_equal (vm_parse (x, &vm, &f[0]), -1);
    assert_int_equal (disk_parse (x, &disk, &f[1]), -1);
    assert_int_equal (disk_parse_layer (x, &layer, &f[2]), -1);
    assert_int_equal (host_parse (x, &host, &f[3]), -1);
    assert_int_equal (cluster_parse (x, &cluster, &f[4]), -1);
    assert_int_equal (domain_parse (x, &domain, &f[5]), -1);
    assert_int_equal (snapshot_parse (x, &snapshot, &f[6]), -1);
    assert_int_equal (task_parse_event (x, &event, NULL), -1);
    for (size_t j = 0; j < COUNT_OF (f); j++)
      assert_int_equal (f[j].code, FAULT_PROTO);
    doc_free (doc);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_vm),
    cmocka_unit_test (test_host),
    cmocka_unit_test (test_domain),
    cmocka_unit_test (test_domain_luns),
    cmocka_unit_test (test_domain_long_path),
    cmocka_unit_test (test_layers),
    cmocka_unit_test (test_snapshot),
    cmocka_unit_test (test_event),
    cmocka_unit_test (test_malformed),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
