/* SPDX-License-Identifier: Apache-2.0 */
/* The door of chainlift: global options, the command table, the exit
   status. */
#include <config.h>

#include <ctype.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/log.h"
#include "cli/args.h"
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/output.h"

static int run_help (const struct args *args, const struct options *options,
                     struct fault *f);

static const struct command cmd_help = {
  .name = "help",
  .usage = "[COMMAND]",
  .summary = "print this help, or that of a command",
  .max = 1,
  .run = run_help,
};

static const struct command *const commands[] = {
  /* clang-format off */
  &cmd_config_check,
  &cmd_hosts,
  &cmd_vms,
  &cmd_backup,
  &cmd_points,
  &cmd_show,
  &cmd_verify,
  &cmd_restore,
  &cmd_leftovers,
  &cmd_unlock,
  &cmd_image,
  &cmd_help,
  NULL,
  /* clang-format on */
};

static const struct args_option global_options[] = {
  { "config", 'c', "FILE",
    "the configuration, not " SYSCONFDIR "/chainlift/chainlift.conf" },
  { "json", 0, NULL, "print results as JSON, one object a line" },
  { "quiet", 'q', NULL, "print errors and asked-for lists only" },
  { "verbose", 'v', NULL, "print what is done step by step" },
  { "help", 'h', NULL, "print this help, or that of a command" },
  { "version", 'V', NULL, "print the version" },
  { NULL, 0, NULL, NULL },
};

static const struct command *
find_command (const char *name, struct fault *f)
{
  for (size_t i = 0; commands[i] != NULL; i++) {
    if (strcmp (commands[i]->name, name) == 0)
      return commands[i];
  }
  fault_set (f, FAULT_USAGE, 0, "unknown command \"%s\"; see chainlift --help",
             name);
  return NULL;
}

static void
print_help (void)
{
  puts ("Usage: chainlift [OPTION...] COMMAND [ARGUMENT...]\n"
        "\n"
        "Backs up the disks of oVirt virtual machines over SSH, without "
        "agents.\n"
        "\n"
        "Commands:");
  for (size_t i = 0; commands[i] != NULL; i++)
    printf ("  %-14s %s\n", commands[i]->name, commands[i]->summary);
  puts ("\nOptions, before or after the command:");
  args_help (global_options, stdout);
  puts ("\nEach command has its own --help; chainlift(1) has it all, with the "
        "exit statuses.");
}

static void
print_command_help (const struct command *c)
{
  const char *line = c->usage;

  do { /* one line for each form of the command */
    size_t n = strcspn (line, "\n");

    printf ("%s chainlift %s%s%.*s\n", line == c->usage ? "Usage:" : "      ",
            c->name, n > 0 ? " " : "", (int)n, line);
    line += n;
  } while (*line++ != '\0');
  printf ("\n%c%s.\n", toupper ((unsigned char)c->summary[0]), c->summary + 1);
  if (c->help != NULL)
    printf ("\n%s", c->help);
  if (c->options != NULL) {
    puts ("\nOptions:");
    args_help (c->options, stdout);
  }
}

static int
run_help (const struct args *args, const struct options *options,
          struct fault *f)
{
  const struct command *c;

  (void)options;
  if (args->word_count == 0) {
    print_help ();
    return 0;
  }
  c = find_command (args->words[0], f);
  if (c == NULL)
    return -1;
  print_command_help (c);
  return 0;
}

/* The one place where a fault of a command is told. */
static int
report (const struct fault *fault, const struct options *options)
{
  struct json j;

  log_error ("%s", fault->text);
  if (options->json) {
    json_begin (&j, "error");
    json_string (&j, "code", fault_name (fault->code));
    json_u64 (&j, "status", fault->code);
    json_string (&j, "message", fault->text);
    json_end (&j, stdout);
  }
  return fault->code == FAULT_NONE ? FAULT_INTERNAL : (int)fault->code;
}

static void
read_globals (const struct args *args, struct options *options)
{
  options->config_file = args_value (args, "config");
  options->json = args_flag (args, "json");
  options->quiet = args_flag (args, "quiet");
  options->verbose = args_flag (args, "verbose");
  log_setup ("chainlift", options->verbose ? LOG_LEVEL_DEBUG
                          : options->quiet ? LOG_LEVEL_ERROR
                                           : LOG_LEVEL_INFO);
}

static int
check_words (const struct command *c, const struct args *args, struct fault *f)
{
  if (args->word_count < c->min)
    return fault_set (f, FAULT_USAGE, 0,
                      "%s: %s is missing; see chainlift %s --help", c->name,
                      c->word, c->name);
  if (args->word_count > c->max)
    return fault_set (f, FAULT_USAGE, 0,
                      "%s: \"%s\" is too much; see chainlift %s --help",
                      c->name, args->words[c->max], c->name);
  return 0;
}

static int
run_command (const struct command *c, int argc, char **argv, int index,
             struct args *args, struct options *options, struct fault *f)
{
  int status;

  args_know (args, c->options);
  if (args_parse (args, argc, argv, &index, false, f) != 0)
    return fault_append (f, "; see chainlift %s --help", c->name);
  read_globals (args, options);
  if (args_flag (args, "help")) {
    print_command_help (c);
    return output_flush (f);
  }
  if (check_words (c, args, f) != 0 || cancel_setup (f) != 0)
    return -1;
  status = c->run (args, options, f);
  if (status >= 0 && output_flush (f) != 0)
    return -1;
  return status;
}

static int
run (int argc, char **argv, struct args *args, struct options *options,
     struct fault *f)
{
  const struct command *c;
  int index = 1;

  if (args_parse (args, argc, argv, &index, true, f) != 0)
    return fault_append (f, "; see chainlift --help");
  read_globals (args, options);
  if (args_flag (args, "version")) {
    puts ("chainlift " PACKAGE_VERSION);
    return output_flush (f);
  }
  if (index == argc && args_flag (args, "help")) {
    print_help ();
    return output_flush (f);
  }
  if (index == argc)
    return fault_set (f, FAULT_USAGE, 0,
                      "a command is missing; see chainlift --help");
  c = find_command (argv[index], f);
  if (c == NULL)
    return -1;
  return run_command (c, argc, argv, index + 1, args, options, f);
}

/* Whoever read our output has gone, as `head` does: end as others do then. */
static void
end_of_pipe (void)
{
  sigset_t set;

  sigemptyset (&set);
  sigaddset (&set, SIGPIPE);
  signal (SIGPIPE, SIG_DFL);
  sigprocmask (SIG_UNBLOCK, &set, NULL);
  raise (SIGPIPE);
}

int
main (int argc, char **argv)
{
  struct fault f = FAULT_INIT;
  struct options options = { .config_file = NULL };
  struct args args;
  int status;

  /* Names are UTF-8 wherever we run; cron has no locale. */
  setlocale (LC_CTYPE, "C.UTF-8");
  log_setup ("chainlift", LOG_LEVEL_INFO);
  args_init (&args);
  args_know (&args, global_options);
  status = run (argc, argv, &args, &options, &f);
  if ((status == FAULT_IO || (status < 0 && f.code == FAULT_IO))
      && output_gone ())
    end_of_pipe ();
  if (status < 0)
    status = report (&f, &options);
  args_reset (&args);
  return status;
}
