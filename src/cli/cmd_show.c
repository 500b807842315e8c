/* SPDX-License-Identifier: Apache-2.0 */
/* show: all that a restore point knows about itself. */
#include <config.h>

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
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

/* ---- JSON ---- */

/* Fields that are "" while they are not known. */
static void
put_known (struct json *j, const char *name, const char *value)
{
  json_string (j, name, value != NULL && value[0] != '\0' ? value : NULL);
}

static void
put_disk (struct json *j, const struct manifest_disk *d)
{
  json_object_begin (j, NULL);
  json_string (j, "id", d->id);
  json_string (j, "alias", d->alias);
  json_string (j, "kind", manifest_kind_name (d->kind));
  json_string (j, "reason", d->reason);
  json_string (j, "interface", d->interface);
  json_bool (j, "bootable", d->bootable);
  json_bool (j, "active", d->active);
  json_bool (j, "read_only", d->read_only);
  json_string (j, "format", manifest_format_name (d->format));
  json_bool (j, "sparse", d->sparse);
  json_u64 (j, "virtual_size", d->virtual_size);
  json_u64 (j, "provisioned_size", d->provisioned_size);
  put_known (j, "domain_id", d->storage_domain_id);
  json_string (j, "domain", d->storage_domain_name);
  put_known (j, "volume_id", d->volume_id);
  put_known (j, "base", d->base);
  json_string (j, "file", d->file);
  json_u64 (j, "stored", d->bytes);
  json_u64 (j, "data", d->data);
  json_object_end (j);
}

static void
put_nic (struct json *j, const struct manifest_nic *n)
{
  json_object_begin (j, NULL);
  json_string (j, "id", n->id);
  json_string (j, "name", n->name);
  json_string (j, "mac", n->mac);
  json_string (j, "interface", n->interface);
  json_string (j, "profile_id", n->profile_id);
  json_string (j, "profile", n->profile_name);
  json_string (j, "network", n->network_name);
  json_bool (j, "plugged", n->plugged);
  json_bool (j, "linked", n->linked);
  json_object_end (j);
}

static void
put_lists (struct json *j, const struct manifest *m)
{
  json_array_begin (j, "disks");
  for (size_t i = 0; i < m->disk_count; i++)
    put_disk (j, &m->disks[i]);
  json_array_end (j);
  json_array_begin (j, "skipped");
  for (size_t i = 0; i < m->skipped_count; i++) {
    json_object_begin (j, NULL);
    json_string (j, "id", m->skipped[i].id);
    json_string (j, "alias", m->skipped[i].alias);
    json_string (j, "reason", m->skipped[i].reason);
    json_object_end (j);
  }
  json_array_end (j);
  json_array_begin (j, "nics");
  for (size_t i = 0; i < m->nic_count; i++)
    put_nic (j, &m->nics[i]);
  json_array_end (j);
  json_array_begin (j, "tags");
  for (size_t i = 0; i < m->tag_count; i++)
    json_string (j, NULL, m->tags[i]);
  json_array_end (j);
}

static void
print_json (const struct point *p)
{
  const struct manifest *m = p->manifest;
  struct json j;

  json_begin (&j, "point");
  pointinfo_json (&j, p);
  json_string (&j, "reason", m->reason);
  json_string (&j, "run_id", m->run_id);
  json_string (&j, "program", m->program);
  json_string (&j, "engine_url", m->engine_url);
  json_string (&j, "engine_id", m->engine_id);
  put_known (&j, "snapshot_id", m->snapshot_id);
  put_known (&j, "finished", m->finished);
  json_string (&j, "cluster_id", m->cluster_id);
  json_string (&j, "cluster", m->cluster_name);
  json_string (&j, "host_id", m->host_id);
  json_string (&j, "host", m->host_name);
  put_lists (&j, m);
  json_end (&j, stdout);
}

/* ---- text ---- */

static void __attribute__ ((format (printf, 2, 3)))
line (const char *name, const char *format, ...)
{
  CLEANUP_FREE char *text = NULL;
  CLEANUP_FREE char *clean = NULL;
  va_list ap;

  va_start (ap, format);
  if (vasprintf (&text, format, ap) < 0)
    abort ();
  va_end (ap);
  clean = output_clean (text);
  printf ("%-13s %s\n", name, clean);
}

static void
line_if (const char *name, const char *value)
{
  if (value != NULL && value[0] != '\0')
    line (name, "%s", value);
}

static void
put_notes (struct table *t, const struct manifest_disk *d)
{
  const char *boot = d->bootable ? "boot" : "";
  const char *plug = d->active ? "" : "unplugged";
  const char *mode = d->read_only ? "read-only" : "";

  table_cellf (t, "%s%s%s%s%s", boot, *boot && (*plug || *mode) ? ", " : "",
               plug, *plug && *mode ? ", " : "", mode);
}

