/* SPDX-License-Identifier: Apache-2.0 */
/* What earlier runs of chainlift left in the engine, in the repository and on
   hosts.  Lists only: nothing is changed. */
#ifndef LEFTOVERS_H
#define LEFTOVERS_H

#include <stdbool.h>

struct fault;
struct settings;

struct leftover {
  const char *kind;  /* "snapshot", "disk", "vm", "draft", "helper" */
  const char *id;    /* of the object; of a draft its path */
  const char *name;  /* alias, VM name, description, host name */
  const char *vm_id; /* of a snapshot, else NULL */
  const char *vm_name;
  const char *repository_id; /* whose it is */
  const char *run_id;
  bool foreign;          /* of another repository: never ours to clean */
  bool busy;             /* a process that lives holds the lease of its run */
  const char *next_step; /* what the administrator can do */
};

typedef void (*leftover_fn) (const struct leftover *l, void *opaque);

/* Report each leftover to FN.  *COUNT is the number that are ours and not
   busy. */
int leftovers_list (const struct settings *settings, leftover_fn fn,
                    void *opaque, unsigned *count, struct fault *f);

#endif /* LEFTOVERS_H */
