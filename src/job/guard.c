/* SPDX-License-Identifier: Apache-2.0 */
/* What may go wrong is an attachment that stays: then nobody can remove a
   snapshot of the VM.  So each one is in the journal before it is made, with
   all that is needed to find it again whatever the configuration says then.

   Nothing is detached that is not sure to be one of these: the engine may or
   may not name the snapshot of an attachment, another one's name is foreign.
   A detach never removes a disk (vm_detach_disk). */
#include <config.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/vm.h"
#include "job/guard.h"
#include "job/journal.h"
#include "job/phase.h"
#include "job/site.h"
#include "repo/lease.h"

struct held {
  char disk_id[UUID_SIZE];
  unsigned intention;
};

struct guard {
  struct site *site;
  const struct lease *lease;
  const struct vm *vm;
  char holder_id[UUID_SIZE];
  char snapshot_id[UUID_SIZE];
  struct held *held;
  size_t count;
};

/* Is DISK_ID attached to another VM than HOLDER?  Then what HOLDER has of it is
   a snapshot: a shareable disk has none. */
static bool
is_elsewhere (const struct vm_list *vms, const struct vm *holder,
              const struct vm_disk *disk)
{
  if (disk->disk.shareable)
    return false;
  for (size_t i = 0; i < vms->count; i++) {
    if (strcmp (vms->items[i].id, holder->id) != 0
        && vm_find_disk (&vms->items[i], disk->disk.id) != NULL)
      return true;
  }
  return false;
}

/* May HOLDER hold snapshots? */
static int
check_holder (const struct settings *settings, const struct vm_list *vms,
              const struct vm *holder, struct fault *f)
{
  if (strcmp (holder->status, "down") != 0)
    return fault_set (f, FAULT_BUSY, 0,
                      "%s: snapshot.guard_vm: VM %s is %s; it must stay down, "
                      "shut it down",
                      settings->file, holder->name, holder->status);
  for (size_t i = 0; i < holder->disk_count; i++) {
    if (!is_elsewhere (vms, holder, &holder->disks[i]))
      return fault_set (f, FAULT_CONF, 0,
                        "%s: snapshot.guard_vm: VM %s has a disk of its own "
                        "(%s); name a VM without disks that is there for this "
                        "alone",
                        settings->file, holder->name,
                        holder->disks[i].disk.alias);
  }
  return 0;
}

static const struct vm *
find_named (const struct settings *settings, const struct vm_list *vms,
            struct fault *f)
{
  const char *key = settings->snapshot.guard_vm;
  const struct vm *found = NULL;

  for (size_t i = 0; i < vms->count; i++) {
    const struct vm *vm = &vms->items[i];

    if (strcmp (vm->id, key) == 0)
      return vm;
    if (strcmp (vm->name, key) != 0)
      continue;
    if (found != NULL) {
      fault_set (f, FAULT_CONF, 0,
                 "%s: snapshot.guard_vm: several VMs are called %s; give the "
                 "id of one",
                 settings->file, key);
      return NULL;
    }
    found = vm;
  }
  if (found == NULL)
    fault_set (f, FAULT_CONF, 0,
               "%s: snapshot.guard_vm: the engine has no VM %s; make one "
               "without disks and leave it down",
               settings->file, key);
  return found;
}

const struct vm *
guard_find (const struct settings *settings, const struct vm_list *vms,
            struct fault *f)
{
  const struct vm *holder = find_named (settings, vms, f);

  if (holder != NULL && check_holder (settings, vms, holder, f) < 0)
    return NULL;
  return holder;
}

int
guard_check (struct site *site, const struct vm *vm, struct fault *f)
{
  const struct vm *known = guard_find (site->settings, site->vms, f);
  CLEANUP (vm_free) struct vm *now = NULL;

  if (known == NULL || vm_get (site->engine, known->id, &now, f) < 0
      || check_holder (site->settings, site->vms, now, f) < 0)
    return -1;
  for (size_t i = 0; i < vm->disk_count; i++) {
    if (vm_find_disk (now, vm->disks[i].disk.id) != NULL)
      return fault_set (f, FAULT_BUSY, 0,
                        "a snapshot of disk %s is attached to the guard VM "
                        "%s already, and not by a run of this repository: "
                        "detach it there when nothing uses it",
                        vm->disks[i].disk.alias, now->name);
  }
  return 0;
}

struct guard *
guard_new (struct site *site, const struct lease *lease, const struct vm *vm,
           const char *snapshot_id)
{
  const struct vm *holder = guard_find (site->settings, site->vms, NULL);
  struct guard *g = xcalloc (1, sizeof *g);

  g->site = site;
  g->lease = lease;
  g->vm = vm;
  snprintf (g->holder_id, sizeof g->holder_id, "%s",
            holder != NULL ? holder->id : "");
  snprintf (g->snapshot_id, sizeof g->snapshot_id, "%s", snapshot_id);
  g->held = xcalloc (vm->disk_count, sizeof *g->held);
  return g;
}

