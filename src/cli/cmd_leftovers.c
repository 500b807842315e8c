/* SPDX-License-Identifier: Apache-2.0 */
/* leftovers: what earlier runs could not remove, listed or removed. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "cli/args.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/table.h"
#include "conf/settings.h"
#include "job/adopt.h"
#include "job/clean.h"
#include "job/leftovers.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"

#define RUN_COLUMNS 8 /* of a run's id; JSON has all */

static const struct table_column columns[] = {
  { "KIND", TABLE_LEFT },  { "OF", TABLE_ELASTIC },     { "RUN", TABLE_LEFT },
  { "WHOSE", TABLE_LEFT }, { "NEXT STEP", TABLE_WRAP },
};

static const struct args_option leftovers_options[] = {
  { "clean", 0, NULL, "remove what is ours and nobody needs or uses" },
  { "dry-run", 'n', NULL, "with --clean: say what it would do" },
  { "adopt", 0, "REPOSITORY-ID",
    "list the objects of a repository that is lost" },
  { "yes", 0, NULL, "with --adopt: remove the objects that are named" },
  { "kept", 0, NULL, "list all snapshots that are kept for increments" },
  { NULL, 0, NULL, NULL },
};

struct known {
  char *vm_id;
  char *name;
};

struct listing {
  const struct options *options;
  struct table *table;
  struct place *place;
  bool all_kept;
  unsigned kept;       /* snapshots for increments */
  unsigned old;        /* of those */
  struct known *known; /* VMs whose names came by */
  size_t known_count;
};

/* Its name as it is kept here. */
static const char *
remember (struct listing *l, const char *vm_id, const char *name)
{
  l->known = xreallocarray (l->known, l->known_count + 1, sizeof *l->known);
  l->known[l->known_count]
      = (struct known){ xstrdup (vm_id), name != NULL ? xstrdup (name) : NULL };
  return l->known[l->known_count++].name;
}

static void
forget (struct listing *l)
{
  for (size_t i = 0; i < l->known_count; i++) {
    free (l->known[i].vm_id);
    free (l->known[i].name);
  }
  free (l->known);
}

/* A draft tells the id of its VM alone; the name stands in an earlier line or
   in a point of it, or nowhere. */
static const char *
name_of (struct listing *l, const char *vm_id)
{
  struct fault ignored = FAULT_INIT;
  const char *name = NULL;
  struct point_list list;

  for (size_t i = 0; i < l->known_count; i++) {
    if (strcmp (l->known[i].vm_id, vm_id) == 0)
      return l->known[i].name;
  }
  if (point_list (l->place, vm_id, &list, &ignored) != 0)
    return NULL;
  for (size_t i = 0; name == NULL && i < list.count; i++) {
    if (list.points[i].manifest != NULL)
      name = list.points[i].manifest->vm_name;
  }
  name = remember (l, vm_id, name);
  point_list_reset (&list);
  return name;
}

/* The word of a state, in JSON and in the column WHOSE. */
static const char *const states[] = {
  [LEFTOVER_OURS] = "ours",           [LEFTOVER_BUSY] = "in use",
  [LEFTOVER_FOREIGN] = "foreign",     [LEFTOVER_REMOVED] = "removed",
  [LEFTOVER_REMOVABLE] = "removable", [LEFTOVER_STAYS] = "stays",
  [LEFTOVER_KEPT] = "kept",
};

static void
print_json (const struct leftover *l, const char *vm_name)
{
  struct json j;

  json_begin (&j, "leftover");
  json_string (&j, "kind", verdict_kind_name (l->kind));
  json_string (&j, "id", l->id);
  json_string (&j, "name", l->name);
  json_string (&j, "vm_id", l->vm_id);
  json_string (&j, "vm", vm_name);
  json_string (&j, "repository_id", l->repository_id);
  json_string (&j, "run_id", l->run_id);
  json_bool (&j, "foreign", l->state == LEFTOVER_FOREIGN);
  json_bool (&j, "busy", l->state == LEFTOVER_BUSY);
  json_string (&j, "state", states[l->state]);
  json_string (&j, "next_step", l->next_step[0] != '\0' ? l->next_step : NULL);
  json_end (&j, stdout);
}

/* No leftover, so it has a type of its own. */
static void
print_json_kept (const struct leftover *l)
{
  struct json j;

  json_begin (&j, "kept");
  json_string (&j, "id", l->id);
  json_string (&j, "vm_id", l->vm_id);
  json_string (&j, "vm", l->vm_name);
  json_string (&j, "point", l->point);
  json_time (&j, "since", l->since);
  json_bool (&j, "old", l->old);
  json_end (&j, stdout);
}

