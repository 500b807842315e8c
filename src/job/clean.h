/* SPDX-License-Identifier: Apache-2.0 */
/* What earlier runs left, removed: each object under the lease of its VM or
   run, looked at again before, and only when verdict_of says so.  Everything
   can be interrupted anywhere and done again. */
#ifndef CLEAN_H
#define CLEAN_H

#include <stdbool.h>

#include "job/leftovers.h"

struct fault;
struct settings;
struct site;

struct clean_options {
  const struct settings *settings; /* only clean_run */
  bool dry_run;
  bool (*skip) (const struct leftover *l, void *opaque); /* NULL: none */
  leftover_fn fn; /* called for each, as soon as it is known what became of it;
                     next_step says why it stays */
  void *opaque;
};

struct clean_tally {
  unsigned removed; /* or would be */
  unsigned stay;    /* ours, of no run that lives */
};

/* -1: engine or repository cannot be used any more, or the user stops; what
   was done until then has been reported. */
int clean_run (const struct clean_options *options, struct clean_tally *tally,
               struct fault *f);

/* Only the snapshots that no increment needs and what holds them, with the site
   of a run. */
int clean_snapshots (struct site *site, const struct clean_options *options,
                     struct clean_tally *tally, struct fault *f);

#endif /* CLEAN_H */
