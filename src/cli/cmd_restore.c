/* SPDX-License-Identifier: Apache-2.0 */
/* restore: a point as a new VM, or one disk of it into a file. */
#include <config.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "cli/args.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/output.h"
#include "cli/pointinfo.h"
#include "cli/report.h"
#include "conf/settings.h"
#include "job/restore.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"

static const struct args_option restore_options[] = {
  { "as", 0, "NAME", "the name of the new VM" },
  { "cluster", 0, "C", "name or id of its cluster, not that of the point" },
  { "storage", 0, "SD", "name or id of the storage domain for its disks" },
  { "start", 0, NULL, "start it when it is complete" },
  { "dry-run", 'n', NULL, "print where its disks would go and in which form" },
  { "disk", 0, "DISK", "id or alias of the disk to write into a file" },
  { "to", 0, "FILE", "that file, which must not exist, or - for stdout" },
  { "format", 'O', "FORMAT",
    "raw or qcow2: of the file (raw), or of the disks (as they were)" },
  { NULL, 0, NULL, NULL },
};

static int
restore_as (const struct args *args, const struct options *options,
            const char *format, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (report_free) struct report *report = NULL;
  struct observer_tally tally = { .done = 0 };
  struct restore_options what = {
    .point = args->words[0],
    .as = args_value (args, "as"),
    .cluster = args_value (args, "cluster"),
    .storage = args_value (args, "storage"),
    .format = format == NULL                ? TARGET_AS_RECORDED
              : strcmp (format, "raw") == 0 ? TARGET_RAW
                                            : TARGET_QCOW2,
    .start = args_flag (args, "start"),
    .dry_run = args_flag (args, "dry-run"),
  };

  if (door_settings (options, &settings, f) != 0
      || settings_need_repository (settings, f) != 0
      || settings_need_engine (settings, f) != 0
      || settings_need_ssh (settings, f) != 0)
    return -1;
  what.settings = settings;
  report = report_new (options, "restored", stdout);
  if (restore_vm (&what, report_observer (report), &tally, f) != 0)
    return -1;
  if (what.dry_run && tally.failed == 0)
    report_plan (report, &tally);
  else
    report_summary (report, &tally);
  return observer_exit_status (&tally);
}

/* The names of what goes into the file.  What is not found here will be told
   by restore_file. */
static char *
describe (const struct settings *settings,
          const struct restore_file_options *what, struct point **point,
          struct report_file *out)
{
  CLEANUP (place_close) struct place *place = NULL;
  struct fault ignored = FAULT_INIT;
  const struct manifest_disk *disk;

  out->file = what->to;
  if (door_place (settings, &place, &ignored) != 0
      || point_find (place, what->point, point, &ignored) != 0)
    return NULL;
  out->vm_id = (*point)->vm_id;
  if ((*point)->manifest == NULL)
    return NULL;
  out->vm = (*point)->manifest->vm_name;
  disk = manifest_find_disk ((*point)->manifest, what->disk);
  if (disk != NULL) {
    out->disk_id = disk->id;
    out->alias = disk->alias;
  }
  return pointinfo_name (*point);
}

static int
restore_to (const struct args *args, const struct options *options, bool qcow2,
            struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (report_free) struct report *report = NULL;
  CLEANUP (point_free) struct point *point = NULL;
  CLEANUP_FREE char *name = NULL;
  struct report_file file = { .file = NULL };
  struct observer_tally tally = { .done = 0 };
  struct restore_file_options what = {
    .point = args->words[0],
    .disk = args_value (args, "disk"),
    .to = args_value (args, "to"),
    .qcow2 = qcow2,
  };
  bool pipe = strcmp (what.to, "-") == 0;

  if (pipe && isatty (STDOUT_FILENO))
    return fault_set (f, FAULT_USAGE, 0,
                      "restore: a disk is not written to a terminal; "
                      "redirect the output");
  if (pipe && options->json)
    return fault_set (f, FAULT_USAGE, 0,
                      "restore: --json and --to - both want the standard "
                      "output");
  if (door_settings (options, &settings, f) != 0
      || settings_need_repository (settings, f) != 0)
    return -1;
  what.settings = settings;
  name = describe (settings, &what, &point, &file);
  file.point = name;
  report = report_new (options, "restored", pipe ? stderr : stdout);
  report_set_file (report, &file);
  if (restore_file (&what, report_observer (report), &tally, f) != 0)
    return -1;
  report_summary (report, &tally);
  return observer_exit_status (&tally);
}

/* The options of one form do not go with the other. */
static int
check_form (const struct args *args, bool file, struct fault *f)
{
  static const char *const of_vm[]
      = { "as", "cluster", "storage", "start", "dry-run" };
  static const char *const of_file[] = { "disk", "to" };
  const char *const *foreign = file ? of_vm : of_file;
  size_t count = file ? sizeof of_vm / sizeof of_vm[0]
                      : sizeof of_file / sizeof of_file[0];

  for (size_t i = 0; i < count; i++) {
    if (args_value (args, foreign[i]) != NULL)
      return fault_set (f, FAULT_USAGE, 0,
                        "restore: --%s does not go with --%s", foreign[i],
                        file ? "disk" : "as");
  }
  if (file && args_value (args, "to") == NULL)
    return fault_set (f, FAULT_USAGE, 0, "restore: --disk needs --to FILE");
  return 0;
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  const char *format = args_value (args, "format");
  bool file = args_value (args, "disk") != NULL;

  if (!file && args_value (args, "as") == NULL)
    return fault_set (f, FAULT_USAGE, 0,
                      "restore: --as NAME (a new VM) or --disk DISK --to FILE "
                      "is needed");
  if (check_form (args, file, f) != 0)
    return -1;
  if (format != NULL && strcmp (format, "raw") != 0
      && strcmp (format, "qcow2") != 0)
    return fault_set (f, FAULT_USAGE, 0,
                      "restore: format \"%s\" is neither raw nor qcow2",
                      format);
  if (!file)
    return restore_as (args, options, format, f);
  return restore_to (args, options,
                     format != NULL && strcmp (format, "qcow2") == 0, f);
}

const struct command cmd_restore = {
  .name = "restore",
  .usage = "POINT --as NAME [OPTION]...\n"
           "POINT --disk DISK --to FILE|- [-O raw|qcow2]",
  .summary = "restore a point as a new VM, or one disk of it into a file",
  .help = "POINT is VM@latest, VM@-N (N points before the latest) or "
          "VM@YYYYMMDDTHHMMSSZ.\nA disk into a file needs no engine.\n",
  .options = restore_options,
  .word = "the POINT",
  .min = 1,
  .max = 1,
  .run = run,
};