static void
on_kept (struct listing *listing, const struct leftover *l)
{
  struct table *t = listing->table;
  char since[OUTPUT_WORD_SIZE];

  listing->kept++;
  listing->old += l->old;
  if (listing->options->json) {
    print_json_kept (l);
    return;
  }
  if (!l->old && !listing->all_kept)
    return;
  output_time (l->since, since);
  table_cell (t, verdict_kind_name (l->kind));
  table_cell (t, l->vm_name);
  table_cellf (t, "%.*s", RUN_COLUMNS, l->run_id);
  table_cell (t, states[l->state]);
  table_cellf (t, "for increments on point %s, since %s%s (id %s)",
               l->point != NULL ? l->point : "-", since,
               l->old ? ": it grows; back the VM up again, or remove the "
                        "snapshot in the engine"
                      : "",
               l->id);
}

static const char *
vm_of (struct listing *listing, const struct leftover *l)
{
  if (l->vm_id == NULL)
    return NULL;
  return l->vm_name != NULL ? remember (listing, l->vm_id, l->vm_name)
                            : name_of (listing, l->vm_id);
}

/* leftover_fn */
static void
on_leftover (const struct leftover *l, void *opaque)
{
  struct listing *listing = opaque;
  struct table *t = listing->table;
  const char *vm = NULL;

  if (l->state == LEFTOVER_KEPT) {
    on_kept (listing, l);
    return;
  }
  vm = vm_of (listing, l);
  if (listing->options->json) {
    print_json (l, vm);
    return;
  }
  table_cell (t, verdict_kind_name (l->kind));
  /* of volumes the host matters, which was told as the name */
  table_cell (t, l->kind == VERDICT_VOLUMES ? l->name
                 : vm != NULL               ? vm
                 : l->vm_id != NULL         ? l->vm_id
                                            : l->name);
  table_cellf (t, "%.*s", RUN_COLUMNS, l->run_id != NULL ? l->run_id : "");
  table_cell (t, states[l->state]);
  if (uuid_valid (l->id))
    table_cellf (t, "%s (id %s)", l->next_step, l->id);
  else
    table_cell (t, l->next_step);
}

/* leftover_fn of --clean: a line as soon as it is known; a merge may take an
   hour. */
static void
on_cleaned (const struct leftover *l, void *opaque)
{
  struct listing *listing = opaque;
  bool of_vm = l->vm_id != NULL;
  const char *vm = vm_of (listing, l);
  CLEANUP_FREE char *name = NULL;
  CLEANUP_FREE char *reason = NULL;

  if (listing->options->json) {
    print_json (l, vm);
    return;
  }
  if (listing->options->quiet && l->state != LEFTOVER_STAYS)
    return;
  name = output_clean (l->kind == VERDICT_VOLUMES ? l->name
                       : vm != NULL               ? vm
                       : of_vm                    ? l->vm_id
                                                  : l->name);
  reason = output_clean (l->next_step);
  printf ("%s %s", verdict_kind_name (l->kind), l->id);
  printf (of_vm ? " of %s: " : " (%s): ", name);
  printf ("%s%s%s\n", states[l->state], reason[0] != '\0' ? ": " : "", reason);
  fflush (stdout);
}

static int
list (struct listing *listing, const struct settings *settings, struct fault *f)
{
  CLEANUP (table_free)
  struct table *t = table_new (columns, sizeof columns / sizeof columns[0]);
  unsigned count = 0;
  int rc;

  listing->table = t;
  rc = leftovers_list (settings, on_leftover, listing, &count, f);
  table_print (t, stdout, output_width (STDOUT_FILENO));
  if (rc != 0)
    return -1;
  if (count == 0)
    log_info ("nothing of this repository is left behind");
  if (listing->kept > 0)
    log_info ("%u snapshot%s kept for increments%s", listing->kept,
              listing->kept == 1 ? " is" : "s are",
              listing->all_kept ? "" : " (--kept lists them)");
  if (listing->old > 0)
    log_warn ("%u of their VMs got no point for more than %u days "
              "(snapshot.kept_days)",
              listing->old, settings->snapshot.kept_days);
  return count > 0 ? 1 : 0;
}

static int
clean (struct listing *listing, const struct settings *settings, bool dry_run,
       struct fault *f)
{
  struct clean_options how = {
    .settings = settings,
    .dry_run = dry_run,
    .fn = on_cleaned,
    .opaque = listing,
  };
  struct clean_tally tally;
  struct json j;
  int status;

  if (clean_run (&how, &tally, f) != 0)
    return -1;
  status = tally.stay > 0 || (dry_run && tally.removed > 0) ? 1 : 0;
  if (listing->options->json) {
    json_begin (&j, "summary");
    json_u64 (&j, "removed", dry_run ? 0 : tally.removed);
    json_u64 (&j, "removable", dry_run ? tally.removed : 0);
    json_u64 (&j, "stay", tally.stay);
    json_u64 (&j, "status", (uint64_t)status);
    json_end (&j, stdout);
  }
  else if (!listing->options->quiet)
    printf ("%u %s, %u stay\n", tally.removed,
            dry_run ? "would be removed" : "removed", tally.stay);
  return status;
}

