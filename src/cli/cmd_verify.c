/* SPDX-License-Identifier: Apache-2.0 */
/* verify: are points what was backed up? */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "cli/args.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/pointinfo.h"
#include "cli/progress.h"
#include "conf/settings.h"
#include "job/observer.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/verify.h"

#define NO_DECODER "none: " /* see struct verify_disk */

static const struct args_option verify_options[] = {
  { "quick", 0, NULL, "digests and structure only, no second decoder" },
  { "qemu", 0, NULL, "decode by qemu-img, also where libqcow would do" },
  { NULL, 0, NULL, NULL },
};

struct job {
  const struct options *options;
  struct place *place;
  struct verify_options how;
  struct progress *progress;
  struct observer_tally tally;
};

/* What on_progress needs: which point it is. */
struct current {
  struct progress *progress;
  const char *name;
  const struct manifest *manifest;
};

static void
on_progress (void *opaque, const char *disk_id, uint64_t done, uint64_t total)
{
  const struct current *current = opaque;
  const struct progress_disk now
      = { .phase = "verify", .done = done, .total = total };

  const struct manifest_disk *disk
      = manifest_find_disk (current->manifest, disk_id);

  progress_update (current->progress, current->name,
                   disk != NULL && disk->alias != NULL ? disk->alias : disk_id,
                   &now);
}

struct outcome {
  const struct job *job;
  const struct point *point;
  const char *name;
  const struct verify_report *report;
  const struct fault *fault; /* NULL: good */
  uint64_t duration_ms;
};

static void
print_json (void *opaque)
{
  const struct outcome *o = opaque;
  struct json j;

  json_begin (&j, "verify");
  json_string (&j, "point", o->name);
  json_string (&j, "vm_id", o->point->vm_id);
  json_string (&j, "stamp", o->point->name);
  json_bool (&j, "good", o->fault == NULL);
  json_string (&j, "code",
               o->fault != NULL ? fault_name (o->fault->code) : NULL);
  json_string (&j, "message", o->fault != NULL ? o->fault->text : NULL);
  json_u64 (&j, "duration_ms", o->duration_ms);
  json_array_begin (&j, "disks");
  for (size_t i = 0; i < o->report->disk_count; i++) {
    const struct verify_disk *d = &o->report->disks[i];

    json_object_begin (&j, NULL);
    json_string (&j, "id", d->id);
    json_string (&j, "alias", d->alias);
    json_bool (&j, "good", d->good);
    json_string (&j, "message", d->good ? NULL : d->fault.text);
    json_u64 (&j, "blocks", d->blocks);
    json_u64 (&j, "bad", d->bad);
    json_u64 (&j, "data", d->data);
    json_u64 (&j, "virtual_size", d->size);
    json_string (&j, "decoder", d->decoder);
    json_object_end (&j);
  }
  json_array_end (&j);
  json_end (&j, stdout);
}

/* The fault names the disk, which the line begins with. */
static const char *
reason_of (const struct verify_disk *d)
{
  const char *name = d->alias != NULL ? d->alias : d->id;
  const char *text = d->fault.text;
  size_t n = strlen (name);

  if (strncmp (text, "disk ", 5) == 0 && strncmp (text + 5, name, n) == 0
      && strncmp (text + 5 + n, ": ", 2) == 0)
    return text + 5 + n + 2;
  return text;
}

/* TOLD: what stands on stderr, which is not said again. */
static void
print_disk (const struct verify_disk *d, const char *told)
{
  CLEANUP_FREE char *reason = output_clean (reason_of (d));
  CLEANUP_FREE char *alias = output_clean (d->alias != NULL ? d->alias : d->id);
  bool again = told != NULL && strstr (told, reason_of (d)) != NULL;
  bool undecoded = strncmp (d->decoder, NO_DECODER, sizeof NO_DECODER - 1) == 0;
  char data[OUTPUT_WORD_SIZE];

  output_size (d->data, data);
  if (d->good)
    printf ("  %s: good: %" PRIu64 " block%s (%s), %s%s\n", alias, d->blocks,
            d->blocks == 1 ? "" : "s", data,
            undecoded ? "not decoded: " : "decoded by ",
            d->decoder + (undecoded ? sizeof NO_DECODER - 1 : 0));
  else
    printf ("  %s: BAD: %" PRIu64 " of %" PRIu64 " block%s (%s)%s%s\n", alias,
            d->bad, d->blocks, d->blocks == 1 ? "" : "s", data,
            again ? "" : ": ", again ? "" : reason);
}

