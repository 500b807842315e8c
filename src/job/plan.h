/* SPDX-License-Identifier: Apache-2.0 */
/* What a run will do and why: inventory and policy in, decisions out.  Pure:
   no I/O, nothing of the engine's state is asked here. */
#ifndef PLAN_H
#define PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fault.h"

#define PLAN_REASON_MAX 256

struct cluster_list;
struct disk;
struct disk_list;
struct domain;
struct domain_list;
struct host;
struct host_list;
struct point;
struct point_list;
struct snapshot;
struct vm;
struct vm_disk;
struct vm_list;

struct plan_disk {
  const struct vm_disk *disk;
  const struct domain *domain; /* NULL when unknown */
  bool take;
  bool increment;               /* over the newest point */
  char reason[PLAN_REASON_MAX]; /* "full: no point yet", "shareable" */
};

struct plan_vm {
  const struct vm *vm;
  bool take;
  enum fault_code code;         /* when not taken: NONE = skipped, else the
                                   VM fails with it */
  char reason[PLAN_REASON_MAX]; /* why not taken */
  const struct host *host;      /* where the disks are read */
  struct plan_disk *disks;
  size_t disk_count;
  size_t take_count;
};

/* What decisions are made from; all borrowed, and the plan borrows from it. */
struct plan_input {
  const struct host_list *hosts;
  const struct cluster_list *clusters;
  const struct domain_list *domains;
  const struct vm_list *vms; /* all, to tell whose a disk is */
  const struct vm *guard;    /* snapshot.guard_vm; NULL: none */
  unsigned turn; /* spreads stopped VMs over the hosts: any number */
};

/* What the engine's events since the point say of merges: a half-done one may
   have changed volumes that a snapshot shows. */
enum plan_merges {
  PLAN_MERGES_FINE,
  PLAN_MERGES_FAILED,
  PLAN_MERGES_UNKNOWN, /* the events are not there any more */
};

/* What an increment of a VM could be built on; borrowed. */
struct plan_base {
  bool full;                       /* asked for on the command line */
  bool keep;                       /* snapshot.keep */
  bool differential;               /* snapshot.differential */
  const struct point *point;       /* as plan_point says; NULL: none */
  bool damaged;                    /* that point, or what it is built on */
  unsigned depth;                  /* images in its longest chain */
  const struct snapshot *snapshot; /* the one that it names; NULL: gone */
  const struct disk_list *disks;   /* which that one lists now */
  enum plan_merges merges;
  const char *repository_id;
  const char *engine_id; /* of this engine; "": not known */
};

/* Decide for one VM.  The caller frees with plan_reset. */
void plan_make (const struct plan_input *input, const struct plan_base *base,
                const struct vm *vm, struct plan_vm *plan);
void plan_reset (struct plan_vm *plan);
/* Which of the points of a VM, newest first, the next one is built on, and whose
   snapshot is kept: the newest; with DIFFERENTIAL the newest that can be read
   and is a full in all disks.  NULL for none. */
const struct point *plan_point (const struct point_list *points,
                                bool differential);
/* Can DISK be an increment over BASE's point?  REASON is why, or why not.
   True: the point has the disk, the snapshot is there and lists it. */
bool plan_increment (const struct plan_base *base, const struct disk *disk,
                     char reason[static PLAN_REASON_MAX]);

/* A host that is up and has the storage of data center CENTER_ID connected:
   PREFER_ID if that is one, else one that is not the SPM if there is one; NULL
   for none. */
const struct host *plan_host (const struct plan_input *input,
                              const char *center_id, const char *prefer_id);

#endif /* PLAN_H */
