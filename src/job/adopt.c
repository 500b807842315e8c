/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot has a date.  A disk has none in the REST API, so of disks and VMs
   the last event of their run counts, by its correlation ids; where the engine
   has none of it, its events must reach back far enough to say that the run is
   older than all of them.  All times are the engine's. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/login.h"
#include "engine/snapshot.h"
#include "engine/task.h"
#include "engine/vm.h"
#include "job/adopt.h"
#include "job/frozen.h"
#include "job/journal.h"
#include "job/phase.h"
#include "job/reap.h"
#include "job/site.h"
#include "job/undo.h"
#include "repo/place.h"

struct adopt {
  const struct adopt_options *options;
  struct site *site;
  struct adopt_object *objects;
  size_t count;
  int64_t now;
  char *prefix; /* how descriptions begin */
};

static struct adopt_object *
append (struct adopt *a, enum verdict_kind kind, const char *id,
        const char *name, const char *description)
{
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];
  struct adopt_object *o;

  if (!tag_parse (description, repository, run)
      || strcmp (repository, a->options->repository_id) != 0)
    return NULL;
  a->objects = xreallocarray (a->objects, a->count + 1, sizeof *a->objects);
  o = &a->objects[a->count++];
  *o = (struct adopt_object){ .kind = kind,
                              .id = xstrdup (id),
                              .name = xstrdup (name),
                              .run_id = xstrdup (run),
                              .reason = "" };
  return o;
}

/* Does another VM, a guard say, have one of DISKS, as of S? */
static bool
is_attached (const struct adopt *a, const struct snapshot *s,
             const struct disk_list *disks)
{
  for (size_t i = 0; i < a->site->vms->count; i++) {
    const struct vm *vm = &a->site->vms->items[i];

    for (size_t k = 0; strcmp (vm->id, s->vm_id) != 0 && k < disks->count;
         k++) {
      const struct vm_disk *d = vm_find_disk (vm, disks->items[k].id);

      if (d != NULL
          && (d->snapshot_id[0] == '\0' || strcmp (d->snapshot_id, s->id) == 0))
        return true;
    }
  }
  return false;
}

