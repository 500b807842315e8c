/* SPDX-License-Identifier: Apache-2.0 */
/* The restore of a point: as a new VM (plan, create, prove, write, verify,
   vm, attach, release; DESIGN section 4), or of one disk into a file. */
#ifndef RESTORE_H
#define RESTORE_H

#include <stdbool.h>

#include "job/target.h"

struct fault;
struct observer;
struct observer_tally;
struct settings;

struct restore_options {
  const struct settings *settings;
  const char *point;   /* VM@..., as on the command line */
  const char *as;      /* name of the new VM */
  const char *cluster; /* name or id, NULL: as recorded */
  const char *storage; /* name or id of a domain, NULL: as recorded */
  enum target_format format;
  bool dry_run; /* tell the plan, change nothing */
  bool start;
};

/* Restore as a new VM.  Results as in backup_run. */
int restore_vm (const struct restore_options *options,
                const struct observer *observer, struct observer_tally *tally,
                struct fault *f);

struct restore_file_options {
  const struct settings *settings;
  const char *point;
  const char *disk; /* id or alias */
  const char *to;   /* path that must not exist, or "-" for stdout */
  bool qcow2;       /* else raw */
};

/* Write one disk; the engine is not asked.  Every block is checked against
   its recorded digest before it is written.  A raw file is sparse; to stdout
   holes are written as zeros.  On failure the file is removed. */
int restore_file (const struct restore_file_options *options,
                  const struct observer *observer, struct observer_tally *tally,
                  struct fault *f);

#endif /* RESTORE_H */
