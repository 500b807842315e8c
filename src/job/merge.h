/* SPDX-License-Identifier: Apache-2.0 */
/* The right to remove a snapshot of a VM: no more than snapshot.merges_per_domain
   at once on each storage domain that its disks lie on, over all runs on the
   repository. */
#ifndef MERGE_H
#define MERGE_H

#include "base/cleanup.h"

struct fault;
struct merge;
struct site;
struct vm;

/* Wait for it; with a lease of the VM that is to be checked afterwards, since
   merges take hours.  FAULT_BUSY after a day.  The caller ends *OUT when the
   merge is over. */
int merge_begin (const struct site *site, const struct vm *vm,
                 struct merge **out, struct fault *f);
/* NULL is a no-op. */
void merge_end (struct merge *m);
CLEANUP_DEFINE (merge_end, struct merge);

#endif /* MERGE_H */
