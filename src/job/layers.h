/* SPDX-License-Identifier: Apache-2.0 */
/* The layers of one disk below a snapshot, as the engine tells them now, in
   the form in which a helper proves and opens them. */
#ifndef LAYERS_H
#define LAYERS_H

#include "base/cleanup.h"
#include "base/uuid.h"
#include "wire/msg.h"

struct engine;
struct fault;
struct plan_disk;
struct vm;

struct layers {
  struct msg_open_read open; /* top layer first, down to the base */
  char volume_id[UUID_SIZE]; /* frozen by the snapshot */
  char *text;                /* canonical, to be compared at t1 */
};

/* Ask the engine.  FAULT_BUSY when the snapshot does not list the disk or the
   chain is in motion.  The caller frees *OUT. */
int layers_get (struct engine *engine, const struct vm *vm,
                const char *snapshot_id, const struct plan_disk *disk,
                struct layers **out, struct fault *f);
void layers_free (struct layers *l);
CLEANUP_DEFINE (layers_free, struct layers);

#endif /* LAYERS_H */
