/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stddef.h>
#include <string.h>

#include "job/verdict.h"

static const char *const kind_names[] = {
  [VERDICT_ATTACHMENT] = "attachment",
  [VERDICT_SNAPSHOT] = "snapshot",
  [VERDICT_VM] = "vm",
  [VERDICT_DISK] = "disk",
  [VERDICT_DRAFT] = "draft",
  [VERDICT_BASE] = "base",
  [VERDICT_JOURNAL] = "journal",
  [VERDICT_HELPER] = "helper",
  [VERDICT_VOLUMES] = "volumes",
};

const char *
verdict_kind_name (enum verdict_kind kind)
{
  return kind_names[kind];
}

static const char *
lease_reason (enum verdict_lease lease)
{
  switch (lease) {
  case VERDICT_LEASE_AWAY:
    return "another machine may be at work on it";
  case VERDICT_LEASE_UNKNOWN:
    return "no journal of this repository names its run, which may live where "
           "a copy of the repository is: make sure that none does, then remove "
           "it in the engine";
  default:
    return NULL;
  }
}

static const char *
snapshot_reason (const struct verdict_facts *f)
{
  if (f->on_hold)
    return "it is left on purpose, because qemu still wrote into its volume: "
           "shut the VM down, start it again, remove the snapshot in the "
           "engine";
  if (f->after_failure)
    return "another snapshot of this VM could not be removed";
  if (strcmp (f->status, "locked") == 0)
    return "it is locked: the engine works on it, try again when it is done";
  if (strcmp (f->status, "ok") != 0)
    return "it is in preview: undo or commit that in the engine";
  if (f->vm_locked)
    return "its VM is locked: the engine works on it, try again when it is "
           "done";
  return NULL;
}

static const char *
vm_reason (const struct verdict_facts *f)
{
  if (strcmp (f->status, "image_locked") == 0)
    return "it is locked: the engine works on it, try again when it is done";
  if (strcmp (f->status, "down") != 0)
    return "it is not down: somebody uses it; change its description if it "
           "shall stay, else shut it down";
  if (f->renamed)
    return "it was renamed: change its description too if it shall stay, else "
           "remove it in the engine";
  if (f->is_protected)
    return "it is protected against removal: change that in the engine";
  if (f->other_disk)
    return "a disk is attached that the restore did not make: detach that in "
           "the engine";
  return NULL;
}

static const char *
disk_reason (const struct verdict_facts *f)
{
  if (f->attached)
    return "it is attached to a VM: change its description if it shall stay, "
           "else detach it";
  if (strcmp (f->status, "locked") == 0 && !f->pinned)
    return "it is locked: the engine works on it, try again when it is done";
  switch (f->helper) {
  case VERDICT_HELPER_THERE:
    return "a helper on a host may still write to it: try again when that is "
           "gone";
  case VERDICT_HELPER_HUNG:
    return "a helper that may write to it hangs in the kernel of a host: look "
           "at the storage there, or restart the host";
  case VERDICT_HELPER_UNSURE:
    return "a host does not tell whether a helper may still write to it: try "
           "again when it does; if that host is off for good, remove the disk "
           "in the engine";
  case VERDICT_HELPER_GONE:
    break;
  }
  /* It would map extents that become another disk's. */
  if (f->mapped)
    return "a host may have its logical volume active: first that must be put "
           "back; if that host is off for good, remove the disk in the engine";
  return NULL;
}

static const char *
kind_reason (const struct verdict_facts *f)
{
  switch (f->kind) {
  case VERDICT_SNAPSHOT:
    return snapshot_reason (f);
  case VERDICT_VM:
    return vm_reason (f);
  case VERDICT_DISK:
    return disk_reason (f);
  case VERDICT_HELPER:
    return f->helper == VERDICT_HELPER_HUNG
               ? "it hangs in the kernel: look at the storage of that host"
               : "it ends by itself when its heartbeat stops (ssh.heartbeat)";
  default:
    return NULL;
  }
}

enum verdict
verdict_of (const struct verdict_facts *f, const char **reason)
{
  const char *why = lease_reason (f->lease);

  *reason = "";
  if (f->gone)
    return VERDICT_GONE;
  if (f->foreign) {
    *reason = "it belongs to another repository: leave it to that one";
    return VERDICT_FOREIGN;
  }
  if (f->needed)
    return VERDICT_KEPT;
  if (f->lease == VERDICT_LEASE_HELD) {
    *reason = "a run is at work on it";
    return VERDICT_BUSY;
  }
  if (why == NULL)
    why = kind_reason (f);
  if (why == NULL)
    return VERDICT_REMOVE;
  *reason = why;
  return VERDICT_LEAVE;
}

const char *
verdict_adopt_reason (const struct verdict_adopt *f)
{
  if (f->locked)
    return "it is locked or in preview: somebody works on it";
  if (f->used)
    return "it is in use: attached to a VM, started, protected, or with a disk "
           "of somebody else";
  if (!f->age_known)
    return "its age is not known";
  if (f->age_s < VERDICT_ADOPT_AGE_S)
    return "it is younger than 24 hours: its repository may live";
  return "";
}
