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
struct domain;
struct domain_list;
struct host;
struct host_list;
struct vm;
struct vm_disk;
struct vm_list;

struct plan_disk {
  const struct vm_disk *disk;
  const struct domain *domain; /* NULL when unknown */
  bool take;
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
  bool full;                 /* asked for on the command line */
  unsigned turn; /* spreads stopped VMs over the hosts: any number */
};

/* Decide for one VM; HAS_POINT: the repository lists one of it.  The caller
   frees with plan_reset. */
void plan_make (const struct plan_input *input, const struct vm *vm,
                bool has_point, struct plan_vm *plan);
void plan_reset (struct plan_vm *plan);

/* A host that is up and has the storage of data center CENTER_ID connected:
   PREFER_ID if that is one, else one that is not the SPM if there is one; NULL
   for none. */
const struct host *plan_host (const struct plan_input *input,
                              const char *center_id, const char *prefer_id);

#endif /* PLAN_H */
