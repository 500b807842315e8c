/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "cli/args.h"
#include "cli/progress.h"
#include "cli/words.h"
#include "job/phase.h"
#include "tests/unit/unit.h"

static const struct args_option table[] = {
  { "as", 0, "NAME", "" },    { "format", 'O', "FORMAT", "" },
  { "start", 's', NULL, "" }, { "quiet", 'q', NULL, "" },
  { NULL, 0, NULL, NULL },
};

struct args_case {
  const char *argv[6];
  const char *expect; /* as|format|start|quiet|words, or the fault's text */
};

static const struct args_case cases[] = {
  { { "w" }, "-|-|-|-|w" },
  { { "w", "--as", "x", "v" }, "x|-|-|-|w,v" },
  { { "--as=x", "w", "--start" }, "x|-|y|-|w" },
  { { "--as=a=b" }, "a=b|-|-|-|" },
  { { "-O", "raw", "-" }, "-|raw|-|-|-" },
  { { "-Oraw", "-qs" }, "-|raw|y|y|" },
  { { "-sO", "raw" }, "-|raw|y|-|" },
  { { "--", "--as", "-s" }, "-|-|-|-|--as,-s" },
  { { "--as", "--", "x" }, "--|-|-|-|x" },
  { { "--as", "a", "--as", "b" },
    "option --as is given twice: \"a\" and \"b\"" },
  { { "-Oa", "-O", "b" }, "option --format is given twice: \"a\" and \"b\"" },
  { { "-q", "--quiet" }, "-|-|-|y|" },
  { { "--star" }, "unknown option --star" },
  { { "--starting=1" }, "unknown option --starting" },
  { { "--start=1" }, "option --start takes no value" },
  { { "--as" }, "option --as needs a value: NAME" },
  { { "--as=" }, "option --as needs a value: NAME" },
  { { "-O" }, "option -O needs a value: FORMAT" },
  { { "-sx" }, "unknown option -x" },
};

static void
describe (const struct args *a, char *out, size_t size)
{
  const char *as = args_value (a, "as");
  const char *format = args_value (a, "format");

  snprintf (out, size, "%s|%s|%s|%s|", as != NULL ? as : "-",
            format != NULL ? format : "-", args_flag (a, "start") ? "y" : "-",
            args_flag (a, "quiet") ? "y" : "-");
  for (size_t i = 0; i < a->word_count; i++) {
    strncat (out, i > 0 ? "," : "", size - strlen (out) - 1);
    strncat (out, a->words[i], size - strlen (out) - 1);
  }
}

static void
test_parse (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    struct args a;
    char text[FAULT_TEXT_MAX];
    char *argv[6];
    int argc = 0;
    int index = 0;

    for (; argc < 6 && cases[i].argv[argc] != NULL; argc++)
      argv[argc] = strdup (cases[i].argv[argc]);
    args_init (&a);
    args_know (&a, table);
    if (args_parse (&a, argc, argv, &index, false, &f) == 0)
      describe (&a, text, sizeof text);
    else
      snprintf (text, sizeof text, "%s", f.text);
    assert_string_equal (text, cases[i].expect);
    args_reset (&a);
    while (argc > 0)
      free (argv[--argc]);
  }
}

static void
test_first_word (void **state)
{
  char q[] = "-q";
  char word[] = "backup";
  char foreign[] = "--full";
  char *argv[] = { q, word, foreign };
  struct fault f = FAULT_INIT;
  struct args a;
  int index = 0;

  (void)state;
  args_init (&a);
  args_know (&a, table);
  assert_int_equal (args_parse (&a, 3, argv, &index, true, &f), 0);
  assert_int_equal (index, 1);
  assert_true (args_flag (&a, "quiet"));
  assert_int_equal (a.word_count, 0);
  args_reset (&a);
}

static void
test_progress_line (void **state)
{
  static const struct {
    struct progress_disk now;
    uint64_t rate;
    unsigned columns;
    const char *expect;
  } lines[] = {
    { { "stream", 0, 0, 0, 0 }, 0, 100, "web1/root reading  0 B  -" },
    { { "stream", 1u << 30, UINT64_C (2) << 30, 0, UINT64_C (4) << 30 },
      64u << 20,
      120,
      "web1/root reading [==========          ]   50 %  1.0 GiB of 2.0 GiB  "
      "64.0 MiB/s  skipped 4.0 GiB  ETA 16 s" },
    { { "stream", 1u << 30, UINT64_C (2) << 30, 0, UINT64_C (4) << 30 },
      64u << 20,
      80,
      "web1/root   50 %  1.0 GiB of 2.0 GiB  64.0 MiB/s  skipped 4.0 GiB  "
      "ETA 16 s" },
    { { "stream", 1u << 30, UINT64_C (2) << 30, 0, UINT64_C (4) << 30 },
      64u << 20,
      60,
      "web1/root   50 %  64.0 MiB/s  skipped 4.0 GiB  ETA 16 s" },
    { { "stream", 1u << 30, UINT64_C (2) << 30, 0, UINT64_C (4) << 30 },
      64u << 20,
      50,
      "web1/root reading   50 %  64.0 MiB/s  ETA 16 s" },
    { { "stream", 1u << 30, UINT64_C (2) << 30, 0, 0 },
      64u << 20,
      80,
      "web1/root reading [=====      ]   50 %  1.0 GiB of 2.0 GiB  64.0 MiB/s  "
      "ETA 16 s" },
    { { "stream", 1u << 30, UINT64_C (2) << 30, 0, 0 },
      64u << 20,
      20,
      "web1/root   50 %" },
    { { "stream", 1u << 30, UINT64_C (2) << 30, 0, 0 },
      64u << 20,
      10,
      "we\xe2\x80\xa6   50 %" },
    { { NULL, 5, 5, 0, 0 }, 0, 20, "web1/root  100 %  -" },
    /* more than was foretold is no more than all */
    { { NULL, 9, 5, 0, 0 }, 1, 40, "web1/root  100 %  9 B of 5 B  1 B/s" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (lines); i++) {
    CLEANUP_FREE char *line = progress_line ("web1", "root", &lines[i].now,
                                             lines[i].rate, lines[i].columns);

    assert_string_equal (line, lines[i].expect);
  }
}

static void
test_words (void **state)
{
  (void)state;
  for (int i = PHASE_PLAN; i <= PHASE_ATTACH; i++) {
    const char *name = phase_name ((enum phase)i);

    assert_string_not_equal (words_phase (name), name);
  }
  assert_string_equal (words_phase ("t0"), "checking the layers (t0)");
  assert_string_equal (words_phase ("new"), "new");
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_parse),
    cmocka_unit_test (test_first_word),
    cmocka_unit_test (test_progress_line),
    cmocka_unit_test (test_words),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
