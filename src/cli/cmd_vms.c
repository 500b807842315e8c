/* SPDX-License-Identifier: Apache-2.0 */
/* vms: what a backup would see, with the selectors of backup. */
#include <config.h>

#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/xmem.h"
#include "cli/args.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/table.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/login.h"
#include "engine/vm.h"
#include "job/guard.h"
#include "job/plan.h"
#include "job/selector.h"

static const struct table_column columns[] = {
  { "NAME", TABLE_ELASTIC }, { "STATUS", TABLE_LEFT },
  { "HOST", TABLE_ELASTIC }, { "CLUSTER", TABLE_ELASTIC },
  { "DISKS", TABLE_RIGHT },  { "SIZE", TABLE_RIGHT },
  { "TAGS", TABLE_ELASTIC }, { "LEFT OUT", TABLE_ELASTIC },
};

struct inventory {
  struct vm_list *vms;
  struct host_list *hosts;
  struct cluster_list *clusters;
  struct domain_list *domains;
  const struct vm *guard; /* NULL: none */
};

static const char *
cluster_name (const struct inventory *in, const char *id)
{
  for (size_t i = 0; i < in->clusters->count; i++) {
    if (strcmp (in->clusters->items[i].id, id) == 0)
      return in->clusters->items[i].name;
  }
  return "";
}

static const char *
host_name (const struct inventory *in, const char *id)
{
  for (size_t i = 0; i < in->hosts->count; i++) {
    if (strcmp (in->hosts->items[i].id, id) == 0)
      return in->hosts->items[i].name;
  }
  return NULL;
}

static const char *
format_name (enum disk_format format)
{
  switch (format) {
  case DISK_FORMAT_RAW:
    return "raw";
  case DISK_FORMAT_COW:
    return "cow";
  case DISK_FORMAT_UNKNOWN:
    break;
  }
  return NULL;
}

static void
put_disk (struct json *j, const struct plan_disk *p)
{
  const struct disk *d = &p->disk->disk;

  json_object_begin (j, NULL);
  json_string (j, "id", d->id);
  json_string (j, "alias", d->alias);
  json_u64 (j, "size", d->provisioned_size);
  json_string (j, "format", format_name (d->format));
  json_bool (j, "sparse", d->sparse);
  json_string (j, "interface", p->disk->interface);
  json_bool (j, "bootable", p->disk->bootable);
  json_bool (j, "active", p->disk->active);
  json_string (j, "domain_id", d->domain_count > 0 ? d->domain_ids[0] : NULL);
  json_string (j, "domain", p->domain != NULL ? p->domain->name : NULL);
  json_string (j, "left_out", p->take ? NULL : p->reason);
  json_object_end (j);
}

static void
print_json (const struct inventory *in, const struct plan_vm *plan)
{
  const struct vm *vm = plan->vm;
  struct json j;

  json_begin (&j, "vm");
  json_string (&j, "id", vm->id);
  json_string (&j, "name", vm->name);
  json_string (&j, "status", vm->status);
  json_string (&j, "host_id", vm->host_id[0] != '\0' ? vm->host_id : NULL);
  json_string (&j, "host", host_name (in, vm->host_id));
  json_string (&j, "cluster_id", vm->cluster_id);
  json_string (&j, "cluster", cluster_name (in, vm->cluster_id));
  json_string (&j, "left_out", plan->take ? NULL : plan->reason);
  json_array_begin (&j, "tags");
  for (size_t i = 0; i < vm->tag_count; i++)
    json_string (&j, NULL, vm->tags[i]);
  json_array_end (&j);
  json_array_begin (&j, "disks");
  for (size_t i = 0; i < plan->disk_count; i++)
    put_disk (&j, &plan->disks[i]);
  json_array_end (&j);
  json_end (&j, stdout);
}

/* Append WORD to LIST with a comma. */
static char *
join (char *list, const char *word)
{
  char *longer
      = list == NULL ? xstrdup (word) : xasprintf ("%s, %s", list, word);

  free (list);
  return longer;
}

/* Why a backup would leave out the VM, or some of its disks. */
static char *
left_out_of (const struct plan_vm *plan)
{
  char *text = NULL;

  if (!plan->take)
    return xasprintf ("all: %s", plan->reason);
  for (size_t i = 0; i < plan->disk_count; i++) {
    const struct plan_disk *p = &plan->disks[i];
    CLEANUP_FREE char *word = NULL;

    if (p->take)
      continue;
    word = xasprintf ("%s (%s)", p->disk->disk.alias, p->reason);
    text = join (text, word);
  }
  return text;
}

