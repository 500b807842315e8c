/* SPDX-License-Identifier: Apache-2.0 */
/* points: what can be restored. */
#include <config.h>

#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "cli/args.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/pointinfo.h"
#include "cli/table.h"
#include "conf/settings.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"

static const struct table_column columns[] = {
  { "POINT", TABLE_LEFT }, { "LOCAL TIME", TABLE_LEFT },
  { "KIND", TABLE_LEFT },  { "CONSISTENCY", TABLE_ELASTIC },
  { "SIZE", TABLE_RIGHT }, { "STORED", TABLE_RIGHT },
};

static void
add_row (struct table *t, const struct point *p)
{
  CLEANUP_FREE char *name = pointinfo_name (p);
  const struct manifest *m = p->manifest;
  struct pointinfo_totals totals;
  char when[OUTPUT_WORD_SIZE];

  output_time (pointinfo_time (p), when);
  table_cell (t, name);
  table_cellf (t, "%.16s", when); /* to the minute: the stamp has the rest */
  if (m == NULL) {
    table_cell (t, "damaged");
    for (int i = 0; i < 3; i++)
      table_cell (t, NULL);
    return;
  }
  pointinfo_totals (p, &totals);
  table_cell (t, pointinfo_kind (m));
  table_cell (t, manifest_consistency_name (m->consistency));
  table_cell_size (t, totals.virtual_size);
  table_cell_size (t, totals.stored);
}

static void
print_json (const struct point *p)
{
  struct json j;

  json_begin (&j, "point");
  pointinfo_json (&j, p);
  json_end (&j, stdout);
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (place_close) struct place *place = NULL;
  CLEANUP (table_free) struct table *t = NULL;
  struct point_list list;
  char vm_id[UUID_SIZE];
  const char *only = NULL;

  if (door_settings (options, &settings, f) != 0
      || door_place (settings, &place, f) != 0)
    return -1;
  if (args->word_count > 0) {
    if (point_find_vm (place, args->words[0], vm_id, f) != 0)
      return -1;
    only = vm_id;
  }
  if (point_list (place, only, &list, f) != 0)
    return -1;
  pointinfo_sort (&list);
  t = table_new (columns, sizeof columns / sizeof columns[0]);
  for (size_t i = 0; i < list.count; i++) {
    const struct point *p = &list.points[i];

    if (options->json)
      print_json (p);
    else
      add_row (t, p);
    if (p->damage != NULL)
      log_warn ("%s/%s: %s", p->vm_id, p->name, p->damage);
  }
  table_print (t, stdout, output_width (STDOUT_FILENO));
  point_list_reset (&list);
  return 0;
}

const struct command cmd_points = {
  .name = "points",
  .usage = "[VM]",
  .summary = "list restore points, newest first",
  .help = "VM is the name or the id of a virtual machine.\n",
  .max = 1,
  .run = run,
};