/* Journal first. */
static int
attach (struct guard *g, struct held *held, struct fault *f)
{
  CLEANUP_FREE char *text = xasprintf ("%s %s", g->holder_id, g->snapshot_id);
  struct vm_disk attach = { .interface = "virtio_scsi" };

  memcpy (attach.disk.id, held->disk_id, UUID_SIZE);
  memcpy (attach.snapshot_id, g->snapshot_id, UUID_SIZE);
  if (lease_check (g->lease, f) < 0
      || journal_intend (g->site->journal, GUARD_KIND, g->vm->id, held->disk_id,
                         text, &held->intention, f)
             < 0)
    return -1;
  phase_stop (PHASE_GUARD);
  if (vm_attach_disk (g->site->engine, g->holder_id, &attach, f) < 0)
    return -1;
  phase_stop (PHASE_GUARD);
  return journal_exists (g->site->journal, held->intention, held->disk_id, f);
}

int
guard_hold (struct guard *g, const char *disk_id, struct fault *f)
{
  struct held *held = &g->held[g->count];

  if (g->count == g->vm->disk_count)
    return fault_set (f, FAULT_INTERNAL, 0, "guard: too many disks");
  g->count++;
  snprintf (held->disk_id, sizeof held->disk_id, "%s", disk_id);
  if (attach (g, held, f) < 0)
    return fault_prefix (f, "guard");
  return 0;
}

/* Does HOLDER_ID hold DISK_ID for SNAPSHOT_ID?  What it holds for another one
   is somebody else's.  1, 0, -1. */
static int
is_held (const struct site *site, const char *holder_id, const char *disk_id,
         const char *snapshot_id, struct fault *f)
{
  struct vm_attachment now;

  if (vm_look_attachment (site->engine, holder_id, disk_id, &now, f) < 0)
    return -1;
  return now.there
         && (now.snapshot_id[0] == '\0'
             || strcmp (now.snapshot_id, snapshot_id) == 0);
}

static int
detach (struct site *site, const char *holder_id, const char *disk_id,
        const char *snapshot_id, struct fault *f)
{
  int held = is_held (site, holder_id, disk_id, snapshot_id, f);

  return held <= 0 ? held
                   : vm_detach_disk (site->engine, holder_id, disk_id, f);
}

int
guard_release (struct guard *g, struct fault *f)
{
  int rc = 0;

  for (size_t i = 0; g != NULL && i < g->count; i++) {
    struct held *held = &g->held[i];

    if (held->intention == 0)
      continue;
    phase_stop (PHASE_GUARD);
    if (lease_check (g->lease, f) < 0
        || detach (g->site, g->holder_id, held->disk_id, g->snapshot_id, f) < 0
        || journal_settle (g->site->journal, held->intention, f) < 0) {
      rc = fault_prefix (f, "guard");
      continue;
    }
    held->intention = 0;
    phase_stop (PHASE_GUARD);
  }
  return rc;
}

void
guard_free (struct guard *g)
{
  if (g == NULL)
    return;
  free (g->held);
  free (g);
}

/* The text of an entry. */
static bool
parse (const struct journal_entry *e, char holder_id[static UUID_SIZE],
       char snapshot_id[static UUID_SIZE])
{
  return strcmp (e->kind, GUARD_KIND) == 0
         && sscanf (e->text, "%36s %36s", holder_id, snapshot_id) == 2
         && uuid_valid (holder_id) && uuid_valid (snapshot_id)
         && uuid_valid (e->object_id)
         /* What a VM has of its own is never detached. */
         && strcmp (holder_id, e->vm_id) != 0;
}

int
guard_detach (struct site *site, const struct journal_entry *e, struct fault *f)
{
  char holder_id[UUID_SIZE];
  char snapshot_id[UUID_SIZE];

  if (!parse (e, holder_id, snapshot_id))
    return 0;
  return detach (site, holder_id, e->object_id, snapshot_id, f);
}

int
guard_settle (struct site *site, const struct vm *vm,
              const struct journal_list *journal, struct fault *f)
{
  for (size_t i = 0; i < journal->count; i++) {
    const struct journal_entry *e = &journal->entries[i];

    if (strcmp (e->kind, GUARD_KIND) != 0 || strcmp (e->vm_id, vm->id) != 0)
      continue;
    log_info ("detaching disk %s from the guard VM, of an earlier run",
              e->object_id);
    if (guard_detach (site, e, f) < 0)
      return fault_prefix (f, "of an earlier run");
  }
  return 0;
}

int
guard_is_left (const struct site *site, const struct journal_entry *e,
               struct fault *f)
{
  char holder_id[UUID_SIZE];
  char snapshot_id[UUID_SIZE];

  if (!parse (e, holder_id, snapshot_id))
    return 0;
  return is_held (site, holder_id, e->object_id, snapshot_id, f);
}

const struct vm *
guard_holder (const struct site *site, const struct journal_entry *e)
{
  char holder_id[UUID_SIZE];
  char snapshot_id[UUID_SIZE];
  size_t count;

  return parse (e, holder_id, snapshot_id) ? site_vm (site, holder_id, &count)
                                           : NULL;
}
