/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/utf8.h"
#include "tests/unit/unit.h"

struct word {
  uint64_t value;
  const char *text;
};

static void
test_sizes (void **state)
{
  static const struct word sizes[] = {
    { 0, "0 B" },
    { 1023, "1023 B" },
    { 1024, "1.0 KiB" },
    { 1536, "1.5 KiB" },
    { 1048524, "1023.9 KiB" },
    { 1048575, "1.0 MiB" },
    { UINT64_C (20) << 30, "20.0 GiB" },
    { UINT64_C (8) << 40, "8.0 TiB" },
    { UINT64_MAX, "16.0 EiB" },
  };
  char text[OUTPUT_WORD_SIZE];

  (void)state;
  for (size_t i = 0; i < COUNT_OF (sizes); i++) {
    output_size (sizes[i].value, text);
    assert_string_equal (text, sizes[i].text);
  }
  output_rate (120u << 20, text);
  assert_string_equal (text, "120.0 MiB/s");
}

static void
test_durations (void **state)
{
  static const struct word durations[] = {
    { 0, "0.0 s" },
    { 440, "0.4 s" },
    { 9940, "9.9 s" },
    { 9950, "10 s" },
    { 59499, "59 s" },
    { 59500, "1 min 00 s" },
    { 185000, "3 min 05 s" },
    { 3599400, "59 min 59 s" },
    { 7620000, "2 h 07 min" },
    { 86400000, "1 d 00 h" },
    { 273600000, "3 d 04 h" },
  };
  char text[OUTPUT_WORD_SIZE];

  (void)state;
  for (size_t i = 0; i < COUNT_OF (durations); i++) {
    output_duration (durations[i].value, text);
    assert_string_equal (text, durations[i].text);
  }
}

static void
test_time (void **state)
{
  char text[OUTPUT_WORD_SIZE];

  (void)state;
  setenv ("TZ", "XST-1", 1);
  tzset ();
  output_time (1795136400, text);
  assert_string_equal (text, "2026-11-20 02:00:00 +0100");
}

