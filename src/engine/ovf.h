/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a VM as the engine writes it (OVF with oVirt's own
   elements).  Everything else in it passes through untouched: TPM and NVRAM
   state too. */
#ifndef ENGINE_OVF_H
#define ENGINE_OVF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/uuid.h"

#define OVF_SIZE_MAX (8u << 20)
#define OVF_DISKS_MAX 4096

struct fault;

/* One layer as the OVF lists it (hardware item of resource type 17). */
struct ovf_disk {
  char disk_id[UUID_SIZE];
  char volume_id[UUID_SIZE];
  char parent_id[UUID_SIZE];   /* "" for none */
  char template_id[UUID_SIZE]; /* the template's volume, "" for none */
  char domain_id[UUID_SIZE];   /* "" in the OVF of a snapshot */
  bool cow;
  bool sparse;
};

struct ovf_disks {
  struct ovf_disk *items;
  size_t count;
};

/* The OVF without its disks (References/File, DiskSection/Disk, Items of
   resource type 17) and without the SnapshotsSection, so that the import
   attaches nothing by itself.  NICs stay.  *OUT is freed by the caller. */
int ovf_strip (const char *ovf, char **out, struct fault *f);
int ovf_disks (const char *ovf, struct ovf_disks **disks, struct fault *f);
void ovf_disks_free (struct ovf_disks *disks);
CLEANUP_DEFINE (ovf_disks_free, struct ovf_disks);
/* The id that the VM had ("" when the OVF has none). */
int ovf_vm_id (const char *ovf, char id[static UUID_SIZE], struct fault *f);

#endif /* ENGINE_OVF_H */
