/* SPDX-License-Identifier: Apache-2.0 */
/* Which VMs are meant: name, glob, vm:ID, tag:T, cluster:C, each with ! for
   "not".  Pure: it sees names and ids only. */
#ifndef SELECTOR_H
#define SELECTOR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

struct fault;
struct selector;

#define SELECTOR_MAX 1024 /* patterns in one call */

/* What is asked about; strings are borrowed and never NULL. */
struct selector_vm {
  const char *id;
  const char *name;
  const char *cluster_id;
  const char *cluster_name;
  const char *const *tags;
  size_t tag_count;
};

/* Parse COUNT patterns; NULL with FAULT_USAGE for an empty one, one without a
   value after its prefix, an id that is none.  A pattern with any of * ? [ is
   a glob; the name must match whole.  When all patterns are excludes, every
   VM that none of them matches is meant. */
struct selector *selector_new (const char *const *patterns, size_t count,
                               struct fault *f);
/* Is VM meant?  Remembers which patterns ever matched. */
bool selector_match (struct selector *s, const struct selector_vm *vm);
/* The next include pattern that has matched nothing, from *INDEX on (start
   with 0), or NULL. */
const char *selector_unmatched (const struct selector *s, size_t *index);
void selector_free (struct selector *s);
CLEANUP_DEFINE (selector_free, struct selector);

#endif /* SELECTOR_H */
