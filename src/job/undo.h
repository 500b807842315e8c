/* SPDX-License-Identifier: Apache-2.0 */
/* Objects that a run of ours made, removed again, and their intentions in this
   run's journal settled. */
#ifndef UNDO_H
#define UNDO_H

#include <stdbool.h>

#include "job/verdict.h"

struct fault;
struct host;
struct journal_list;
struct site;

/* Kind of a journal entry: object is a host on which this run may have a
   helper that writes to its disks. */
#define UNDO_HOST "host"

/* Wait until no helper of this run is left on HOST: one that still has a
   volume open might write.  A broken connection ends the helper when its
   heartbeats stop.  FAULT_BUSY when one stays, another code when the host does
   not answer: then its disks must not be touched. */
int undo_wait_helper (struct site *site, const struct host *host,
                      struct fault *f);
/* The same for RUN_ID, which may be an earlier run that does not live. */
int undo_wait_run (struct site *site, const struct host *host,
                   const char *run_id, struct fault *f);
/* Helpers of RUN_ID, an earlier run that does not live, on every host where it
   may have had one: those that its open intentions in JOURNAL under LEASE_ID
   (NULL: any) name; when there are none, all of the data center CENTER_ID
   (NULL: of all).  WAIT: as
   undo_wait_helper, one after the other.  *WHY (reset before) says which host
   and what, unless *HELPER is _GONE.  -1 only when the user stops. */
int undo_look_helpers (struct site *site, const char *run_id,
                       const char *lease_id, const struct journal_list *journal,
                       const char *center_id, bool wait,
                       enum verdict_helper *helper, struct fault *why,
                       struct fault *f);
/* VM_ID "" : the one whose description begins with this run's tag, if any.
   Its disks stay. */
int undo_vm (struct site *site, const char *vm_id, unsigned intention,
             struct fault *f);
int undo_disk (struct site *site, const char *disk_id, unsigned intention,
               struct fault *f);

#endif /* UNDO_H */
