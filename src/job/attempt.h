/* SPDX-License-Identifier: Apache-2.0 */
/* The disks of a restore, made through the engine and filled by one host:
   create, hold, prove, write, verify (DESIGN section 4).

   Writes never go on elsewhere.  When the host must be left, or cannot be
   reached any more, its disks are given up as they are, a helper may still
   write to them, and another attempt makes new ones for another host.  Each
   attempt has a lease of its own: what it leaves is settled without the
   others. */
#ifndef ATTEMPT_H
#define ATTEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct attempt;
struct fault;
struct host;
struct lease;
struct observer;
struct quota;
struct restore_plan;
struct site;

struct attempt_params {
  struct site *site;
  const struct restore_plan *plan;
  const struct host *host; /* that writes */
  const char *vm_name;     /* of the new VM, for messages */
  const struct observer *observer;
  struct quota *quota;
};

struct attempt_totals {
  uint64_t bytes_virtual;
  uint64_t bytes_data;
  uint64_t bytes_wire;
  unsigned disk_count;
};

/* Nothing is done yet.  PARAMS is borrowed until attempt_free. */
struct attempt *attempt_new (const struct attempt_params *params);
void attempt_free (struct attempt *a);
CLEANUP_DEFINE (attempt_free, struct attempt);

/* All disks, complete and free to be attached; no helper is left.
   attempt_must_move after a failure: it is the host's, which is not up, does
   not answer or cannot reach the storage.  Another one may do better. */
int attempt_run (struct attempt *a, struct fault *f);
bool attempt_must_move (const struct attempt *a);
void attempt_totals (const struct attempt *a, struct attempt_totals *out);

/* The lease, its name in the journal, the ids of the disks in the order of the
   plan. */
struct lease *attempt_lease (const struct attempt *a);
const char *attempt_lease_id (const struct attempt *a);
const char *attempt_disk_id (const struct attempt *a, size_t index);

/* After a failure: end the helper.  0: nobody has a disk open any more; -1 when
   that is not known.  WAIT: for as long as a helper may live without us. */
int attempt_quiet (struct attempt *a, bool wait, struct fault *f);
/* Remove the disks; only after attempt_quiet. */
int attempt_undo (struct attempt *a, struct fault *f);
/* The disks belong to a VM: nothing of them is ours to undo any more. */
int attempt_settle (struct attempt *a, struct fault *f);

#endif /* ATTEMPT_H */
