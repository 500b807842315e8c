/* SPDX-License-Identifier: Apache-2.0 */
/* What earlier runs left on a VM and is not needed any more, undone under the VM's lease. */
#ifndef SETTLE_H
#define SETTLE_H

struct fault;
struct site;
struct vm;

/* Kind of a journal entry for a snapshot that must not be removed by us,
   because a process was seen to write into its frozen volume. */
#define SETTLE_HOLD "hold"

/* Remove the snapshots of this repository on VM, but the one that is kept for
   its newest point, and settle the journal entries of earlier runs.  The
   caller holds the VM's lease.  -1: one could not be removed, or is better
   left: then no new snapshot may be taken. */
int settle_vm (struct site *site, const struct vm *vm, struct fault *f);

/* Settle the intentions of earlier runs of which nothing is left in the engine:
   an administrator has removed it, or it never came to be.  Nothing is changed
   in the engine. */
int settle_gone (struct site *site, struct fault *f);

#endif /* SETTLE_H */