static int
gather_snapshots (struct adopt *a, struct fault *f)
{
  CLEANUP (snapshot_list_free) struct snapshot_list *list = NULL;

  if (snapshot_list_ours (a->site->engine, a->prefix, &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++) {
    const struct snapshot *s = &list->items[i];
    CLEANUP (disk_list_free) struct disk_list *disks = NULL;
    struct adopt_object *o
        = append (a, VERDICT_SNAPSHOT, s->id, s->description, s->description);

    if (o == NULL)
      continue;
    o->vm_id = xstrdup (s->vm_id);
    o->vm_name = xstrdup (s->vm_name);
    o->facts.locked = strcmp (s->status, "ok") != 0;
    o->facts.age_known = true;
    o->facts.age_s = a->now - s->date;
    if (snapshot_disks (a->site->engine, s->vm_id, s->id, &disks, NULL) < 0)
      continue;
    o->facts.used = is_attached (a, s, disks);
    for (size_t k = 0; k < disks->count; k++)
      o->size += disks->items[k].actual_size;
  }
  return 0;
}

static bool
has_mark (const struct adopt *a, const char *description)
{
  return strncmp (description, a->prefix, strlen (a->prefix)) == 0;
}

/* Is each disk of VM one of that repository? */
static bool
has_other_disk (const struct adopt *a, const struct vm *vm)
{
  for (size_t i = 0; i < vm->disk_count; i++) {
    if (!has_mark (a, vm->disks[i].disk.description))
      return true;
  }
  return false;
}

static void
look_at_vm (const struct adopt *a, const struct vm *vm,
            struct verdict_adopt *facts)
{
  facts->locked = strcmp (vm->status, "image_locked") == 0;
  facts->used = !facts->locked
                && (strcmp (vm->status, "down") != 0 || vm->delete_protected
                    || has_other_disk (a, vm));
}

/* DISK as disk_get gives it.  The VM of its restore may have it. */
static void
look_at_disk (const struct adopt *a, const struct disk *disk,
              struct verdict_adopt *facts)
{
  size_t count;
  const struct vm *vm
      = disk->vm_id[0] != '\0' ? site_vm (a->site, disk->vm_id, &count) : NULL;

  facts->locked = strcmp (disk->status, "locked") == 0;
  facts->used = disk->vm_id[0] != '\0'
                && (vm == NULL || !has_mark (a, vm->description));
}

/* When the run of O did something last. */
static int
find_age (struct adopt *a, struct adopt_object *o, struct fault *f)
{
  CLEANUP (task_events_free) struct task_events *events = NULL;
  CLEANUP_FREE char *correlation = xasprintf ("cl-%s-*", o->run_id);
  int64_t last;

  if (task_events_of (a->site->engine, correlation, &events, f) < 0)
    return -1;
  if (events->count > 0)
    last = events->items[events->count - 1].time;
  else if (task_first_time (a->site->engine, &last, f) < 0)
    return -1;
  o->facts.age_known = last != 0;
  o->facts.age_s = a->now - last;
  return 0;
}

static int
gather_disks (struct adopt *a, struct fault *f)
{
  CLEANUP (disk_list_free) struct disk_list *list = NULL;

  if (disk_list_ours (a->site->engine, a->prefix, &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++) {
    const struct disk *d = &list->items[i];
    struct adopt_object *o
        = append (a, VERDICT_DISK, d->id, d->alias, d->description);

    if (o == NULL)
      continue;
    o->size = d->total_size > 0 ? d->total_size : d->actual_size;
    look_at_disk (a, d, &o->facts);
    if (find_age (a, o, f) < 0)
      return -1;
  }
  return 0;
}

static int
gather_vms (struct adopt *a, struct fault *f)
{
  for (size_t i = 0; i < a->site->vms->count; i++) {
    const struct vm *vm = &a->site->vms->items[i];
    struct adopt_object *o
        = append (a, VERDICT_VM, vm->id, vm->name, vm->description);

    if (o == NULL)
      continue;
    look_at_vm (a, vm, &o->facts);
    if (find_age (a, o, f) < 0)
      return -1;
  }
  return 0;
}

static int
mark_named (struct adopt *a, struct fault *f)
{
  for (size_t i = 0; i < a->options->id_count; i++) {
    bool found = false;

    for (size_t k = 0; k < a->count; k++) {
      if (strcmp (a->objects[k].id, a->options->ids[i]) == 0)
        found = a->objects[k].named = true;
    }
    if (!found)
      return fault_set (f, FAULT_NOTFOUND, 0,
                        "%s is no object of repository %s: nothing is removed",
                        a->options->ids[i], a->options->repository_id);
  }
  return 0;
}

static int
changed (const struct adopt_object *o, struct fault *f)
{
  return fault_set (f, FAULT_BUSY, 0,
                    "%s %s is not as it was a moment ago: list it again",
                    verdict_kind_name (o->kind), o->id);
}

static int
remove_snapshot (struct adopt *a, const struct adopt_object *o, struct fault *f)
{
  CLEANUP (snapshot_free) struct snapshot *s = NULL;

  if (snapshot_get (a->site->engine, o->vm_id, o->id, &s, f) < 0)
    return -1;
  if (strcmp (s->status, "ok") != 0 || !has_mark (a, s->description))
    return changed (o, f);
  if (frozen_check (a->site, o->vm_id, o->id, f) < 0)
    return -1;
  phase_stop (PHASE_CLEAN);
  return snapshot_delete (a->site->engine, o->vm_id, o->id, SNAPSHOT_DELETE_S,
                          f);
}

static int
remove_vm (struct adopt *a, const struct adopt_object *o, struct fault *f)
{
  CLEANUP (vm_free) struct vm *vm = NULL;
  struct verdict_adopt facts = { 0 };

  if (vm_get (a->site->engine, o->id, &vm, f) < 0)
    return -1;
  look_at_vm (a, vm, &facts);
  if (facts.locked || facts.used || !has_mark (a, vm->description))
    return changed (o, f);
  for (size_t i = 0; i < vm->disk_count; i++) {
    phase_stop (PHASE_CLEAN);
    if (vm_detach_disk (a->site->engine, o->id, vm->disks[i].disk.id, f) < 0)
      return -1;
  }
  return vm_delete (a->site->engine, o->id, f);
}

static int
remove_disk (struct adopt *a, const struct adopt_object *o, struct fault *f)
{
  CLEANUP (disk_free) struct disk *d = NULL;
  struct journal_list none = { .count = 0 };
  enum verdict_helper helper;
  struct fault why = FAULT_INIT;
  const struct domain *domain;
  size_t count;

  if (disk_get (a->site->engine, o->id, &d, f) < 0)
    return -1;
  if (strcmp (d->status, "locked") == 0 || !has_mark (a, d->description))
    return changed (o, f);
  if (d->vm_id[0] != '\0')
    return fault_set (f, FAULT_BUSY, 0,
                      "disk %s is attached to VM %s: name that too", o->id,
                      d->vm_id);
  domain = d->domain_count > 0 ? site_domain (a->site, d->domain_ids[0], &count)
                               : NULL;
  if (undo_look_helpers (a->site, o->run_id, NULL, &none,
                         domain != NULL ? domain->center_id : NULL, true,
                         &helper, &why, f)
      < 0)
    return -1;
  if (helper != VERDICT_HELPER_GONE)
    return fault_copy (f, &why);
  phase_stop (PHASE_CLEAN);
  return disk_delete (a->site->engine, o->id, f);
}

static int
remove_one (struct adopt *a, struct adopt_object *o, struct fault *f)
{
  int rc;

  if (cancel_check (f) < 0)
    return -1;
  switch (o->kind) {
  case VERDICT_SNAPSHOT:
    rc = remove_snapshot (a, o, f);
    break;
  case VERDICT_VM:
    rc = remove_vm (a, o, f);
    break;
  default:
    rc = remove_disk (a, o, f);
    break;
  }
  if (rc < 0 && f->code != FAULT_NOTFOUND)
    return fault_prefix (f, "%s %s", verdict_kind_name (o->kind), o->id);
  fault_reset (f);
  o->removed = true;
  return 0;
}

/* Everything that forbids removing anything was found before. */
static int
remove_named (struct adopt *a, struct fault *f)
{
  for (size_t i = 0; i < a->count; i++) {
    struct adopt_object *o = &a->objects[i];

    if (!o->named)
      continue;
    if (remove_one (a, o, f) < 0)
      return -1;
    a->options->fn (o, a->options->opaque);
  }
  return 0;
}

static int
gather (struct adopt *a, bool *forbidden, struct fault *f)
{
  if (login_time (a->site->engine, &a->now, f) < 0
      || gather_snapshots (a, f) < 0 || gather_vms (a, f) < 0
      || gather_disks (a, f) < 0)
    return -1;
  *forbidden = false;
  for (size_t i = 0; i < a->count; i++) {
    a->objects[i].reason = verdict_adopt_reason (&a->objects[i].facts);
    if (a->objects[i].reason[0] != '\0')
      *forbidden = true;
  }
  return mark_named (a, f);
}

static int
work (struct adopt *a, unsigned *count, struct fault *f)
{
  bool forbidden;
  int rc = 0;

  if (gather (a, &forbidden, f) < 0)
    return -1;
  if (forbidden || a->options->id_count == 0) {
    for (size_t i = 0; i < a->count; i++)
      a->options->fn (&a->objects[i], a->options->opaque);
  }
  if (a->options->id_count > 0)
    rc = forbidden
             ? fault_set (f, FAULT_BUSY, 0,
                          "repository %s: nothing is removed, because it may "
                          "live: see the objects that may not be removed",
                          a->options->repository_id)
             : remove_named (a, f);
  for (size_t i = 0; i < a->count; i++)
    *count += !a->objects[i].removed;
  return rc;
}

static void
objects_free (struct adopt *a)
{
  for (size_t i = 0; i < a->count; i++) {
    free (a->objects[i].id);
    free (a->objects[i].name);
    free (a->objects[i].vm_id);
    free (a->objects[i].vm_name);
    free (a->objects[i].run_id);
  }
  free (a->objects);
  free (a->prefix);
}

int
adopt_run (const struct adopt_options *options, unsigned *count,
           struct fault *f)
{
  CLEANUP (site_close) struct site *site = NULL;
  struct adopt a = { .options = options };
  int rc;

  *count = 0;
  if (!uuid_valid (options->repository_id))
    return fault_set (f, FAULT_USAGE, 0, "\"%s\" is no id of a repository",
                      options->repository_id);
  /* The present one must be at hand: one that is not mounted is not lost. */
  if (site_open (options->settings, SITE_MUST, &site, f) < 0)
    return -1;
  if (strcmp (options->repository_id, place_id (site->place)) == 0)
    return fault_set (f, FAULT_USAGE, 0,
                      "%s is the present repository: leftovers --clean removes "
                      "what is its own",
                      options->repository_id);
  a.site = site;
  a.prefix = xasprintf (TAG_PREFIX "%s:", options->repository_id);
  rc = work (&a, count, f);
  reap_lost (site, NULL);
  *count += reap_count_lost (site);
  objects_free (&a);
  return rc;
}