static void
add_row (struct table *t, const struct inventory *in,
         const struct plan_vm *plan)
{
  const struct vm *vm = plan->vm;
  CLEANUP_FREE char *tags = NULL;
  CLEANUP_FREE char *left_out = left_out_of (plan);
  uint64_t size = 0;

  for (size_t i = 0; i < vm->disk_count; i++)
    size += vm->disks[i].disk.provisioned_size;
  for (size_t i = 0; i < vm->tag_count; i++)
    tags = join (tags, vm->tags[i]);
  table_cell (t, vm->name);
  table_cell (t, vm->status);
  table_cell (t, host_name (in, vm->host_id));
  table_cell (t, cluster_name (in, vm->cluster_id));
  table_cellf (t, "%zu", vm->disk_count);
  table_cell_size (t, size);
  table_cell (t, tags);
  table_cell (t, left_out);
}

static bool
is_meant (struct selector *selector, const struct inventory *in,
          const struct vm *vm)
{
  const struct selector_vm about = {
    .id = vm->id,
    .name = vm->name,
    .cluster_id = vm->cluster_id,
    .cluster_name = cluster_name (in, vm->cluster_id),
    .tags = (const char *const *)vm->tags,
    .tag_count = vm->tag_count,
  };

  return selector == NULL || selector_match (selector, &about);
}

static void
print_all (const struct inventory *in, struct selector *selector, bool json)
{
  const struct plan_input input = {
    .hosts = in->hosts,
    .clusters = in->clusters,
    .domains = in->domains,
    .vms = in->vms,
    .guard = in->guard,
  };
  /* No repository is asked here. */
  const struct plan_base base = { .point = NULL };
  CLEANUP (table_free)
  struct table *t = table_new (columns, sizeof columns / sizeof columns[0]);

  for (size_t i = 0; i < in->vms->count; i++) {
    const struct vm *vm = &in->vms->items[i];
    struct plan_vm plan;

    if (!is_meant (selector, in, vm))
      continue;
    plan_make (&input, &base, vm, &plan);
    if (json)
      print_json (in, &plan);
    else
      add_row (t, in, &plan);
    plan_reset (&plan);
  }
  table_print (t, stdout, output_width (STDOUT_FILENO));
}

static int
check_matched (const struct selector *selector, struct fault *f)
{
  size_t at = 0;
  const char *text
      = selector == NULL ? NULL : selector_unmatched (selector, &at);

  if (text == NULL)
    return 0;
  return fault_set (f, FAULT_NOTFOUND, 0,
                    "\"%s\" matches no VM of the engine: chainlift vms lists "
                    "them",
                    text);
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (login_close) struct engine *engine = NULL;
  CLEANUP (vm_list_free) struct vm_list *vms = NULL;
  CLEANUP (host_list_free) struct host_list *hosts = NULL;
  CLEANUP (cluster_list_free) struct cluster_list *clusters = NULL;
  CLEANUP (domain_list_free) struct domain_list *domains = NULL;
  CLEANUP (selector_free) struct selector *selector = NULL;
  struct inventory in;

  if (args->word_count > 0) {
    selector = selector_new (args->words, args->word_count, f);
    if (selector == NULL)
      return -1;
  }
  if (door_settings (options, &settings, f) != 0
      || door_engine (settings, &engine, f) != 0
      || vm_list (engine, &vms, f) != 0 || host_list (engine, &hosts, f) != 0
      || cluster_list (engine, &clusters, f) != 0
      || domain_list (engine, &domains, f) != 0)
    return -1;
  in = (struct inventory){ vms, hosts, clusters, domains, NULL };
  if (settings->snapshot.guard != SETTINGS_GUARD_NONE) {
    struct fault why = FAULT_INIT;

    in.guard = guard_find (settings, vms, &why);
    if (in.guard == NULL)
      log_warn ("a backup fails: %s", why.text);
  }
  print_all (&in, selector, options->json);
  return check_matched (selector, f);
}

const struct command cmd_vms = {
  .name = "vms",
  .usage = "[SELECTOR...]",
  .summary = "list virtual machines with their disks",
  .help = "A selector is a name, a glob, vm:ID, tag:T or cluster:C; with ! in "
          "front it\nexcludes.\n",
  .max = ARGS_WORDS_MAX,
  .run = run,
};
