/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, tokens, fault texts and what they mean. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/session.h"
#include "tests/unit/unit.h"

static void
test_url (void **state)
{
  static const struct {
    const char *url;
    const char *base; /* NULL: refused */
  } cases[] = {
    { "https://e.example", "https://e.example/ovirt-engine" },
    { "https://e.example/", "https://e.example/ovirt-engine" },
    { "https://e:8443/ovirt-engine", "https://e:8443/ovirt-engine" },
    { "https://e/ovirt-engine/api/", "https://e/ovirt-engine" },
    { "https://[::1]:443/ovirt-engine/api", "https://[::1]:443/ovirt-engine" },
    { "http://e.example", NULL },
    { "e.example", NULL },
    { "https://", NULL },
    { "https:///ovirt-engine", NULL },
    { "https://user:pw@e/ovirt-engine", NULL },
    { "https://e/other", NULL },
    { "https://e/ovirt-engine/api/vms", NULL },
    { "https://e?x=/ovirt-engine", NULL },
    { "https://e x/ovirt-engine", NULL },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    char *base = NULL;
    int r = login_parse_url (cases[i].url, &base, &f);

    if (cases[i].base == NULL) {
      if (r != -1)
        fail_msg ("%s is accepted", cases[i].url);
      assert_int_equal (f.code, FAULT_CONF);
      continue;
    }
    if (r < 0)
      fail_msg ("%s", f.text);
    assert_string_equal (base, cases[i].base);
    free (base);
  }
}

static void
test_token (void **state)
{
  static const struct {
    const char *json;
    const char *token; /* NULL: none */
    const char *error;
  } cases[] = {
    { "{\"access_token\": \"V1dN-._~+/=\", \"exp\":\"1\"}", "V1dN-._~+/=", "" },
    { "[{\"scope\":\"s\",\"access_token\":\"abc\"}]", "abc", "" },
    { "{\"access_token\":\"a\\/b\"}", "a/b", "" },
    { "{\"access_token\":\"\\u0061b\"}", "ab", "" },
    { "{\"access_token\":\"a\\r\\nX: y\"}", NULL, "" },
    { "{\"access_token\":\"a b\"}", NULL, "" },
    { "{\"access_token\":\"\"}", NULL, "" },
    { "{\"access_token\":\"abc", NULL, "" },
    { "{\"access_token\":\"abc\\", NULL, "" },
    { "{\"access_token\":\"\\u00", NULL, "" },
    { "{\"access_token\":12}", NULL, "" },
    { "{\"error_code\": \"access_denied\", \"error\": \"Cannot "
      "authenticate.\"}",
      NULL, "Cannot authenticate." },
    { "{\"error\":\"invalid_grant\",\"error_description\":\"bad \\\"x\\\"\"}",
      NULL, "bad \"x\"" },
    { "<html/>", NULL, "" },
    { "", NULL, "" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    char error[64] = "";
    char *token = login_parse_token (cases[i].json, error, sizeof error);

    if (cases[i].token == NULL) {
      if (token != NULL)
        fail_msg ("%s gives %s", cases[i].json, token);
      assert_string_equal (error, cases[i].error);
      continue;
    }
    assert_non_null (token);
    assert_string_equal (token, cases[i].token);
    login_token_free (token);
  }
}

static void
test_path (void **state)
{
  static const char id[] = "11111111-1111-4111-8111-111111111111";
  struct fault f = FAULT_INIT;
  char *path = call_path ("vms/%/snapshots/%?x=1", id, id, &f);

  (void)state;
  assert_string_equal (path,
                       "vms/11111111-1111-4111-8111-111111111111/snapshots/"
                       "11111111-1111-4111-8111-111111111111?x=1");
  free (path);
  assert_null (call_path ("vms/%", "../disks", NULL, &f));
  assert_int_equal (f.code, FAULT_PROTO);
  assert_null (call_path ("vms/%", NULL, NULL, NULL));
  assert_null (call_path ("vms/%/%/%", id, id, NULL));
}

static void
test_fault_text (void **state)
{
  static const struct {
    const char *body;
    const char *text;
  } cases[] = {
    { "<fault><detail>[Cannot remove Snapshot. It is locked.]</detail>"
      "<reason>Operation Failed</reason></fault>",
      "Cannot remove Snapshot. It is locked" },
    { "<action><fault><detail>[x]</detail></fault><status>failed</status>"
      "</action>",
      "x" },
    { "<fault><reason>Only this</reason></fault>", "Only this" },
    { "<fault><detail>Vm [name] required for add</detail></fault>",
      "Vm [name] required for add" },
    { "<html><body>503</body></html>", "" },
    { "<!DOCTYPE html><html/>", "" },
    { "not xml", "" },
    { "", "" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    char text[CALL_TEXT_MAX];

    call_fault_text (cases[i].body, strlen (cases[i].body), text, sizeof text);
    assert_string_equal (text, cases[i].text);
  }
}

static void
test_refusal (void **state)
{
  static const struct {
    int status;
    const char *text;
    int code;
  } cases[] = {
    { 409,
      "Cannot create Snapshot. Related operation is currently in progress. "
      "Please try again later.",
      FAULT_BUSY },
    { 409, "Cannot create Snapshot. The following disks are locked: d",
      FAULT_BUSY },
    { 409, "Snapshot is currently being created for VM x", FAULT_BUSY },
    { 409, "Cannot remove VM. The VM is during a backup operation",
      FAULT_BUSY },
    { 409, "Cannot create Snapshot. VM is migrating", FAULT_BUSY },
    { 409, "Failed to hot-plug disk", FAULT_BUSY },
    { 409, "Cannot import VM. VM with the same identifier already exists",
      FAULT_REMOTE },
    { 409,
      "Cannot edit VM. The VM name is already in use, please choose a unique "
      "name and try again",
      FAULT_REMOTE },
    { 409, "Cannot remove Snapshot. Disk snapshot is attached to another VM",
      FAULT_REMOTE },
    { 409, "Cannot add Virtual Disk. Low disk space on Storage Domain x",
      FAULT_SPACE },
    { 400, "Cannot create Snapshot. The following disks are locked: d",
      FAULT_REMOTE },
    { 400, "", FAULT_REMOTE },
    { 403, "x", FAULT_AUTH },
    { 404, "", FAULT_NOTFOUND },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    if (call_refusal (cases[i].status, cases[i].text) != cases[i].code)
      fail_msg ("%d %s", cases[i].status, cases[i].text);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_url),     cmocka_unit_test (test_token),
    cmocka_unit_test (test_path),    cmocka_unit_test (test_fault_text),
    cmocka_unit_test (test_refusal),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
