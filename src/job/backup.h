/* SPDX-License-Identifier: Apache-2.0 */
/* The backup of VMs: plan, snapshot, config, t0, map, stream, t1, publish,
   release (DESIGN section 3). */
#ifndef BACKUP_H
#define BACKUP_H

#include <stdbool.h>
#include <stddef.h>

struct fault;
struct observer;
struct observer_tally;
struct settings;

struct backup_options {
  const struct settings *settings;
  const char *const *selectors; /* as on the command line */
  size_t selector_count;
  bool full;    /* no increments */
  bool dry_run; /* plan only: nothing is changed anywhere */
};

/* Back up what the selectors choose.  Each VM ends with one result to the
   observer; TALLY counts them.  -1 only when nothing could be begun
   (repository, engine, a selector that matches nothing): then F tells why. */
int backup_run (const struct backup_options *options,
                const struct observer *observer, struct observer_tally *tally,
                struct fault *f);

#endif /* BACKUP_H */
