/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xmem.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/table.h"

struct report {
  const struct options *options;
  const char *verb;
  FILE *results;
  struct progress *progress;
  struct observer observer;
  struct table *plan;
  const struct report_file *file; /* NULL: results are VMs */
};

static const struct table_column plan_columns[] = {
  { "VM", TABLE_ELASTIC },
  { "DISK", TABLE_ELASTIC },
  { "SIZE", TABLE_RIGHT },
  { "PLAN", TABLE_LEFT },
};

/* A line that is ready, for progress_around. */
struct line {
  FILE *stream;
  const char *text;
};

static void
print_line (void *opaque)
{
  const struct line *line = opaque;

  fprintf (line->stream, "%s\n", line->text);
  fflush (line->stream);
}

static void
print (struct report *r, const char *text)
{
  CLEANUP_FREE char *clean = output_clean (text);
  struct line line = { r->results, clean };

  progress_around (r->progress, print_line, &line);
}

struct object {
  FILE *stream;
  struct json *json;
};

static void
print_object (void *opaque)
{
  const struct object *object = opaque;

  json_end (object->json, object->stream);
}

static void
print_json (struct report *r, struct json *j)
{
  struct object object = { r->results, j };

  progress_around (r->progress, print_object, &object);
}

/* ---- the observer ---- */

static void
on_disk (void *opaque, const struct observer_disk *d)
{
  struct report *r = opaque;
  struct json j;

  table_cell (r->plan, d->vm_name);
  table_cell (r->plan, d->alias);
  table_cell_size (r->plan, d->virtual_size);
  table_cell (r->plan, d->reason);
  log_debug ("%s: disk %s: %s", d->vm_name, d->alias, d->reason);
  if (!r->options->json)
    return;
  json_begin (&j, "plan");
  json_string (&j, "vm_id", d->vm_id);
  json_string (&j, "vm", d->vm_name);
  json_string (&j, "disk_id", d->disk_id);
  json_string (&j, "alias", d->alias);
  json_u64 (&j, "virtual_size", d->virtual_size);
  json_string (&j, "kind", d->kind);
  json_bool (&j, "skipped", d->skipped);
  json_string (&j, "reason", d->reason);
  print_json (r, &j);
}

static void
on_phase (void *opaque, const char *vm, const char *phase, const char *text)
{
  struct report *r = opaque;
  struct json j;

  progress_phase (r->progress, vm, phase, text);
  if (!r->options->json)
    return;
  json_begin (&j, "phase");
  json_string (&j, "vm", vm);
  json_string (&j, "phase", phase);
  json_string (&j, "text", text != NULL && text[0] != '\0' ? text : NULL);
  print_json (r, &j);
}

static void
on_progress (void *opaque, const struct observer_progress *p)
{
  struct report *r = opaque;
  const struct progress_disk now = {
    .phase = p->phase,
    .done = p->bytes_done,
    .total = p->bytes_total,
    .wire = p->bytes_wire,
    .skipped = p->bytes_skipped,
  };

  progress_update (r->progress, p->vm_name,
                   p->alias != NULL ? p->alias : p->disk_id, &now);
}

static const char *
state_name (enum observer_state state)
{
  switch (state) {
  case OBSERVER_PLANNED:
    return "planned";
  case OBSERVER_DONE:
    return "done";
  case OBSERVER_FAILED:
    return "failed";
  case OBSERVER_SKIPPED:
    return "skipped";
  }
  return "failed";
}

/* The VM that a result is of; a restore calls by vm_name the new one. */
static char *
vm_of (const struct report *r, const struct observer_result *result)
{
  const char *at = result->new_vm_name != NULL && result->point != NULL
                       ? strrchr (result->point, '@')
                       : NULL;
  const char *name = r->file != NULL ? r->file->vm : result->vm_name;

  if (at != NULL)
    return xstrndup (result->point, (size_t)(at - result->point));
  return name != NULL ? xstrdup (name) : NULL;
}

