/* SPDX-License-Identifier: Apache-2.0 */
/* How many may do a thing at once, over all processes that work on a repository:
   an OFD write lock on one of so many files leases/KIND.ID.N, which the kernel
   drops when its holder dies.  Unlike a lease it has no text and protects
   nothing: where locks do not travel there are more at once. */
#ifndef SLOT_H
#define SLOT_H

#include "base/cleanup.h"

struct fault;
struct place;
struct slot;

/* Take one of LIMIT slots, without waiting.  KIND: a word; ID: a UUID.  1: *OUT
   is the caller's to drop; 0: all are taken; -1. */
int slot_take (const struct place *p, const char *kind, const char *id,
               unsigned limit, struct slot **out, struct fault *f);
/* NULL is a no-op. */
void slot_drop (struct slot *s);
CLEANUP_DEFINE (slot_drop, struct slot);

#endif /* SLOT_H */
