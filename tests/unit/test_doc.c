/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "engine/doc.h"
#include "tests/unit/unit.h"

static struct doc *
parse (const char *text)
{
  struct fault f = FAULT_INIT;
  struct doc *doc;

  if (doc_parse (text, strlen (text), "test", &doc, &f) < 0)
    fail_msg ("%s", f.text);
  return doc;
}

static void
test_refused (void **state)
{
  static const struct {
    const char *text;
    const char *word;
  } cases[] = {
    { "", "empty" },
    { "plain", "not XML" },
    { "<a><b></a>", "not XML" },
    { "<a/><b/>", "not XML" },
    { "<!DOCTYPE html><html/>", "DOCTYPE" },
    { "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "DOCTYPE" },
    { "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>", "DOCTYPE" },
    { "<a>&unknown;</a>", "not XML" },
    { "<a b='1' b='2'/>", "not XML" },
    { "<a>\x01</a>", "not XML" },
    { "<a>\xff\xfe</a>", "not XML" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    struct doc *doc = (struct doc *)1;

    assert_int_equal (
        doc_parse (cases[i].text, strlen (cases[i].text), "test", &doc, &f),
        -1);
    assert_null (doc);
    assert_int_equal (f.code, FAULT_PROTO);
    if (strstr (f.text, cases[i].word) == NULL)
      fail_msg ("%s: %s", cases[i].text, f.text);
  }
}

/* The text of DEPTH elements inside each other. */
static char *
nested (size_t depth)
{
  char *text = xmalloc (depth * 7 + 1);
  char *p = text;

  for (size_t i = 0; i < depth; i++)
    p = stpcpy (p, "<a>");
  for (size_t i = 0; i < depth; i++)
    p = stpcpy (p, "</a>");
  return text;
}

static void
test_limits (void **state)
{
  struct fault f = FAULT_INIT;
  struct doc *doc;
  char *text;
  size_t size = (DOC_NODES_MAX + 1) * 4 + 16;
  char *p;

  (void)state;
  text = nested (DOC_DEPTH_MAX);
  doc_free (parse (text));
  free (text);
  text = nested (DOC_DEPTH_MAX + 1);
  assert_int_equal (doc_parse (text, strlen (text), "t", &doc, &f), -1);
  assert_non_null (strstr (f.text, "nested too deeply"));
  free (text);

  text = xmalloc (size);
  p = stpcpy (text, "<r>");
  for (size_t i = 0; i < DOC_NODES_MAX; i++)
    p = stpcpy (p, "<a/>");
  p = stpcpy (p, "</r>");
  fault_reset (&f);
  assert_int_equal (doc_parse (text, (size_t)(p - text), "t", &doc, &f), -1);
  assert_non_null (strstr (f.text, "too many elements"));
  fault_reset (&f);
  assert_int_equal (doc_parse (text, (size_t)DOC_SIZE_MAX + 1, "t", &doc, &f),
                    -1);
  assert_non_null (strstr (f.text, "larger than"));
  free (text);
}

static void
test_reading (void **state)
{
  struct doc *doc = parse (
      "<r xmlns:o='urn:o' id='x'><a>1</a><o:b o:k='v&amp;w'><c> t<![CDATA[<&]]>"
      "u </c><c>2</c></o:b><yes>true</yes><no>false</no><odd>maybe</odd>"
      "<big>18446744073709551615</big><over>18446744073709551616</over>"
      "<neg>-1</neg><word>verylong</word></r>");
  const struct doc_node *root = doc_root (doc);
  struct fault f = FAULT_INIT;
  uint64_t n = 7;
  char word[5];
  char *text;

  (void)state;
  assert_true (doc_is (root, "r"));
  assert_int_equal (doc_count (doc_child (root, "b"), "c"), 2);
  text = doc_string (root, "b/c");
  assert_string_equal (text, " t<&u ");
  free (text);
  text = doc_string (root, "no/such/thing");
  assert_string_equal (text, "");
  free (text);
  doc_attr (root, "b", "k", word, sizeof word);
  assert_string_equal (word, "v&w");
  doc_word (root, "word", word, sizeof word);
  assert_string_equal (word, "very");
  assert_true (doc_bool (root, "yes", false));
  assert_false (doc_bool (root, "no", true));
  assert_true (doc_bool (root, "odd", true));
  assert_false (doc_bool (root, "none", false));
  assert_int_equal (doc_u64 (root, "none", &n, &f), 0);
  assert_int_equal (n, 7);
  assert_int_equal (doc_u64 (root, "big", &n, &f), 0);
  assert_true (n == UINT64_MAX);
  assert_int_equal (doc_u64 (root, "over", &n, &f), -1);
  fault_reset (&f);
  assert_int_equal (doc_u64 (root, "neg", &n, &f), -1);
  assert_null (doc_child (NULL, "a"));
  assert_null (doc_first (NULL, NULL));
  doc_free (doc);
}

static void
test_ids (void **state)
{
  struct doc *doc = parse (
      "<r id='11111111-1111-4111-8111-111111111111'><bad id='../../etc'/>"
      "<long id='11111111-1111-4111-8111-1111111111112'/><none/>"
      "<blank>00000000-0000-0000-0000-000000000000</blank></r>");
  const struct doc_node *root = doc_root (doc);
  struct fault f = FAULT_INIT;
  char id[UUID_SIZE];

  (void)state;
  assert_int_equal (doc_need_id (root, id, &f), 0);
  assert_string_equal (id, "11111111-1111-4111-8111-111111111111");
  assert_int_equal (doc_id (root, "none", id, &f), 0);
  assert_string_equal (id, "");
  assert_int_equal (doc_uuid_text (root, "blank", id, &f), 0);
  assert_string_equal (id, "");
  assert_int_equal (doc_id (root, "bad", id, &f), -1);
  fault_reset (&f);
  assert_int_equal (doc_id (root, "long", id, &f), -1);
  fault_reset (&f);
  assert_int_equal (doc_need_id (doc_child (root, "none"), id, &f), -1);
  doc_free (doc);
}

static void
test_walk_and_remove (void **state)
{
  struct doc *doc = parse ("<r><a><b/><c><d/></c></a><e/></r>");
  const struct doc_node *root = doc_root (doc);
  const struct doc_node *node;
  struct fault f = FAULT_INIT;
  char order[16] = "";
  char *text;

  (void)state;
  for (node = root; node != NULL; node = doc_walk (root, node))
    strcat (order, doc_name (node));
  assert_string_equal (order, "rabcde");
  assert_true (doc_is (doc_after (root, doc_first (root, "a")), "e"));
  assert_null (doc_after (root, doc_first (root, "e")));
  assert_null (doc_after (root, root));
  doc_remove (doc, doc_child (root, "a/c"));
  assert_int_equal (doc_print (doc, &text, &f), 0);
  assert_non_null (strstr (text, "<r><a><b/></a><e/></r>"));
  free (text);
  doc_free (doc);
}

static void
test_put_text (void **state)
{
  struct buf b;

  (void)state;
  buf_init (&b, 256);
  doc_put_text (&b, "a<b>&\"c\" ]]> \x01\r\n");
  buf_put_u8 (&b, 0);
  assert_string_equal ((char *)b.data, "a&lt;b&gt;&amp;\"c\" ]]&gt; ?&#13;\n");
  buf_reset (&b);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_refused),         cmocka_unit_test (test_limits),
    cmocka_unit_test (test_reading),         cmocka_unit_test (test_ids),
    cmocka_unit_test (test_walk_and_remove), cmocka_unit_test (test_put_text),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