/* Bytes in, bytes out of the JSON string. */
static const struct {
  const char *in;
  const char *out;
} escapes[] = {
  { "", "" },
  { "plain", "plain" },
  { "a\"b\\c", "a\\\"b\\\\c" },
  { "a\nb\tc\rd", "a\\nb\\tc\\u000dd" },
  { "\x01\x1f\x7f", "\\u0001\\u001f\\u007f" },
  { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
    "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
  { "\xe2\x80\xa8", "\\u2028" },
  { "a\xff"
    "b",
    "a\xef\xbf\xbd"
    "b" },
  { "\xc3", "\xef\xbf\xbd" },                 /* cut */
  { "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" }, /* overlong */
  { "\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
  { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* surrogate */
  { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
};

static char *
json_line (void (*fill) (struct json *j, const void *what), const void *what)
{
  CLEANUP_FREE char *text = NULL;
  size_t size = 0;
  FILE *stream = open_memstream (&text, &size);
  struct json j;

  assert_non_null (stream);
  json_begin (&j, "t");
  fill (&j, what);
  json_end (&j, stream);
  fclose (stream);
  return steal_ptr (&text);
}

static void
fill_name (struct json *j, const void *what)
{
  json_string (j, "n", what);
}

static void
fill_all (struct json *j, const void *what)
{
  (void)what;
  json_u64 (j, "u", UINT64_MAX);
  json_i64 (j, "i", INT64_MIN);
  json_bool (j, "b", true);
  json_string (j, "none", NULL);
  json_time (j, "t", 1795136400);
  json_array_begin (j, "a");
  json_string (j, NULL, "x");
  json_object_begin (j, NULL);
  json_object_end (j);
  json_object_begin (j, NULL);
  json_bool (j, "c", false);
  json_array_begin (j, "e");
  json_array_end (j);
  json_object_end (j);
  json_array_end (j);
  json_u64 (j, "z", 0);
}

static void
fill_too_much (struct json *j, const void *what)
{
  for (size_t i = 0; i < JSON_LINE_MAX / 1024 + 1; i++)
    json_string (j, NULL, what);
}

static void
test_json (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (escapes); i++) {
    CLEANUP_FREE char *line = json_line (fill_name, escapes[i].in);
    char expect[128];

    snprintf (expect, sizeof expect, "{\"v\":1,\"type\":\"t\",\"n\":\"%s\"}\n",
              escapes[i].out);
    assert_string_equal (line, expect);
  }
  {
    CLEANUP_FREE char *line = json_line (fill_all, NULL);

    assert_string_equal (line,
                         "{\"v\":1,\"type\":\"t\",\"u\":18446744073709551615,"
                         "\"i\":-9223372036854775808,\"b\":true,\"none\":null,"
                         "\"t\":\"2026-11-20T01:00:00Z\","
                         "\"a\":[\"x\",{},{\"c\":false,\"e\":[]}],\"z\":0}\n");
  }
}

static void
test_json_limit (void **state)
{
  char big[1025];
  CLEANUP_FREE char *line = NULL;

  (void)state;
  memset (big, 'x', sizeof big);
  big[sizeof big - 1] = '\0';
  line = json_line (fill_too_much, big);
  assert_true (strncmp (line, "{\"v\":1,\"type\":\"error\"", 21) == 0);
  assert_string_equal (line + strlen (line) - 2, "}\n");
}

static void
test_clean (void **state)
{
  static const struct {
    const char *in;
    const char *out;
    size_t columns;
  } cases[] = {
    { "abc", "abc", 3 },
    { "a\033[31mb", "a?[31mb", 7 },
    { "\xc3\xa9", "\xc3\xa9", 1 },
    { "\xff", "?", 1 },
    { "\xc2\x9b", "?", 1 }, /* C1 control */
    { "a\xe2\x80\xae"
      "b",
      "a?b", 3 }, /* right-to-left override */
    { "\xe4\xb8\xad", "\xe4\xb8\xad", 2 },
    { "e\xcc\x81", "e\xcc\x81", 1 },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    CLEANUP_FREE char *clean = output_clean (cases[i].in);

    assert_string_equal (clean, cases[i].out);
    assert_int_equal (output_columns (cases[i].in), cases[i].columns);
  }
}

static char *
print_table (unsigned width)
{
  static const struct table_column columns[] = {
    { "NAME", TABLE_ELASTIC },
    { "SIZE", TABLE_RIGHT },
    { "STATE", TABLE_LEFT },
  };
  CLEANUP (table_free) struct table *t = table_new (columns, 3);
  CLEANUP_FREE char *text = NULL;
  size_t size = 0;
  FILE *stream = open_memstream (&text, &size);

  assert_non_null (stream);
  table_cell (t, "a long name of a VM");
  table_cell_size (t, 1536);
  table_cell (t, "up");
  table_cell (t, "\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad"
                 "\xe4\xb8\xad");
  table_cellf (t, "%d", 5);
  table_cell (t, NULL);
  table_print (t, stream, width);
  fclose (stream);
  return steal_ptr (&text);
}

static void
test_table (void **state)
{
  CLEANUP_FREE char *wide = print_table (0);
  CLEANUP_FREE char *narrow = print_table (26);
  CLEANUP_FREE char *least = print_table (1);

  (void)state;
  assert_string_equal (wide, "NAME                    SIZE  STATE\n"
                             "a long name of a VM  1.5 KiB  up\n"
                             "\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad"
                             "\xe4\xb8\xad                 5  -\n");
  assert_string_equal (narrow,
                       "NAME           SIZE  STATE\n"
                       "a long na\xe2\x80\xa6  1.5 KiB  up\n"
                       "\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad"
                       "\xe4\xb8\xad        5  -\n");
  /* never below the least width; a wide sign is not cut in two */
  assert_string_equal (least, "NAME         SIZE  STATE\n"
                              "a long \xe2\x80\xa6  1.5 KiB  up\n"
                              "\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\xe2\x80\xa6"
                              "         5  -\n");
}

static void
test_wrap (void **state)
{
  static const struct table_column columns[] = {
    { "KIND", TABLE_LEFT },
    { "OF", TABLE_ELASTIC },
    { "NEXT STEP", TABLE_WRAP },
  };
  CLEANUP (table_free) struct table *t = table_new (columns, 3);
  CLEANUP_FREE char *text = NULL;
  size_t size = 0;
  FILE *stream = open_memstream (&text, &size);

  (void)state;
  assert_non_null (stream);
  table_cell (t, "disk");
  table_cell (t, "web1");
  table_cell (t, "of a restore that did not end: remove it in the engine");
  table_cell (t, "vm");
  table_cell (t, "b");
  table_cell (t, "0123456789012345678901234567890123456789");
  table_print (t, stream, 48);
  table_print (t, stream, 0);
  fclose (stream);
  assert_string_equal (
      text,
      "KIND  OF    NEXT STEP\n"
      "disk  web1  of a restore that did not end:\n"
      "            remove it in the engine\n"
      "vm    b     012345678901234567890123456789012345\n"
      "            6789\n"
      "KIND  OF    NEXT STEP\n"
      "disk  web1  of a restore that did not end: remove it in the engine\n"
      "vm    b     0123456789012345678901234567890123456789\n");
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_sizes),      cmocka_unit_test (test_durations),
    cmocka_unit_test (test_time),       cmocka_unit_test (test_json),
    cmocka_unit_test (test_json_limit), cmocka_unit_test (test_clean),
    cmocka_unit_test (test_table),      cmocka_unit_test (test_wrap),
  };

  setlocale (LC_CTYPE, "C.UTF-8");
  return cmocka_run_group_tests (tests, NULL, NULL);
}
