/* SPDX-License-Identifier: Apache-2.0 */
/* Objects that a run of ours made, removed again, and their intentions in this
   run's journal settled. */
#ifndef UNDO_H
#define UNDO_H

struct fault;
struct host;
struct site;

/* Wait until no helper of this run is left on HOST: one that still has a
   volume open might write.  A broken connection ends the helper when its
   heartbeats stop.  FAULT_BUSY when one stays, another code when the host does
   not answer: then its disks must not be touched. */
int undo_wait_helper (struct site *site, const struct host *host,
                      struct fault *f);
/* VM_ID "" : the one whose description begins with this run's tag, if any.
   Its disks stay. */
int undo_vm (struct site *site, const char *vm_id, unsigned intention,
             struct fault *f);
int undo_disk (struct site *site, const char *disk_id, unsigned intention,
               struct fault *f);

#endif /* UNDO_H */
