/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual machines, their disk attachments, NICs and tags. */
#ifndef ENGINE_VM_H
#define ENGINE_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/uuid.h"
#include "engine/disk.h"

#define VM_LIST_MAX 65536
#define VM_DISKS_MAX 512
#define VM_NICS_MAX 256
#define VM_TAGS_MAX 1024
#define VM_PAGE 100 /* VMs a request */

struct doc_node;
struct engine;
struct fault;

struct vm_disk {
  struct disk disk;
  char interface[24]; /* virtio, virtio_scsi, ide, sata, spapr_vscsi */
  bool bootable;
  bool active; /* plugged */
  bool read_only;
  bool pass_discard;
  bool uses_scsi_reservation;
  char snapshot_id[UUID_SIZE]; /* not "": a snapshot of the disk, that another
                                  VM has, is attached, not the disk */
};

struct vm_nic {
  char id[UUID_SIZE];
  char *name;
  char mac[32];
  char interface[24];
  char profile_id[UUID_SIZE]; /* vNIC profile, "" for none */
  bool linked;
  bool plugged;
};

/* Strings are never NULL; ids are "" when the engine gives none. */
struct vm {
  char id[UUID_SIZE];
  char *name;
  char *description;
  char *comment;
  char status[32]; /* up, down, paused, image_locked, ... */
  char host_id[UUID_SIZE];
  char cluster_id[UUID_SIZE];
  char template_id[UUID_SIZE];
  char original_template_id[UUID_SIZE];
  bool delete_protected;
  bool has_illegal_images;
  bool next_run; /* a configuration is pending */
  bool stateless;
  bool hosted_engine; /* the engine's own VM: never touched */
  uint64_t memory;
  struct vm_disk *disks;
  size_t disk_count;
  struct vm_nic *nics; /* only vm_get */
  size_t nic_count;
  char **tags; /* names */
  size_t tag_count;
};

struct vm_list {
  struct vm *items;
  size_t count;
};

/* All VMs with their disks and tags, by pages, each once.  An inventory that
   comes back empty though the engine counts VMs is FAULT_PROTO. */
int vm_list (struct engine *engine, struct vm_list **list, struct fault *f);
void vm_list_free (struct vm_list *list);
CLEANUP_DEFINE (vm_list_free, struct vm_list);
/* One VM with disks, NICs and tags. */
int vm_get (struct engine *engine, const char *vm_id, struct vm **vm,
            struct fault *f);
void vm_free (struct vm *vm);
CLEANUP_DEFINE (vm_free, struct vm);

/* True while qemu has the disks open or may open them. */
bool vm_is_running (const struct vm *vm);
const struct vm_disk *vm_find_disk (const struct vm *vm, const char *disk_id);

/* The VM's present configuration as OVF; caller frees.  Absent while a disk
   or the VM is locked: asked again for some minutes, then FAULT_BUSY. */
int vm_get_ovf (struct engine *engine, const char *vm_id, char **ovf,
                struct fault *f);

/* File systems of a running guest, by its agent.  Thaw as often as you like;
   its fault may be ignored. */
int vm_freeze (struct engine *engine, const char *vm_id, struct fault *f);
int vm_thaw (struct engine *engine, const char *vm_id, struct fault *f);

struct vm_create {
  const char *name;
  const char *cluster_id;
  const char *description; /* carries chainlift:REPOSITORY:RUN, by which a VM
                              is found whose answer got lost */
  const char *ovf;         /* cleaned by ovf_strip */
  bool regenerate_ids;     /* unless the original VM is gone */
};

/* Create a VM without disks and wait until it is down.  ID receives its id.
   A VM of that description that exists before the call is FAULT_BUSY. */
int vm_create_from_ovf (struct engine *engine, const struct vm_create *create,
                        char id[static UUID_SIZE], struct fault *f);

/* NULL members stay as they are. */
struct vm_update {
  const char *name;
  const char *description;
  const char *comment;
};

int vm_update (struct engine *engine, const char *vm_id,
               const struct vm_update *update, struct fault *f);
/* Set the description of an attached disk (by its attachment, which works with
   every version); read back. */
int vm_update_disk (struct engine *engine, const char *vm_id,
                    const char *disk_id, const char *description,
                    struct fault *f);
/* How a disk is attached now. */
struct vm_attachment {
  bool there;
  bool active;
  char snapshot_id[UUID_SIZE]; /* "": the disk, or the engine does not say */
};
int vm_look_attachment (struct engine *engine, const char *vm_id,
                        const char *disk_id, struct vm_attachment *out,
                        struct fault *f);
/* Attach attach->disk.id as the other members say and check that it is.  With
   attach->snapshot_id, what that snapshot of another VM's disk holds. */
int vm_attach_disk (struct engine *engine, const char *vm_id,
                    const struct vm_disk *attach, struct fault *f);
/* Detach and wait until it is; the disk stays, and a snapshot of it does.  Not
   attached is success. */
int vm_detach_disk (struct engine *engine, const char *vm_id,
                    const char *disk_id, struct fault *f);
/* Remove the VM, keep its disks, wait until it is gone.  Absent already is
   success. */
int vm_delete (struct engine *engine, const char *vm_id, struct fault *f);
/* Start and wait until it is up or powering up. */
int vm_start (struct engine *engine, const char *vm_id, struct fault *f);
/* Wait for a status; *VM may be NULL.  Gone is FAULT_NOTFOUND. */
int vm_wait_status (struct engine *engine, const char *vm_id,
                    const char *status, unsigned timeout_s, struct fault *f);
/* Point a NIC at a vNIC profile. */
int vm_set_nic_profile (struct engine *engine, const char *vm_id,
                        const char *nic_id, const char *profile_id,
                        struct fault *f);

/* One <vm> element with what is inside it; and the collections of which the
   latter is made, into members that are empty. */
int vm_parse (const struct doc_node *node, struct vm *vm, struct fault *f);
int vm_parse_disks (const struct doc_node *node, struct vm *vm,
                    struct fault *f);
int vm_parse_nics (const struct doc_node *node, struct vm *vm, struct fault *f);
int vm_parse_tags (const struct doc_node *node, struct vm *vm, struct fault *f);
void vm_reset (struct vm *vm);

#endif /* ENGINE_VM_H */
