/* SPDX-License-Identifier: Apache-2.0 */
/* backup: new restore points of the VMs that the selectors choose. */
#include <config.h>

#include <stdio.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "cli/args.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/output.h"
#include "cli/report.h"
#include "conf/settings.h"
#include "job/backup.h"

static const struct args_option backup_options[] = {
  { "full", 'f', NULL, "read all, also where an increment would do" },
  { "dry-run", 'n', NULL, "print what would be done and why; change nothing" },
  { NULL, 0, NULL, NULL },
};

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (report_free) struct report *report = NULL;
  struct observer_tally tally = { .done = 0 };
  struct backup_options what = {
    .selectors = args->words,
    .selector_count = args->word_count,
    .full = args_flag (args, "full"),
    .dry_run = args_flag (args, "dry-run"),
  };

  if (door_settings (options, &settings, f) != 0
      || door_some_place (settings, f) != 0
      || settings_need_engine (settings, f) != 0
      || settings_need_ssh (settings, f) != 0)
    return -1;
  what.settings = settings;
  report = report_new (options, "backed up", stdout);
  if (backup_run (&what, report_observer (report), &tally, f) != 0)
    return -1;
  if (what.dry_run)
    report_plan (report, &tally);
  else
    report_summary (report, &tally);
  return observer_exit_status (&tally);
}

const struct command cmd_backup = {
  .name = "backup",
  .usage = "[--full] [--dry-run] SELECTOR...",
  .summary = "back up virtual machines",
  .help = "A selector is a name, a glob, vm:ID, tag:T or cluster:C; with ! in "
          "front it\nexcludes.\n",
  .options = backup_options,
  .word = "a SELECTOR",
  .min = 1,
  .max = ARGS_WORDS_MAX,
  .run = run,
};
