/* SPDX-License-Identifier: Apache-2.0 */
/* Who may change what: one lease a VM (named by its id), and "repository" for
   what concerns all.  A lease is an OFD write lock on a file in leases/, which
   the kernel drops when its holder dies, and a text in that file that says who
   holds it.  A text that is left behind by another machine is believed, since
   locks do not always travel: only lease_break removes it. */
#ifndef LEASE_H
#define LEASE_H

#include <stdbool.h>

#include "base/cleanup.h"

#define LEASE_REPOSITORY "repository"
#define LEASE_TEXT_MAX 4096

struct fault;
struct lease;
struct place;

/* Take the lease NAME (a VM id or LEASE_REPOSITORY) for the run RUN_ID, without
   waiting.  FAULT_BUSY: somebody has it, the text names host, process, run and
   since when.  FAULT_IO: locks do not work here, with the reason.  The caller
   drops *OUT. */
int lease_take (const struct place *p, const char *name, const char *run_id,
                struct lease **out, struct fault *f);
/* Would lease_take give NAME now?  0, or -1 as there; nothing is changed. */
int lease_try (const struct place *p, const char *name, struct fault *f);
/* Is it still ours: the lock file is still the same file, still locked, by
   us, with our text in it.  FAULT_BUSY when it is not: then nothing more may
   be changed.  To be called before each publish, fold step and change in the
   cluster. */
int lease_check (const struct lease *l, struct fault *f);
/* Give it back.  NULL is a no-op. */
void lease_drop (struct lease *l);
CLEANUP_DEFINE (lease_drop, struct lease);

const char *lease_name (const struct lease *l);

/* The holder's text of lease NAME ("key value" lines), or *TEXT = NULL when
   nobody is named there.  *LOCKED: a live process of a machine whose locks are
   seen here has it.  The caller frees *TEXT. */
int lease_holder (const struct place *p, const char *name, char **text,
                  bool *locked, struct fault *f);
/* Remove what another machine left behind (unlock --force).  FAULT_BUSY when
   the lease is locked: a live process is never robbed. */
int lease_break (const struct place *p, const char *name, struct fault *f);

#endif /* LEASE_H */
