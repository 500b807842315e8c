/* SPDX-License-Identifier: Apache-2.0 */
/* What the next increment of a VM could be built on: its newest point (with
   snapshot.differential its newest full), and the snapshot that was kept for it, as the engine shows it now.  Facts only:
   plan_increment decides. */
#ifndef BASE_H
#define BASE_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/uuid.h"
#include "engine/disk.h"
#include "job/plan.h"
#include "repo/point.h"

struct fault;
struct site;
struct snapshot;

struct base {
  struct plan_base facts; /* points into the rest */
  struct point_list points;
  struct snapshot *snapshot;
  struct disk_list *disks;
};

/* The snapshot that is kept for increments of VM_ID, under snapshot.keep = true:
   the one of the point that plan_point says.  "" for none, also when that point
   is damaged.  It need not exist any more. */
int base_kept (const struct site *site, const char *vm_id,
               char id[static UUID_SIZE], struct fault *f);

/* Ask repository and engine.  FULL: what the user wants.  The caller frees
   *OUT. */
int base_get (struct site *site, const char *vm_id, bool full,
              struct base **out, struct fault *f);
void base_free (struct base *b);
CLEANUP_DEFINE (base_free, struct base);

#endif /* BASE_H */
