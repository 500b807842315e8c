/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "engine/disk.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "job/base.h"
#include "job/journal.h"
#include "job/settle.h"
#include "job/site.h"
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

/* The entry that forbids removing SNAPSHOT_ID, or NULL. */
static const struct journal_entry *
find_hold (const struct journal_list *list, const char *snapshot_id)
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

    if (!is_ours (site, s) || strcmp (s->id, kept) == 0)
      continue;
    if (find_hold (journal, s->id) != NULL)
      return fault_set (
          f, FAULT_BUSY, 0,
          "snapshot %s of an earlier run is left on purpose, because qemu "
          "still wrote into its volume: shut the VM down, start it again, "
          "remove the snapshot in the engine",
          s->id);
    log_info ("removing snapshot %s of an earlier run", s->id);
    if (snapshot_delete (site->engine, vm->id, s->id, SNAPSHOT_DELETE_S, f) < 0)
      return fault_prefix (f, "of an earlier run");
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
    rc = remove_snapshots (site, vm, &journal, f);
  for (size_t i = 0; rc == 0 && i < journal.count; i++) {
    const struct journal_entry *e = &journal.entries[i];

    if (strcmp (e->vm_id, vm->id) == 0
        && (strcmp (e->kind, "snapshot") == 0
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

/* Does a VM carry the mark of the run of E? */
static bool
vm_is_left (const struct site *site, const struct journal_entry *e)
{
  for (size_t i = 0; i < site->vms->count; i++) {
    if (has_mark (site->vms->items[i].description, place_id (site->place),
                  e->run_id))
      return true;
  }
  return false;
}

/* 1, 0, -1. */
static int
disk_is_left (const struct site *site, const struct journal_entry *e,
              struct fault *f)
{
  CLEANUP (disk_free) struct disk *disk = NULL;
  struct fault now = FAULT_INIT;

  if (!uuid_valid (e->object_id))
    return 0;
  if (disk_get (site->engine, e->object_id, &disk, &now) < 0)
    return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
  return has_mark (disk->description, place_id (site->place), e->run_id);
}

/* Is there anything left of what E intended?  1, 0, -1. */
static int
is_left (const struct site *site, const struct journal_entry *e,
         struct fault *f)
{
  size_t count;

  if (strcmp (e->kind, "vm") == 0)
    return vm_is_left (site, e);
  if (strcmp (e->kind, "disk") == 0)
    return disk_is_left (site, e, f);
  /* A snapshot is settled with its VM, unless that is gone. */
  return site_vm (site, e->vm_id, &count) != NULL;
}

int
settle_gone (struct site *site, struct fault *f)
{
  struct journal_list journal = { .count = 0 };
  int dirfd = place_journal_dirfd (site->place);
  int rc = journal_read_all (dirfd, site->run_id, &journal, f);

  for (size_t i = 0; rc == 0 && i < journal.count; i++) {
    const struct journal_entry *e = &journal.entries[i];
    CLEANUP (lease_drop) struct lease *lease = NULL;
    int left;

    /* Its run may be at work still. */
    if (lease_take (site->place, e->vm_id, site->run_id, &lease, NULL) < 0)
      continue;
    left = is_left (site, e, f);
    if (left < 0
        || (left == 0
            && journal_settle_other (dirfd, e->run_id, e->number, f) < 0))
      rc = -1;
  }
  journal_list_reset (&journal);
  return rc;
}