static void
result_json (struct report *r, const struct observer_result *result)
{
  const struct report_file *file = r->file;
  CLEANUP_FREE char *vm = vm_of (r, result);
  struct json j;

  json_begin (&j, "result");
  json_string (&j, "state", state_name (result->state));
  json_string (&j, "vm_id", file != NULL ? file->vm_id : result->vm_id);
  json_string (&j, "vm", vm);
  json_string (&j, "point",
               file != NULL && file->point != NULL ? file->point
                                                   : result->point);
  if (file != NULL) {
    json_string (&j, "disk_id", file->disk_id);
    json_string (&j, "alias", file->alias);
    json_string (&j, "file", file->file);
  }
  json_string (&j, "new_vm_id", result->new_vm_id);
  json_string (&j, "new_vm", result->new_vm_name);
  json_u64 (&j, "disk_count", result->disk_count);
  json_u64 (&j, "virtual_size", result->bytes_virtual);
  json_u64 (&j, "data", result->bytes_data);
  json_u64 (&j, "wire", result->bytes_wire);
  json_u64 (&j, "duration_ms", result->duration_ms);
  json_string (&j, "code",
               result->fault != NULL ? fault_name (result->fault->code) : NULL);
  json_string (&j, "message",
               result->fault != NULL ? result->fault->text : NULL);
  json_string (&j, "note", result->note);
  print_json (r, &j);
}

/* "2 disks of 10.0 GiB, 4.1 GiB data, 1.9 GiB on the wire, 12 s in all
   (350 MiB/s)" */
static void
put_amounts (const struct observer_result *result, char *out, size_t size)
{
  char whole[OUTPUT_WORD_SIZE];
  char data[OUTPUT_WORD_SIZE];
  char wire[OUTPUT_WORD_SIZE];
  char duration[OUTPUT_WORD_SIZE];
  char rate[OUTPUT_WORD_SIZE];
  uint64_t ms = result->duration_ms > 0 ? result->duration_ms : 1;

  output_size (result->bytes_virtual, whole);
  output_size (result->bytes_data, data);
  output_size (result->bytes_wire, wire);
  output_duration (result->duration_ms, duration);
  output_rate ((uint64_t)((double)result->bytes_data * 1000 / (double)ms),
               rate);
  snprintf (out, size, "%u disk%s of %s, %s data%s%s%s, %s in all (%s)",
            result->disk_count, result->disk_count == 1 ? "" : "s", whole, data,
            result->bytes_wire > 0 ? ", " : "",
            result->bytes_wire > 0 ? wire : "",
            result->bytes_wire > 0 ? " on the wire" : "", duration, rate);
}

/* "web1@20261120T010000Z: disk root restored to root.raw: ..." */
static char *
file_text (const struct report *r, const struct observer_result *result,
           const char *amounts)
{
  const struct report_file *file = r->file;
  const char *alias = file->alias != NULL ? file->alias : file->disk_id;

  return xasprintf (
      "%s: disk %s %s to %s: %s",
      file->point != NULL ? file->point : result->point,
      alias != NULL ? alias : "", r->verb,
      strcmp (file->file, "-") == 0 ? "standard output" : file->file, amounts);
}

static void
result_text (struct report *r, const struct observer_result *result)
{
  const char *name = result->vm_name != NULL ? result->vm_name : "";
  bool is_new = result->new_vm_name != NULL;
  const char *from = is_new && result->point != NULL ? result->point : name;
  const char *as = is_new ? result->new_vm_name : result->point;
  CLEANUP_FREE char *text = NULL;
  char amounts[6 * OUTPUT_WORD_SIZE];

  if (r->options->quiet)
    return;
  put_amounts (result, amounts, sizeof amounts);
  switch (result->state) {
  case OBSERVER_PLANNED:
    return;
  case OBSERVER_FAILED: /* stands on stderr */
    return;
  case OBSERVER_SKIPPED:
    text = xasprintf ("%s: skipped%s%s", name, result->note != NULL ? ": " : "",
                      result->note != NULL ? result->note : "");
    break;
  case OBSERVER_DONE:
    if (r->file != NULL)
      text = file_text (r, result, amounts);
    else
      text
          = xasprintf ("%s: %s%s%s: %s", from, r->verb,
                       as != NULL ? " as " : "", as != NULL ? as : "", amounts);
    break;
  }
  print (r, text);
}