static void
print_disks (const struct manifest *m)
{
  static const struct table_column columns[] = {
    { "DISK", TABLE_ELASTIC },   { "ID", TABLE_LEFT },
    { "SIZE", TABLE_RIGHT },     { "STORED", TABLE_RIGHT },
    { "KIND", TABLE_LEFT },      { "FORMAT", TABLE_LEFT },
    { "INTERFACE", TABLE_LEFT }, { "DOMAIN", TABLE_ELASTIC },
    { "NOTES", TABLE_LEFT },
  };
  CLEANUP (table_free)
  struct table *t = table_new (columns, sizeof columns / sizeof columns[0]);

  for (size_t i = 0; i < m->disk_count; i++) {
    const struct manifest_disk *d = &m->disks[i];

    table_cell (t, d->alias);
    table_cell (t, d->id);
    table_cell_size (t, d->virtual_size);
    table_cell_size (t, d->bytes);
    table_cellf (t, "%s%s", pointinfo_disk_kind (d),
                 d->base[0] != '\0' ? ", on template" : "");
    table_cellf (t, "%s%s", manifest_format_name (d->format),
                 d->sparse ? ", sparse" : "");
    table_cell (t, d->interface);
    table_cell (t, d->storage_domain_name);
    put_notes (t, d);
  }
  if (m->disk_count > 0)
    putchar ('\n');
  table_print (t, stdout, output_width (STDOUT_FILENO));
}

static void
print_skipped (const struct manifest *m)
{
  static const struct table_column columns[] = {
    { "NOT SAVED", TABLE_ELASTIC },
    { "ID", TABLE_LEFT },
    { "REASON", TABLE_LEFT },
  };
  CLEANUP (table_free)
  struct table *t = table_new (columns, sizeof columns / sizeof columns[0]);

  for (size_t i = 0; i < m->skipped_count; i++) {
    table_cell (t, m->skipped[i].alias);
    table_cell (t, m->skipped[i].id);
    table_cell (t, m->skipped[i].reason);
  }
  if (m->skipped_count > 0)
    putchar ('\n');
  table_print (t, stdout, output_width (STDOUT_FILENO));
}

static void
print_nics (const struct manifest *m)
{
  static const struct table_column columns[] = {
    { "NIC", TABLE_LEFT },
    { "MAC", TABLE_LEFT },
    { "INTERFACE", TABLE_LEFT },
    { "PROFILE", TABLE_ELASTIC },
  };
  CLEANUP (table_free)
  struct table *t = table_new (columns, sizeof columns / sizeof columns[0]);

  for (size_t i = 0; i < m->nic_count; i++) {
    table_cell (t, m->nics[i].name);
    table_cell (t, m->nics[i].mac);
    table_cell (t, m->nics[i].interface);
    table_cell (t, m->nics[i].profile_name != NULL ? m->nics[i].profile_name
                                                   : m->nics[i].profile_id);
  }
  if (m->nic_count > 0)
    putchar ('\n');
  table_print (t, stdout, output_width (STDOUT_FILENO));
}

static void
print_text (const struct point *p)
{
  const struct manifest *m = p->manifest;
  CLEANUP_FREE char *name = pointinfo_name (p);
  struct pointinfo_totals totals;
  char when[OUTPUT_WORD_SIZE];
  char size[OUTPUT_WORD_SIZE];
  char stored[OUTPUT_WORD_SIZE];

  pointinfo_totals (p, &totals);
  output_time (pointinfo_time (p), when);
  output_size (totals.virtual_size, size);
  output_size (totals.stored, stored);
  line ("point", "%s", name);
  line ("vm id", "%s", p->vm_id);
  line ("time", "%s", when);
  line ("kind", "%s%s%s", pointinfo_kind (m),
        m->parent[0] != '\0' ? " on " : "", m->parent);
  line_if ("reason", m->reason);
  line ("consistency", "%s", manifest_consistency_name (m->consistency));
  line ("size", "%s in %zu disk%s, %s stored here", size, m->disk_count,
        m->disk_count == 1 ? "" : "s", stored);
  line_if ("engine", m->engine_url);
  line_if ("cluster", m->cluster_name);
  line_if ("host", m->host_name);
  line_if ("run", m->run_id);
  line_if ("written by", m->program);
  for (size_t i = 0; i < m->tag_count; i++)
    line (i == 0 ? "tags" : "", "%s", m->tags[i]);
  print_disks (m);
  print_skipped (m);
  print_nics (m);
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (place_close) struct place *place = NULL;
  CLEANUP (point_free) struct point *point = NULL;

  if (door_settings (options, &settings, f) != 0
      || door_place (settings, &place, f) != 0
      || point_find (place, args->words[0], &point, f) != 0)
    return -1;
  if (point->manifest == NULL)
    return fault_set (f, FAULT_CORRUPT, 0, "%s: %s", args->words[0],
                      point->damage != NULL ? point->damage
                                            : "its manifest is damaged");
  if (options->json)
    print_json (point);
  else
    print_text (point);
  return 0;
}

const struct command cmd_show = {
  .name = "show",
  .usage = "POINT",
  .summary = "show all about one restore point",
  .help = "POINT is VM@latest, VM@-N (N points before the latest) or "
          "VM@YYYYMMDDTHHMMSSZ.\n",
  .word = "the POINT",
  .min = 1,
  .max = 1,
  .run = run,
};
