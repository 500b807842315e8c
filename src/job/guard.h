/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot.guard = "attach": while the disks of a snapshot are attached,
   inactive, to a second VM, the engine refuses to remove any snapshot of the
   first one, so also the kept one.  That second VM (snapshot.guard_vm) is made
   by the administrator, has no disk of its own and stays down: it is neither
   made nor removed nor started here, so the worst that a crash leaves is an
   attachment that the journal names. */
#ifndef GUARD_H
#define GUARD_H

#include <stddef.h>

/* Kind of a journal entry: the object is the disk, the text is
   "HOLDER-VM-ID SNAPSHOT-ID". */
#define GUARD_KIND "attachment"

struct fault;
struct guard;
struct journal_entry;
struct journal_list;
struct lease;
struct settings;
struct site;
struct vm;
struct vm_list;

/* The guard VM among VMS (borrowed): there once, down, without a disk of its
   own.  NULL with FAULT_CONF, or FAULT_BUSY when it runs. */
const struct vm *guard_find (const struct settings *settings,
                             const struct vm_list *vms, struct fault *f);
/* The same, asked again: the guard VM is as it must be and holds no disk of
   VM. */
int guard_check (struct site *site, const struct vm *vm, struct fault *f);

/* A guard for SNAPSHOT_ID of VM that holds nothing yet; all borrowed.  LEASE is
   that of the VM.  The caller releases and frees it. */
struct guard *guard_new (struct site *site, const struct lease *lease,
                         const struct vm *vm, const char *snapshot_id);
/* Attach what the snapshot holds of this disk. */
int guard_hold (struct guard *g, const char *disk_id, struct fault *f);
/* Detach what was attached, or may have been.  -1: something stays, the journal
   knows it.  NULL is a no-op. */
int guard_release (struct guard *g, struct fault *f);
void guard_free (struct guard *g);

/* Detach what earlier runs left of the snapshots of VM, by the open entries of
   JOURNAL; those are for the caller to settle.  Under the lease of VM. */
int guard_settle (struct site *site, const struct vm *vm,
                  const struct journal_list *journal, struct fault *f);
/* The same for one entry. */
int guard_detach (struct site *site, const struct journal_entry *e,
                  struct fault *f);
/* Is that attachment there?  1, 0, -1. */
int guard_is_left (const struct site *site, const struct journal_entry *e,
                   struct fault *f);
/* The VM of the inventory that E names as the holder, or NULL. */
const struct vm *guard_holder (const struct site *site,
                               const struct journal_entry *e);

#endif /* GUARD_H */
