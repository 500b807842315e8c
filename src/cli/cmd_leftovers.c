/* SPDX-License-Identifier: Apache-2.0 */
/* leftovers: what earlier runs could not remove. */
#include <config.h>

#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/table.h"
#include "conf/settings.h"
#include "job/leftovers.h"

static const struct table_column columns[] = {
  { "KIND", TABLE_LEFT },      { "ID", TABLE_LEFT },  { "NAME", TABLE_ELASTIC },
  { "VM", TABLE_ELASTIC },     { "RUN", TABLE_LEFT }, { "WHOSE", TABLE_LEFT },
  { "NEXT STEP", TABLE_LEFT },
};

struct listing {
  bool json;
  struct table *table;
};

static void
print_json (const struct leftover *l)
{
  struct json j;

  json_begin (&j, "leftover");
  json_string (&j, "kind", l->kind);
  json_string (&j, "id", l->id);
  json_string (&j, "name", l->name);
  json_string (&j, "vm_id", l->vm_id);
  json_string (&j, "vm", l->vm_name);
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

  if (listing->json) {
    print_json (l);
    return;
  }
  table_cell (t, l->kind);
  table_cell (t, l->id);
  table_cell (t, l->name);
  table_cell (t, l->vm_name != NULL ? l->vm_name : l->vm_id);
  table_cell (t, l->run_id);
  table_cell (t, l->foreign ? "foreign" : l->busy ? "ours, in use" : "ours");
  table_cell (t, l->next_step);
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (table_free) struct table *t = NULL;
  struct listing listing = { .json = options->json };
  unsigned count = 0;
  int rc;

  (void)args;
  if (door_settings (options, &settings, f) != 0
      || settings_need_repository (settings, f) != 0
      || settings_need_engine (settings, f) != 0)
    return -1;
  t = table_new (columns, sizeof columns / sizeof columns[0]);
  listing.table = t;
  rc = leftovers_list (settings, on_leftover, &listing, &count, f);
  table_print (t, stdout, output_width (STDOUT_FILENO));
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