/* adopt_fn */
static void
on_adoptable (const struct adopt_object *o, void *opaque)
{
  const struct listing *listing = opaque;
  const char *state = o->removed             ? "removed"
                      : o->reason[0] != '\0' ? "stays"
                                             : "removable";
  const char *name = o->vm_name != NULL ? o->vm_name : o->name;
  CLEANUP_FREE char *clean_name = NULL;
  char age[OUTPUT_WORD_SIZE] = "unknown";
  char size[OUTPUT_WORD_SIZE];
  struct json j;

  if (listing->options->json) {
    json_begin (&j, "adoptable");
    json_string (&j, "kind", verdict_kind_name (o->kind));
    json_string (&j, "id", o->id);
    json_string (&j, "name", o->name);
    json_string (&j, "vm_id", o->vm_id);
    json_string (&j, "vm", o->vm_name);
    json_string (&j, "run_id", o->run_id);
    if (o->facts.age_known)
      json_i64 (&j, "age", o->facts.age_s);
    else
      json_string (&j, "age", NULL);
    json_u64 (&j, "size", o->size);
    json_string (&j, "state", state);
    json_string (&j, "reason", o->reason[0] != '\0' ? o->reason : NULL);
    json_end (&j, stdout);
    return;
  }
  clean_name = output_clean (name);
  if (o->facts.age_known && o->facts.age_s >= 0)
    output_duration ((uint64_t)o->facts.age_s * 1000, age);
  output_size (o->size, size);
  printf ("%s %s %s %s, age %s, %s: %s%s%s\n", verdict_kind_name (o->kind),
          o->id, o->vm_id != NULL ? "of" : "named", clean_name, age, size,
          state, o->reason[0] != '\0' ? ": " : "", o->reason);
  fflush (stdout);
}

static int
adopt (struct listing *listing, const struct settings *settings,
       const struct args *args, struct fault *f)
{
  struct adopt_options how = {
    .settings = settings,
    .repository_id = args_value (args, "adopt"),
    .ids = args->words,
    .id_count = args->word_count,
    .fn = on_adoptable,
    .opaque = listing,
  };
  unsigned count;

  if (args_flag (args, "yes") != (args->word_count > 0))
    return fault_set (f, FAULT_USAGE, 0,
                      "leftovers --adopt: to remove objects say --yes and the "
                      "id of each; without both it lists");
  if (adopt_run (&how, &count, f) != 0)
    return -1;
  return count > 0 ? 1 : 0;
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (place_close) struct place *place = NULL;
  struct listing listing = { .options = options };
  bool dry_run = args_flag (args, "dry-run");
  int rc;

  listing.all_kept = args_flag (args, "kept");
  if (args_value (args, "adopt") == NULL
      && (args->word_count > 0 || args_flag (args, "yes")))
    return fault_set (f, FAULT_USAGE, 0,
                      "leftovers: --yes and ids of objects go with --adopt");
  if (args_value (args, "adopt") != NULL
      && (listing.all_kept || dry_run || args_flag (args, "clean")))
    return fault_set (f, FAULT_USAGE, 0,
                      "leftovers: --adopt stands without --clean, --dry-run "
                      "and --kept");
  if (listing.all_kept && args_flag (args, "clean"))
    return fault_set (f, FAULT_USAGE, 0,
                      "leftovers: --kept lists, --clean removes: one of them");
  if (dry_run && !args_flag (args, "clean"))
    return fault_set (f, FAULT_USAGE, 0,
                      "leftovers: --dry-run goes with --clean; without that "
                      "it only lists");
  if (door_settings (options, &settings, f) != 0
      || settings_need_engine (settings, f) != 0
      || door_place (settings, &place, f) != 0)
    return -1;
  listing.place = place;
  if (args_value (args, "adopt") != NULL)
    return adopt (&listing, settings, args, f);
  rc = args_flag (args, "clean") ? clean (&listing, settings, dry_run, f)
                                 : list (&listing, settings, f);
  forget (&listing);
  return rc;
}

const struct command cmd_leftovers = {
  .name = "leftovers",
  .usage = "[--kept]\n--clean [--dry-run]\n"
           "--adopt REPOSITORY-ID [--yes OBJECT-ID...]",
  .max = ARGS_WORDS_MAX,
  .summary = "list or remove what interrupted runs left in the engine and on "
             "hosts",
  .help = "Without --clean it lists only.  The exit status is 1 when anything "
          "of ours is\nleft in the end, but what runs at work have.\n",
  .options = leftovers_options,
  .run = run,
};
