/* SPDX-License-Identifier: Apache-2.0 */
/* What earlier runs of chainlift left in the engine, in the repository and on
   hosts: gathered, and listed.  Nothing is changed here; job/clean removes. */
#ifndef LEFTOVERS_H
#define LEFTOVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "job/journal.h"
#include "job/verdict.h"

struct fault;
struct settings;
struct site;

enum leftover_state {
  LEFTOVER_OURS,      /* it is there */
  LEFTOVER_BUSY,      /* a run that lives takes care of it */
  LEFTOVER_FOREIGN,   /* of another repository: never ours to clean */
  LEFTOVER_REMOVED,   /* by this command */
  LEFTOVER_REMOVABLE, /* would be, without --dry-run */
  LEFTOVER_STAYS,     /* should have been removed, but was not */
  LEFTOVER_KEPT,      /* none: a snapshot that an increment needs */
};

/* Strings are NULL when they are not known; vm_id and vm_name tell of which
   VM an attachment, a snapshot or a draft is. */
struct leftover {
  enum verdict_kind kind;
  char *id;   /* of the object; of an attachment the disk, of a draft its name
                 below tmp, of a helper its pid, of a journal entry RUN-ID:NUMBER */
  char *name; /* alias, VM name, description, host name */
  char *vm_id;
  char *vm_name;
  char *repository_id; /* whose it is */
  char *run_id;
  char process_state; /* of a helper, as in /proc/PID/stat */
  char *point;        /* of LEFTOVER_KEPT: for which it is kept */
  int64_t since;      /* the same: its date by the engine */
  bool old;           /* the same: the newest point of its VM is older than
                    snapshot.kept_days */
  enum leftover_state state;
  const char *next_step; /* what the administrator can do, or why it stays;
                            valid during the call of leftover_fn */
};

typedef void (*leftover_fn) (const struct leftover *l, void *opaque);

struct leftovers {
  struct leftover
      *items; /* attachments, snapshots, VMs, disks, drafts, bases, in this
                 order, then volumes */
  size_t count;
  struct journal_list journal; /* read after the objects were listed */
};

/* What carries the mark of any repository in the engine of SITE and is not in
   use, and the drafts and unused bases in its repository.  Kept snapshots are among them. */
int leftovers_gather (struct site *site, struct leftovers **out,
                      struct fault *f);
/* Only the attachments, the snapshots and the journal. */
int leftovers_gather_snapshots (struct site *site, struct leftovers **out,
                                struct fault *f);
/* Append the helpers on the hosts that are up; a host that does not answer is
   told in the log and passed over. */
void leftovers_add_helpers (struct site *site, struct leftovers *list);
void leftovers_free (struct leftovers *list);
CLEANUP_DEFINE (leftovers_free, struct leftovers);

/* Report each leftover and each kept snapshot to FN.  *COUNT is the number of
   leftovers that are ours and not busy. */
int leftovers_list (const struct settings *settings, leftover_fn fn,
                    void *opaque, unsigned *count, struct fault *f);

#endif /* LEFTOVERS_H */