/* The fault mostly names the VM or the point itself. */
static void
log_fault (const char *name, const struct fault *f)
{
  const char *text = f->text;
  size_t n = strlen (name);

  if (strncasecmp (text, "vm ", 3) == 0)
    text += 3;
  else if (strncmp (text, "point ", 6) == 0)
    text += 6;
  if (strncmp (text, name, n) != 0 || strchr (": ", text[n]) == NULL)
    log_error ("%s: %s", name, f->text);
  else if (text[n] == ':')
    log_error ("%s", text);
  else
    log_error ("%s", f->text);
}

static void
on_result (void *opaque, const struct observer_result *result)
{
  struct report *r = opaque;
  const char *name = result->vm_name != NULL ? result->vm_name : "";

  progress_done (r->progress, name, NULL);
  /* Who ran `restore --to - | head` has what he wanted. */
  if (result->fault != NULL && (result->fault->err != EPIPE || !output_gone ()))
    log_fault (name, result->fault);
  if (result->note != NULL && result->note[0] != '\0'
      && result->state != OBSERVER_SKIPPED)
    log_warn ("%s: %s", name, result->note);
  if (r->options->json)
    result_json (r, result);
  else
    result_text (r, result);
}

/* ---- */

struct report *
report_new (const struct options *options, const char *verb, FILE *results)
{
  struct report *r = xcalloc (1, sizeof *r);

  r->options = options;
  r->verb = verb;
  r->results = results;
  r->progress = progress_new (options);
  r->plan
      = table_new (plan_columns, sizeof plan_columns / sizeof plan_columns[0]);
  r->observer = (struct observer){
    .opaque = r,
    .disk = on_disk,
    .phase = on_phase,
    .progress = on_progress,
    .result = on_result,
  };
  return r;
}

const struct observer *
report_observer (struct report *r)
{
  return &r->observer;
}

void
report_set_file (struct report *r, const struct report_file *file)
{
  r->file = file;
}

static void
end_progress (struct report *r)
{
  progress_free (r->progress);
  r->progress = NULL;
}

static void
summary_json (struct report *r, const struct observer_tally *tally)
{
  struct json j;

  json_begin (&j, "summary");
  json_u64 (&j, "done", tally->done);
  json_u64 (&j, "failed", tally->failed);
  json_u64 (&j, "skipped", tally->skipped);
  json_u64 (&j, "leftovers", tally->leftovers);
  json_u64 (&j, "status", (uint64_t)observer_exit_status (tally));
  json_end (&j, r->results);
}

void
report_plan (struct report *r, const struct observer_tally *tally)
{
  end_progress (r);
  if (r->options->json)
    summary_json (r, tally);
  else
    table_print (r->plan, r->results, output_width (fileno (r->results)));
}

void
report_summary (struct report *r, const struct observer_tally *tally)
{
  end_progress (r);
  if (r->options->json) {
    summary_json (r, tally);
    return;
  }
  if (r->options->quiet || tally->done + tally->failed + tally->skipped < 2)
    return;
  fprintf (r->results, "%u %s, %u failed, %u skipped\n", tally->done, r->verb,
           tally->failed, tally->skipped);
}

void
report_free (struct report *r)
{
  if (r == NULL)
    return;
  end_progress (r);
  table_free (r->plan);
  free (r);
}
