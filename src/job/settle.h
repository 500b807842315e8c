/* SPDX-License-Identifier: Apache-2.0 */
/* What earlier runs left on a VM and is not needed any more, undone under the VM's lease. */
#ifndef SETTLE_H
#define SETTLE_H

#include <stdbool.h>

struct fault;
struct journal_entry;
struct journal_list;
struct site;
struct vm;

/* Kind of a journal entry for a snapshot that must not be removed by us,
   because a process was seen to write into its frozen volume. */
#define SETTLE_HOLD "hold"

/* Detach what earlier runs left on a guard VM, remove the snapshots of this
   repository on VM, but the one that is kept for its newest point, and settle
   the journal entries of earlier runs.  The caller holds the VM's lease.  -1:
   one could not be removed, or is better left: then no new snapshot may be
   taken. */
int settle_vm (struct site *site, const struct vm *vm, struct fault *f);

/* The entry that forbids removing SNAPSHOT_ID, or NULL. */
const struct journal_entry *settle_find_hold (const struct journal_list *list,
                                              const char *snapshot_id);

typedef void (*settle_fn) (const struct journal_entry *e, void *opaque);

/* Settle the intentions of earlier runs of which nothing is left to undo: it
   was removed, it never came to be, or a point is based on it.  Nothing is
   changed in the engine.  FN (may be NULL) is told of each.  DRY_RUN: only
   tell. */
int settle_gone (struct site *site, bool dry_run, settle_fn fn, void *opaque,
                 struct fault *f);

#endif /* SETTLE_H */
