/* SPDX-License-Identifier: Apache-2.0 */
/* What the manifest of a point says about the VM, its disks and NICs: filled
   from the engine's answers.  Pure. */
#ifndef RECORD_H
#define RECORD_H

#include <stdint.h>

struct fault;
struct manifest;
struct manifest_disk;
struct plan_disk;
struct plan_vm;
struct point;
struct site;
struct vm;

/* Everything but the snapshot, the reason and the disks that are saved. */
int record_vm (const struct site *site, const struct plan_vm *plan,
               const struct vm *vm, struct manifest *m, struct fault *f);
/* The disks of the point BEFORE that VM does not have any more. */
int record_removed (const struct point *before, const struct vm *vm,
                    struct manifest *m, struct fault *f);
/* One saved disk: why it was read so, its frozen volume, the size of the image.
   BEFORE: the disk at the point whose snapshot is still there, or NULL: the
   format of the disk is that of then, since the top volume of today is made by
   that snapshot (cow, also over a raw disk). */
int record_disk (const struct plan_disk *plan, const char *reason,
                 const char *volume_id, uint64_t virtual_size,
                 const struct manifest_disk *before, struct manifest *m,
                 struct fault *f);

#endif /* RECORD_H */
