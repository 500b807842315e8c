/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "engine/ovf.h"
#include "tests/unit/unit.h"

static char *
load (void)
{
  struct fault f = FAULT_INIT;
  char *text = fdio_slurp (AT_FDCWD, TEST_DATA "/engine/vm.ovf.xml",
                           OVF_SIZE_MAX, NULL, &f);

  if (text == NULL)
    fail_msg ("%s", f.text);
  return text;
}

static void
test_strip (void **state)
{
  static const char *const gone[]
      = { "<File",    "<Disk ",          "d1111111",         "a0000002", ">17<",
          "<Memory>", "VmConfiguration", "SnapshotsSection", "<!ENTITY" };
  static const char *const kept[]
      = { "<References>",
          "<Nic ",
          "DiskSection_Type",
          "<TpmData>dHBt<",
          "bnZyYW0=",
          "00:1a:4a:16:01:51",
          "ResourceType>3<",
          "ResourceType>10<",
          "Z\xc3\xbcrich",
          "web &amp; \"mail\" &lt;1&gt;",
          "xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1/\"",
          "ovf:version=\"4.4.0.0\"" };
  struct fault f = FAULT_INIT;
  struct ovf_disks *disks;
  char id[UUID_SIZE];
  char *text = load ();
  char *out;
  char *again;

  (void)state;
  if (ovf_strip (text, &out, &f) < 0)
    fail_msg ("%s", f.text);
  for (size_t i = 0; i < COUNT_OF (gone); i++) {
    if (strstr (out, gone[i]) != NULL)
      fail_msg ("%s is still there", gone[i]);
  }
  for (size_t i = 0; i < COUNT_OF (kept); i++) {
    if (strstr (out, kept[i]) == NULL)
      fail_msg ("%s is lost", kept[i]);
  }
  assert_int_equal (ovf_disks (out, &disks, &f), 0);
  assert_int_equal (disks->count, 0);
  ovf_disks_free (disks);
  assert_int_equal (ovf_vm_id (out, id, &f), 0);
  assert_string_equal (id, "11111111-1111-4111-8111-111111111111");
  assert_int_equal (ovf_strip (out, &again, &f), 0);
  assert_string_equal (out, again);
  free (again);
  free (out);
  free (text);
}

static void
test_disks (void **state)
{
  struct fault f = FAULT_INIT;
  struct ovf_disks *disks;
  char *text = load ();

  (void)state;
  if (ovf_disks (text, &disks, &f) < 0)
    fail_msg ("%s", f.text);
  assert_int_equal (disks->count, 1);
  assert_string_equal (disks->items[0].disk_id,
                       "d1111111-1111-4111-8111-111111111111");
  assert_string_equal (disks->items[0].volume_id,
                       "a0000002-0000-4000-8000-000000000002");
  assert_string_equal (disks->items[0].parent_id,
                       "a0000001-0000-4000-8000-000000000001");
  assert_string_equal (disks->items[0].domain_id,
                       "51111111-1111-4111-8111-111111111111");
  assert_true (disks->items[0].cow);
  assert_true (disks->items[0].sparse);
  ovf_disks_free (disks);
  free (text);
}

static void
test_malformed (void **state)
{
  static const char *const cases[] = {
    "",
    "<Envelope>",
    "<vm/>",
    "<!DOCTYPE Envelope><Envelope/>",
    "<Envelope><Item><ResourceType>17</ResourceType></Item></Envelope>",
    "<Envelope><Item><ResourceType>17</ResourceType><HostResource>"
    "../../../../../../../../../../../../../x/y</HostResource></Item>"
    "</Envelope>",
    "<Envelope><Item><ResourceType>17</ResourceType><HostResource>"
    "d1111111-1111-4111-8111-111111111111/v</HostResource><InstanceId>no"
    "</InstanceId></Item></Envelope>",
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    struct ovf_disks *disks;

    if (ovf_disks (cases[i], &disks, &f) != -1)
      fail_msg ("accepted: %s", cases[i]);
    assert_null (disks);
    assert_int_equal (f.code, FAULT_PROTO);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_strip),
    cmocka_unit_test (test_disks),
    cmocka_unit_test (test_malformed),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
