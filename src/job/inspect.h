/* SPDX-License-Identifier: Apache-2.0 */
/* One leftover looked at as it is now: the facts on which verdict_of decides.
   What was listed may have gone or changed meanwhile; before something is
   removed it is looked at again, under its lease. */
#ifndef INSPECT_H
#define INSPECT_H

#include <stdint.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "job/verdict.h"

struct journal_list;
struct leftover;
struct lease;
struct site;
struct vm;

enum inspect_mode {
  INSPECT_LIST,    /* nothing is changed, no host is asked */
  INSPECT_DRY_RUN, /* nothing is changed */
  INSPECT_TAKE,    /* take the lease; wait until helpers are gone */
};

struct inspect {
  struct verdict_facts facts;
  struct fault why;    /* what the lease or a host said; may be FAULT_NONE */
  struct lease *lease; /* with INSPECT_TAKE, when facts.lease is _OURS */
  int64_t date;        /* of VERDICT_SNAPSHOT, by the engine */
  struct vm *vm;   /* of VERDICT_VM and VERDICT_SNAPSHOT, when it is there */
  char status[32]; /* facts.status */
};

/* JOURNAL: that of all other runs.  -1 only when repository or engine cannot
   be asked, or the user stops.  The caller frees *OUT, which drops the
   lease. */
int inspect_item (struct site *site, const struct journal_list *journal,
                  const struct leftover *item, enum inspect_mode mode,
                  struct inspect **out, struct fault *f);
void inspect_free (struct inspect *found);
CLEANUP_DEFINE (inspect_free, struct inspect);

#endif /* INSPECT_H */
