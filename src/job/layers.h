/* SPDX-License-Identifier: Apache-2.0 */
/* The layers of one disk below a snapshot, as the engine tells them now, in
   the form in which a helper proves and opens them: all of them, or only those
   above what an earlier snapshot froze. */
#ifndef LAYERS_H
#define LAYERS_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/uuid.h"
#include "wire/msg.h"

struct engine;
struct fault;
struct plan_disk;
struct vm;

struct layers {
  struct msg_open_read open; /* top layer first, down to the base; those from
                                the earlier snapshot on are its lower ones */
  char volume_id[UUID_SIZE]; /* frozen by the snapshot */
  uint64_t *sizes;           /* of each layer, as the engine says; 0: not */
  char *text;                /* canonical, to be compared at t1 */
};

/* Ask the engine.  SINCE: the earlier snapshot, or NULL for all; when its
   volume is not below the other one's, or is not its own any more,
   open.lower_count is 0 and open is for all.  FAULT_BUSY when a snapshot does not list the disk or the chain is in
   motion.  The caller frees *OUT. */
int layers_get (struct engine *engine, const struct vm *vm,
                const char *snapshot_id, const char *since,
                const struct plan_disk *disk, struct layers **out,
                struct fault *f);
/* Have the layers that a helper opened the sizes that the engine tells?  Of
   those that it could not compare itself, as vdsm may have rounded them up. */
int layers_check (const struct layers *l, const struct msg_opened *opened,
                  struct fault *f);
/* Does the disk lie on a template, whose volume is then its last layer? */
bool layers_on_template (const struct layers *l);
/* Read only what is above the template's volume. */
void layers_cut_template (struct layers *l);
void layers_free (struct layers *l);
CLEANUP_DEFINE (layers_free, struct layers);

#endif /* LAYERS_H */
