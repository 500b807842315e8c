/* SPDX-License-Identifier: Apache-2.0 */
/* An image transfer that moves no byte: it makes the engine prepare a new
   disk on one host and hold it against everybody else.

   Danger: cancelling an upload, or a finalize that fails, makes the engine
   DELETE the disk. */
#ifndef ENGINE_TRANSFER_H
#define ENGINE_TRANSFER_H

#include "base/uuid.h"

struct engine;
struct fault;

struct transfer {
  char id[UUID_SIZE];
  char disk_id[UUID_SIZE];
  char host_id[UUID_SIZE];
  char phase[32];
};

/* Start an upload transfer of DISK_ID on HOST_ID without a time limit and
   wait until the disk is prepared there.  FAULT_REMOTE where the engine
   refuses or the host has no imageio. */
int transfer_lock (struct engine *engine, const char *disk_id,
                   const char *host_id, struct transfer *out, struct fault *f);
/* The upload that holds DISK_ID; out->id is "" when there is none. */
int transfer_find (struct engine *engine, const char *disk_id,
                   struct transfer *out, struct fault *f);
/* The engine looks at the image, and the disk is ok when this returns 0.
   FAULT_CORRUPT: it was rejected (and deleted). */
int transfer_finalize (struct engine *engine, const struct transfer *transfer,
                       struct fault *f);
/* Give up, and the disk with it.  Absent already is success. */
int transfer_cancel (struct engine *engine, const struct transfer *transfer,
                     struct fault *f);

#endif /* ENGINE_TRANSFER_H */
