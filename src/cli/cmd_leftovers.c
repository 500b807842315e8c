/* SPDX-License-Identifier: Apache-2.0 */
/* leftovers: what earlier runs could not remove. */
#include <config.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/table.h"
#include "conf/settings.h"
#include "job/leftovers.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"

#define RUN_COLUMNS 8 /* of a run's id; JSON has all */

static const struct table_column columns[] = {
  { "KIND", TABLE_LEFT },  { "OF", TABLE_ELASTIC },     { "RUN", TABLE_LEFT },
  { "WHOSE", TABLE_LEFT }, { "NEXT STEP", TABLE_WRAP },
};

struct known {
  char *vm_id;
  char *name;
};

struct listing {
  bool json;
  struct table *table;
  struct place *place;
  struct known *known; /* VMs whose names came by */
  size_t known_count;
};

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

static void
print_json (const struct leftover *l, const char *vm_name)
{
  struct json j;

  json_begin (&j, "leftover");
  json_string (&j, "kind", l->kind);
  json_string (&j, "id", l->id);
  json_string (&j, "name", l->name);
  json_string (&j, "vm_id", l->vm_id);
  json_string (&j, "vm", vm_name);
  json_string (&j, "repository_id", l->repository_id);
  json_string (&j, "run_id", l->run_id);
  json_bool (&j, "foreign", l->foreign);
  json_bool (&j, "busy", l->busy);
  json_string (&j, "next_step", l->next_step);
  json_end (&j, stdout);
}

static void
on_leftover (const struct leftover *l, void *opaque)
{
  struct listing *listing = opaque;
  struct table *t = listing->table;
  const char *vm = l->vm_name;

  if (vm != NULL && l->vm_id != NULL)
    remember (listing, l->vm_id, vm);
  else if (l->vm_id != NULL)
    vm = name_of (listing, l->vm_id);
  if (listing->json) {
    print_json (l, vm);
    return;
  }
  table_cell (t, l->kind);
  table_cell (t, vm != NULL ? vm : l->vm_id != NULL ? l->vm_id : l->name);
  table_cellf (t, "%.*s", RUN_COLUMNS, l->run_id != NULL ? l->run_id : "");
  table_cell (t, l->foreign ? "foreign" : l->busy ? "in use" : "ours");
  if (l->id != NULL && uuid_valid (l->id))
    table_cellf (t, "%s (id %s)", l->next_step, l->id);
  else
    table_cell (t, l->next_step);
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (place_close) struct place *place = NULL;
  CLEANUP (table_free) struct table *t = NULL;
  struct listing listing = { .json = options->json };
  unsigned count = 0;
  int rc;

  (void)args;
  if (door_settings (options, &settings, f) != 0
      || settings_need_engine (settings, f) != 0
      || door_place (settings, &place, f) != 0)
    return -1;
  listing.place = place;
  t = table_new (columns, sizeof columns / sizeof columns[0]);
  listing.table = t;
  rc = leftovers_list (settings, on_leftover, &listing, &count, f);
  table_print (t, stdout, output_width (STDOUT_FILENO));
  forget (&listing);
  if (rc != 0)
    return -1;
  if (count == 0)
    log_info ("nothing of this repository is left behind");
  return count > 0 ? 1 : 0;
}

const struct command cmd_leftovers = {
  .name = "leftovers",
  .usage = "",
  .summary = "list what interrupted runs left in the engine and on hosts",
  .help = "Lists only.  The exit status is 1 when anything of ours is left.\n",
  .run = run,
};