static void
print_text (void *opaque)
{
  const struct outcome *o = opaque;
  CLEANUP_FREE char *name = output_clean (o->name);
  char duration[OUTPUT_WORD_SIZE];

  if (o->job->options->quiet)
    return;
  output_duration (o->duration_ms, duration);
  printf ("%s: %s, %s\n", name, o->fault == NULL ? "good" : "BAD", duration);
  for (size_t i = 0; i < o->report->disk_count; i++)
    print_disk (&o->report->disks[i], o->fault != NULL ? o->fault->text : NULL);
  fflush (stdout);
}

/* The fault names VM and point, which the line begins with. */
static void
log_bad (const char *name, const struct point *point, const struct fault *f)
{
  const char *text = f->text;
  const char *at = strstr (text, point->name);

  if (strncmp (text, "VM ", 3) == 0 && at != NULL) {
    at += strlen (point->name);
    if (strncmp (at, ": ", 2) == 0)
      text = at + 2;
  }
  log_error ("%s: %s", name, text);
}

/* One point to its end; -1 only when the user stops. */
static int
verify_one (struct job *job, const struct point *point, struct fault *f)
{
  CLEANUP_FREE char *name = pointinfo_name (point);
  struct current current = { job->progress, name, point->manifest };
  struct verify_report report = { .disk_count = 0 };
  struct fault own = FAULT_INIT;
  struct outcome outcome = { job, point, name, &report, NULL, 0 };
  uint64_t begin = stamp_mono_ms ();
  struct observer_result result = { .state = OBSERVER_DONE };

  job->how.opaque = &current;
  if (point->manifest == NULL)
    fault_set (&own, FAULT_CORRUPT, 0, "%s",
               point->damage != NULL ? point->damage : "damaged manifest");
  else
    verify_point (job->place, point, &job->how, &report, &own);
  progress_done (job->progress, name, NULL);
  if (own.code != FAULT_NONE) {
    result.state = OBSERVER_FAILED;
    result.fault = &own;
    outcome.fault = &own;
    log_bad (name, point, &own);
  }
  outcome.duration_ms = stamp_mono_ms () - begin;
  progress_around (job->progress, job->options->json ? print_json : print_text,
                   &outcome);
  observer_count (&job->tally, &result);
  verify_report_reset (&report);
  return cancel_check (f);
}

static int
verify_list (struct job *job, struct fault *f)
{
  struct point_list list;
  int rc = 0;

  if (point_list (job->place, NULL, &list, f) != 0)
    return -1;
  pointinfo_sort (&list);
  for (size_t i = 0; rc == 0 && i < list.count; i++)
    rc = verify_one (job, &list.points[i], f);
  point_list_reset (&list);
  return rc;
}

static int
verify_named (struct job *job, const char *text, struct fault *f)
{
  CLEANUP (point_free) struct point *point = NULL;

  if (point_find (job->place, text, &point, f) != 0)
    return -1;
  return verify_one (job, point, f);
}

static void
print_summary (const struct job *job)
{
  struct json j;

  if (job->options->json) {
    json_begin (&j, "summary");
    json_u64 (&j, "done", job->tally.done);
    json_u64 (&j, "failed", job->tally.failed);
    json_u64 (&j, "status", (uint64_t)observer_exit_status (&job->tally));
    json_end (&j, stdout);
  }
  else if (!job->options->quiet) {
    printf ("%u good, %u bad\n", job->tally.done, job->tally.failed);
  }
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (place_close) struct place *place = NULL;
  CLEANUP (progress_free) struct progress *progress = NULL;
  CLEANUP (verify_bases_free)
  struct verify_bases *bases = verify_bases_new ();
  struct job job = { .options = options };
  int rc;

  if (args_flag (args, "quick") && args_flag (args, "qemu"))
    return fault_set (f, FAULT_USAGE, 0,
                      "verify: --quick (no decoder) does not go with --qemu "
                      "(that decoder)");
  if (door_settings (options, &settings, f) != 0
      || door_place (settings, &place, f) != 0)
    return -1;
  progress = progress_new (options);
  job.place = place;
  job.progress = progress;
  job.how.skip_decode = args_flag (args, "quick");
  job.how.only_qemu = args_flag (args, "qemu");
  job.how.progress = on_progress;
  job.how.bases = bases;
  rc = args->word_count > 0 ? verify_named (&job, args->words[0], f)
                            : verify_list (&job, f);
  if (rc != 0)
    return -1;
  print_summary (&job);
  return observer_exit_status (&job.tally);
}

const struct command cmd_verify = {
  .name = "verify",
  .usage = "[--quick | --qemu] [POINT]",
  .summary = "check one restore point, or all",
  .help = "POINT is VM@latest, VM@-N (N points before the latest) or "
          "VM@YYYYMMDDTHHMMSSZ.\nEvery digest is compared, then the image is "
          "decoded by a program that is not ours;\nthe output names it.\n",
  .options = verify_options,
  .max = 1,
  .run = run,
};
