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
struct site;
struct vm;

/* Everything but the snapshot, the reason and the disks that are saved. */
int record_vm (const struct site *site, const struct plan_vm *plan,
               const struct vm *vm, struct manifest *m, struct fault *f);
/* One saved disk: its frozen volume, the size of the image. */
int record_disk (const struct plan_disk *plan, const char *volume_id,
                 uint64_t virtual_size, struct manifest *m, struct fault *f);

#endif /* RECORD_H */
