/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "engine/disk.h"
#include "engine/snapshot.h"
#include "engine/task.h"
#include "engine/vm.h"
#include "job/base.h"
#include "job/frozen.h"
#include "job/guard.h"
#include "job/journal.h"
#include "job/pin.h"
#include "job/merge.h"
#include "job/reap.h"
#include "job/settle.h"
#include "job/site.h"
#include "job/undo.h"
#include "repo/lease.h"
#include "repo/place.h"

static bool
is_ours (const struct site *site, const struct snapshot *s)
{
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];

  return strcmp (s->type, "regular") == 0
         && tag_parse (s->description, repository, run)
         && strcmp (repository, place_id (site->place)) == 0;
}

const struct journal_entry *
settle_find_hold (const struct journal_list *list, const char *snapshot_id)
{
  for (size_t i = 0; i < list->count; i++) {
    if (strcmp (list->entries[i].kind, SETTLE_HOLD) == 0
        && strcmp (list->entries[i].object_id, snapshot_id) == 0)
      return &list->entries[i];
  }
  return NULL;
}

static int
remove_snapshots (struct site *site, const struct vm *vm,
                  const struct journal_list *journal, struct fault *f)
{
  CLEANUP (snapshot_list_free) struct snapshot_list *list = NULL;
  char kept[UUID_SIZE];

  if (base_kept (site, vm->id, kept, f) < 0
      || snapshot_list (site->engine, vm->id, &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++) {
    const struct snapshot *s = &list->items[i];
    CLEANUP (merge_end) struct merge *merge = NULL;
    const char *whose;
    int lie;

    if (!is_ours (site, s) || strcmp (s->id, kept) == 0)
      continue;
    lie = frozen_is_lie (site, vm->id, s->description, f);
    if (lie < 0)
      return -1;
    if (lie == 1 || settle_find_hold (journal, s->id) != NULL)
      return fault_set (
          f, FAULT_BUSY, 0,
          "snapshot %s of an earlier run is left on purpose, because qemu "
          "still wrote into its volume: shut the VM down, start it again, "
          "remove the snapshot in the engine",
          s->id);
    if (frozen_check (site, vm->id, s->id, f) < 0)
      return -1;
    whose = strncmp (s->description, site->tag, strlen (site->tag)) == 0
                ? "of this run"
                : "of an earlier run";
    log_info ("removing snapshot %s %s", s->id, whose);
    if (merge_begin (site, vm, &merge, f) < 0
        || snapshot_delete (site->engine, vm->id, s->id, SNAPSHOT_DELETE_S, f)
               < 0)
      return fault_prefix (f, "%s", whose);
  }
  return 0;
}

int
settle_vm (struct site *site, const struct vm *vm, struct fault *f)
{
  struct journal_list journal = { .count = 0 };
  int dirfd = place_journal_dirfd (site->place);
  int rc = journal_read_all (dirfd, site->run_id, &journal, f);

  if (rc == 0)
    rc = guard_settle (site, vm, &journal, f);
  if (rc == 0)
    rc = remove_snapshots (site, vm, &journal, f);
  for (size_t i = 0; rc == 0 && i < journal.count; i++) {
    const struct journal_entry *e = &journal.entries[i];

    if (strcmp (e->vm_id, vm->id) == 0
        && (strcmp (e->kind, "snapshot") == 0
            || strcmp (e->kind, GUARD_KIND) == 0
            || strcmp (e->kind, SETTLE_HOLD) == 0))
      rc = journal_settle_other (dirfd, e->run_id, e->number, f);
  }
  journal_list_reset (&journal);
  return rc;
}

static bool
has_mark (const char *description, const char *repository, const char *run)
{
  char mark[TAG_SIZE];

  tag_format (mark, repository, run);
  return strncmp (description, mark, strlen (mark)) == 0;
}

/* Does a VM carry the mark of the run of E?  The inventory may be older than
   what was removed since.  1, 0, -1. */
static int
vm_is_left (const struct site *site, const struct journal_entry *e,
            struct fault *f)
{
  const char *id = place_id (site->place);

  for (size_t i = 0; i < site->vms->count; i++) {
    CLEANUP (vm_free) struct vm *vm = NULL;
    struct fault now = FAULT_INIT;

    if (!has_mark (site->vms->items[i].description, id, e->run_id))
      continue;
    if (vm_get (site->engine, site->vms->items[i].id, &vm, &now) == 0) {
      if (has_mark (vm->description, id, e->run_id))
        return 1;
    }
    else if (now.code != FAULT_NOTFOUND)
      return fault_copy (f, &now);
  }
  return 0;
}

/* Also one whose mark was taken off, as long as the VM that has it was not
   finished.  1, 0, -1. */
static int
disk_is_left (const struct site *site, const struct journal_entry *e,
              struct fault *f)
{
  CLEANUP (disk_free) struct disk *disk = NULL;
  struct fault now = FAULT_INIT;
  const char *id = place_id (site->place);
  const struct vm *vm;
  size_t count;

  if (!uuid_valid (e->object_id))
    return 0;
  if (disk_get (site->engine, e->object_id, &disk, &now) < 0)
    return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
  vm = disk->vm_id[0] != '\0' ? site_vm (site, disk->vm_id, &count) : NULL;
  if (vm != NULL)
    return has_mark (vm->description, id, e->run_id);
  return has_mark (disk->description, id, e->run_id);
}

/* A snapshot of that run that is not kept for an increment.  1, 0, -1. */
static int
snapshot_is_left (const struct site *site, const struct journal_entry *e,
                  struct fault *f)
{
  CLEANUP (snapshot_list_free) struct snapshot_list *list = NULL;
  struct fault now = FAULT_INIT;
  char kept[UUID_SIZE];
  size_t count;

  if (site_vm (site, e->vm_id, &count) == NULL)
    return 0;
  if (base_kept (site, e->vm_id, kept, f) < 0)
    return -1;
  if (snapshot_list (site->engine, e->vm_id, &list, &now) < 0)
    return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
  for (size_t i = 0; i < list->count; i++) {
    const struct snapshot *s = &list->items[i];

    if (strcmp (s->type, "active") != 0 && strcmp (s->id, kept) != 0
        && (strcmp (s->id, e->object_id) == 0
            || has_mark (s->description, place_id (site->place), e->run_id)))
      return 1;
  }
  return 0;
}

/* A helper matters as long as there are disks to which it could write. */
static bool
host_is_left (const struct journal_list *journal, const struct journal_entry *e)
{
  for (size_t i = 0; i < journal->count; i++) {
    const struct journal_entry *other = &journal->entries[i];

    if (!other->settled && strcmp (other->run_id, e->run_id) == 0
        && strcmp (other->vm_id, e->vm_id) == 0
        && strcmp (other->kind, UNDO_HOST) != 0
        && strcmp (other->kind, REAP_KIND) != 0)
      return true;
  }
  return false;
}

/* Is there anything left of what E intended?  1, 0, -1. */
static int
is_left (const struct site *site, const struct journal_list *journal,
         const struct journal_entry *e, struct fault *f)
{
  if (strcmp (e->kind, "vm") == 0)
    return vm_is_left (site, e, f);
  if (strcmp (e->kind, "disk") == 0 || strcmp (e->kind, PIN_KIND) == 0)
    return disk_is_left (site, e, f);
  if (strcmp (e->kind, UNDO_HOST) == 0)
    return host_is_left (journal, e);
  if (strcmp (e->kind, GUARD_KIND) == 0)
    return guard_is_left (site, e, f);
  if (strcmp (e->kind, "snapshot") == 0 || strcmp (e->kind, SETTLE_HOLD) == 0)
    return snapshot_is_left (site, e, f);
  return 1; /* of a later version */
}

/* Of one entry, under its lease; one whose run may be at work stays. */
static int
settle_one (struct site *site, const struct journal_list *journal,
            struct journal_entry *e, bool dry_run, struct fault *f)
{
  CLEANUP (lease_drop) struct lease *lease = NULL;
  int left;

  if (lease_try (site->place, e->vm_id, NULL) < 0)
    return 0;
  left = is_left (site, journal, e, f);
  if (left != 0)
    return left < 0 ? -1 : 0;
  /* Only now: the lease of a VM is missed by others while we have it. */
  if (!dry_run
      && lease_take (site->place, e->vm_id, site->run_id, &lease, NULL) < 0)
    return 0;
  e->settled = true;
  return dry_run ? 0
                 : journal_settle_other (place_journal_dirfd (site->place),
                                         e->run_id, e->number, f);
}

int
settle_gone (struct site *site, bool dry_run, settle_fn fn, void *opaque,
             struct fault *f)
{
  struct journal_list journal = { .count = 0 };
  int dirfd = place_journal_dirfd (site->place);
  int rc = journal_read_all (dirfd, site->run_id, &journal, f);

  /* Backwards: a host comes after the disks that were made before it. */
  for (size_t i = journal.count; rc == 0 && i-- > 0;) {
    struct journal_entry *e = &journal.entries[i];

    rc = settle_one (site, &journal, e, dry_run, f);
    if (rc == 0 && e->settled && fn != NULL)
      fn (e, opaque);
  }
  journal_list_reset (&journal);
  if (rc == 0 && !dry_run)
    rc = journal_sweep (dirfd, site->run_id, f);
  return rc;
}
