/* SPDX-License-Identifier: Apache-2.0 */
/* Options and words of a command line, by tables from which the help is
   printed too.  Options may stand anywhere; "--" ends them; "-" is a word;
   values as --name VALUE, --name=VALUE, -O VALUE or -OVALUE, and not twice.  Nothing is
   abbreviated, so that a later option never changes what a script means. */
#ifndef ARGS_H
#define ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct fault;

#define ARGS_OPTIONS_MAX 24
#define ARGS_WORDS_MAX 4096

struct args_option {
  const char *name;
  char letter;       /* 0: none */
  const char *value; /* how the help calls its value, NULL: a flag */
  const char *help;
};

struct args {
  const struct args_option *options[ARGS_OPTIONS_MAX];
  const char *values[ARGS_OPTIONS_MAX]; /* NULL: not given; flags: "" */
  size_t option_count;
  const char **words;
  size_t word_count;
};

/* Make the options of TABLE (ended by a NULL name; NULL: none) known. */
void args_init (struct args *a);
void args_know (struct args *a, const struct args_option *table);
/* Take ARGV from *INDEX on.  With FIRST_WORD it stops at the first word,
   which *INDEX then points at.  FAULT_USAGE. */
int args_parse (struct args *a, int argc, char **argv, int *index,
                bool first_word, struct fault *f);
bool args_flag (const struct args *a, const char *name);
/* NULL when it was not given. */
const char *args_value (const struct args *a, const char *name);
void args_reset (struct args *a);
/* One line an option. */
void args_help (const struct args_option *table, FILE *stream);

#endif /* ARGS_H */
