/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/fault.h"
#include "job/selector.h"
#include "tests/unit/unit.h"

#define ID_WEB "11111111-2222-3333-4444-55555555aaaa"
#define ID_DB "11111111-2222-3333-4444-55555555bbbb"
#define ID_ODD "11111111-2222-3333-4444-55555555cccc"
#define ID_CLUSTER "99999999-2222-3333-4444-555555555555"

static const char *const web_tags[] = { "gold", "prod" };
static const char *const db_tags[] = { "silver" };

static const struct selector_vm vms[] = {
  { ID_WEB, "web1", ID_CLUSTER, "Default", web_tags, 2 },
  { ID_DB, "db1", ID_CLUSTER, "Default", db_tags, 1 },
  { ID_ODD, "we[b] \"1\"", "88888888-2222-3333-4444-555555555555", "edge", NULL,
    0 },
};

struct selector_case {
  const char *patterns[4];
  const char *expect; /* one letter a VM: y or n */
  const char *unmatched;
};

static const struct selector_case cases[] = {
  { { "web1" }, "ynn", NULL },
  { { "web1", "db1" }, "yyn", NULL },
  { { "web" }, "nnn", "web" },
  { { "*" }, "yyy", NULL },
  { { "*1" }, "yyn", NULL },
  { { "[wd]*[0-9]" }, "yyn", NULL },
  { { "we?1" }, "ynn", NULL },
  { { "WEB1" }, "nnn", "WEB1" },
  { { "we[b] \"1\"" }, "nny", NULL },
  { { "vm:" ID_DB }, "nyn", NULL },
  { { "vm:11111111-2222-3333-4444-55555555AAAA" }, "ynn", NULL },
  { { "vm:" ID_CLUSTER }, "nnn", "vm:" ID_CLUSTER },
  { { "tag:gold" }, "ynn", NULL },
  { { "tag:*" }, "yyn", NULL },
  { { "tag:web1" }, "nnn", "tag:web1" },
  { { "cluster:Default" }, "yyn", NULL },
  { { "cluster:" ID_CLUSTER }, "yyn", NULL },
  { { "cluster:e*" }, "nny", NULL },
  { { "*", "!db1" }, "yny", NULL },
  { { "!db1", "*" }, "yny", NULL },
  { { "!db1" }, "yny", NULL },
  { { "!nothing" }, "yyy", NULL },
  { { "cluster:Default", "!tag:silver" }, "ynn", NULL },
  { { "web1", "!web1" }, "nnn", NULL },
  { { "web1", "gone", "!*" }, "nnn", "gone" },
};

static size_t
count_of (const char *const *patterns)
{
  size_t n = 0;

  while (n < 4 && patterns[n] != NULL)
    n++;
  return n;
}

static void
test_match (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    size_t at = 0;
    const char *left;
    CLEANUP (selector_free)
    struct selector *s
        = selector_new (cases[i].patterns, count_of (cases[i].patterns), &f);

    assert_non_null (s);
    for (size_t v = 0; v < COUNT_OF (vms); v++) {
      if (selector_match (s, &vms[v]) != (cases[i].expect[v] == 'y'))
        fail_msg ("case %zu (%s), VM %zu", i, cases[i].patterns[0], v);
    }
    left = selector_unmatched (s, &at);
    if (cases[i].unmatched == NULL)
      assert_null (left);
    else
      assert_string_equal (left, cases[i].unmatched);
    if (left != NULL)
      assert_null (selector_unmatched (s, &at));
  }
}

static void
test_refused (void **state)
{
  static const char *const bad[]
      = { "", "!", "vm:", "tag:", "!cluster:", "vm:web1", "vm:../etc" };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (bad); i++) {
    struct fault f = FAULT_INIT;

    assert_null (selector_new (&bad[i], 1, &f));
    assert_int_equal (f.code, FAULT_USAGE);
    assert_non_null (strstr (f.text, "selector \""));
  }
  {
    struct fault f = FAULT_INIT;

    assert_null (selector_new (bad, 0, &f));
    assert_int_equal (f.code, FAULT_USAGE);
    fault_reset (&f);
    assert_null (selector_new (bad, SELECTOR_MAX + 1, &f));
    assert_int_equal (f.code, FAULT_USAGE);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_match),
    cmocka_unit_test (test_refused),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
