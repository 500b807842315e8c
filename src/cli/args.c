/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "cli/args.h"

void
args_init (struct args *a)
{
  *a = (struct args){ .words = NULL };
}

void
args_know (struct args *a, const struct args_option *table)
{
  for (; table != NULL && table->name != NULL; table++) {
    assert (a->option_count < ARGS_OPTIONS_MAX);
    a->options[a->option_count++] = table;
  }
}

/* The index of an option by its name of LEN bytes, or -1. */
static int
find_name (const struct args *a, const char *name, size_t len)
{
  for (size_t i = 0; i < a->option_count; i++) {
    if (strlen (a->options[i]->name) == len
        && strncmp (a->options[i]->name, name, len) == 0)
      return (int)i;
  }
  return -1;
}

static int
find_letter (const struct args *a, char letter)
{
  for (size_t i = 0; i < a->option_count; i++) {
    if (a->options[i]->letter == letter)
      return (int)i;
  }
  return -1;
}

/* A flag that is given twice says the same; of two values one would be lost. */
static int
take_value (struct args *a, int at, const char *value, struct fault *f)
{
  if (a->values[at] != NULL)
    return fault_set (f, FAULT_USAGE, 0,
                      "option --%s is given twice: \"%s\" and \"%s\"",
                      a->options[at]->name, a->values[at], value);
  a->values[at] = value;
  return 0;
}

/* "--name", "--name=VALUE", "--name VALUE" */
static int
take_long (struct args *a, int argc, char **argv, int *index, struct fault *f)
{
  const char *arg = argv[(*index)++];
  size_t len = strcspn (arg + 2, "=");
  const char *value = arg[2 + len] == '=' ? arg + 2 + len + 1 : NULL;
  int at = find_name (a, arg + 2, len);

  if (at < 0)
    return fault_set (f, FAULT_USAGE, 0, "unknown option --%.*s", (int)len,
                      arg + 2);
  if (a->options[at]->value == NULL) {
    if (value != NULL)
      return fault_set (f, FAULT_USAGE, 0, "option --%s takes no value",
                        a->options[at]->name);
    a->values[at] = "";
    return 0;
  }
  if (value == NULL && *index < argc)
    value = argv[(*index)++];
  if (value == NULL || value[0] == '\0')
    return fault_set (f, FAULT_USAGE, 0, "option --%s needs a value: %s",
                      a->options[at]->name, a->options[at]->value);
  return take_value (a, at, value, f);
}

/* "-qv", "-O VALUE", "-OVALUE" */
static int
take_letters (struct args *a, int argc, char **argv, int *index,
              struct fault *f)
{
  const char *arg = argv[(*index)++];

  for (const char *p = arg + 1; *p != '\0'; p++) {
    int at = find_letter (a, *p);

    if (at < 0)
      return fault_set (f, FAULT_USAGE, 0, "unknown option -%c", *p);
    if (a->options[at]->value == NULL) {
      a->values[at] = "";
      continue;
    }
    if (p[1] != '\0')
      return take_value (a, at, p + 1, f);
    if (*index < argc)
      return take_value (a, at, argv[(*index)++], f);
    return fault_set (f, FAULT_USAGE, 0, "option -%c needs a value: %s", *p,
                      a->options[at]->value);
  }
  return 0;
}

static int
take_word (struct args *a, const char *word, struct fault *f)
{
  if (a->word_count == ARGS_WORDS_MAX)
    return fault_set (f, FAULT_USAGE, 0, "more than %d arguments",
                      ARGS_WORDS_MAX);
  a->words = xreallocarray (a->words, a->word_count + 1, sizeof *a->words);
  a->words[a->word_count++] = word;
  return 0;
}

int
args_parse (struct args *a, int argc, char **argv, int *index, bool first_word,
            struct fault *f)
{
  bool options = true;

  while (*index < argc) {
    const char *arg = argv[*index];
    int rc;

    if (options && strcmp (arg, "--") == 0) {
      options = false;
      (*index)++;
      continue;
    }
    if (options && strncmp (arg, "--", 2) == 0)
      rc = take_long (a, argc, argv, index, f);
    else if (options && arg[0] == '-' && arg[1] != '\0')
      rc = take_letters (a, argc, argv, index, f);
    else if (first_word)
      return 0;
    else
      rc = take_word (a, argv[(*index)++], f);
    if (rc != 0)
      return -1;
  }
  return 0;
}

bool
args_flag (const struct args *a, const char *name)
{
  return args_value (a, name) != NULL;
}

const char *
args_value (const struct args *a, const char *name)
{
  int at = find_name (a, name, strlen (name));

  assert (at >= 0);
  return a->values[at];
}

void
args_reset (struct args *a)
{
  free (a->words);
  args_init (a);
}

void
args_help (const struct args_option *table, FILE *stream)
{
  for (; table->name != NULL; table++) {
    char left[64];

    snprintf (left, sizeof left, "%s%c%s--%s%s%s",
              table->letter != 0 ? "-" : " ",
              table->letter != 0 ? table->letter : ' ',
              table->letter != 0 ? ", " : "  ", table->name,
              table->value != NULL ? " " : "",
              table->value != NULL ? table->value : "");
    fprintf (stream, "  %-24s %s\n", left, table->help);
  }
}
