/* SPDX-License-Identifier: Apache-2.0 */
/* Before a snapshot is removed of which no run has proven that it is one: does
   qemu still write into the volumes that it froze?  The engine can call a
   snapshot good that its host has not made.  Removing that merges a volume that
   qemu holds open, and leaves the VM with an illegal image. */
#ifndef FROZEN_H
#define FROZEN_H

struct fault;
struct site;

/* Did the engine say of the run that DESCRIPTION names that its snapshot of
   VM_ID is a lie?  A killed run may not have asked.  1, 0, -1. */
int frozen_is_lie (const struct site *site, const char *vm_id,
                   const char *description, struct fault *f);

/* Look on the host of VM_ID, once nothing of the engine's is under way there.
   0: there is no writer, or nobody could look, which is told; -1: there is one
   (FAULT_BUSY with ETXTBSY and the next step), the engine still works on the
   snapshot or does not answer, or the user wants to stop. */
int frozen_check (struct site *site, const char *vm_id, const char *snapshot_id,
                  struct fault *f);

#endif /* FROZEN_H */
