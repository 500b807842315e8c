/* SPDX-License-Identifier: Apache-2.0 */
/* What a job tells its user interface.  Called from any thread of the job,
   one call at a time; strings and structs live only during the call.  A
   member may be NULL. */
#ifndef OBSERVER_H
#define OBSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"

enum observer_state {
  OBSERVER_PLANNED, /* of a dry run */
  OBSERVER_DONE,
  OBSERVER_FAILED,
  OBSERVER_SKIPPED,
};

/* One disk of a plan, and why it is read so, or skipped. */
struct observer_disk {
  const char *vm_id;
  const char *vm_name;
  const char *disk_id;
  const char *alias;
  uint64_t virtual_size;
  bool skipped;
  const char *kind;   /* "full", "increment", "skip" */
  const char *reason; /* "full: no point yet", "direct LUN" */
};

struct observer_progress {
  const char *vm_name;
  const char *disk_id;
  const char *alias;
  const char *phase;      /* phase_name: "stream", "write", "verify" */
  uint64_t virtual_size;  /* of the disk */
  uint64_t bytes_total;   /* to be moved, or zeroed; 0 while unknown */
  uint64_t bytes_done;    /* of bytes_total */
  uint64_t bytes_wire;    /* payload that crossed the network */
  uint64_t bytes_skipped; /* read as zero or absent, not sent */
};

/* The end of one VM of a backup or restore. */
struct observer_result {
  enum observer_state state;
  const char *vm_id;
  const char *vm_name;
  const char *point;     /* of a backup: VM-NAME@STAMP, NULL without one */
  const char *new_vm_id; /* of a restore as VM */
  const char *new_vm_name;
  unsigned disk_count;
  uint64_t bytes_virtual;
  uint64_t bytes_data; /* stored or written */
  uint64_t bytes_wire;
  uint64_t duration_ms;
  const struct fault *fault; /* of a failure */
  const char *note;          /* "left behind: snapshot ...", or NULL */
};

struct observer {
  void *opaque;
  void (*disk) (void *opaque, const struct observer_disk *disk);
  void (*phase) (void *opaque, const char *vm_name, const char *phase,
                 const char *text);
  void (*progress) (void *opaque, const struct observer_progress *progress);
  void (*result) (void *opaque, const struct observer_result *result);
};

/* Counts of the results of one run, from which the exit status follows. */
struct observer_tally {
  unsigned done;
  unsigned failed;
  unsigned skipped;
  unsigned leftovers;
  enum fault_code code; /* of the failures when all have one, else NONE */
  bool mixed;           /* failures with different codes */
};

/* Count one result. */
void observer_count (struct observer_tally *tally,
                     const struct observer_result *result);
/* The exit status: 0 all done; 1 several objects with different results or
   leftovers found; the code when all failed with it. */
int observer_exit_status (const struct observer_tally *tally);

#endif /* OBSERVER_H */
