/* SPDX-License-Identifier: Apache-2.0 */
/* How a disk of a point is made anew on a storage domain: format, allocation,
   sizes.  Pure.  The rules are those of the engine (checkImageConfiguration)
   and of vdsm (blockVolume: calculate_volume_alloc_size):

     file    raw or qcow2, thin or preallocated
     block   raw is preallocated, its volume and capacity rounded up to
             128 MiB; a thin qcow2 volume has 1.1 times what was asked for,
             and cannot grow while nobody's VM runs on it

   Preallocated qcow2 is made for incremental backups alone.  What was thin
   stays thin where that is possible. */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <stdint.h>

struct domain;
struct fault;
struct manifest_disk;

enum target_format {
  TARGET_AS_RECORDED,
  TARGET_RAW,
  TARGET_QCOW2,
};

struct target {
  bool block;
  bool cow;
  bool sparse;
  bool incremental;       /* what the engine must be told for this */
  unsigned qcow2_version; /* of cow: 2 or 3 */
  const char *note;       /* in which form it differs from what was backed up,
                             and why; "": it does not */
  uint64_t image_size;    /* that will be written */
  uint64_t initial_size;  /* to ask for; 0: not to be sent */
  uint64_t room;          /* bytes that the domain must have; 0: as many as the
                             data take, which its file system knows better */
};

/* The form on DOMAIN.  FAULT_USAGE: disks cannot be made there. */
int target_choose (const struct manifest_disk *from,
                   const struct domain *domain, enum target_format format,
                   struct target *out, struct fault *f);
/* All sizes of a disk of VIRTUAL_SIZE bytes, the file of which ends at
   IMAGE_SIZE. */
void target_measure (struct target *t, uint64_t virtual_size,
                     uint64_t image_size);
/* The capacity that vdsm writes down for a disk that the engine has made with
   TOLD bytes: that of a raw logical volume is its size.  No engine learns it, and
   vdsm refuses a snapshot for which less is asked: the engine is asked for it.
   Others may be rounded up from TOLD. */
uint64_t target_capacity (const struct target *t, uint64_t told);
/* Is FOUND, which vdsm has written down, right for such a disk? */
bool target_fits (const struct target *t, uint64_t told, uint64_t found);
/* Has DOMAIN ROOM for all disks that go there?  FAULT_SPACE. */
int target_check_room (const struct domain *domain, uint64_t room,
                       struct fault *f);

#endif /* TARGET_H */
