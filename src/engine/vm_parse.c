/* SPDX-License-Identifier: Apache-2.0 */
/* A <vm> element to a structure, with the disk attachments, NICs and tags
   that follow= has put in the place of its links. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/doc.h"
#include "engine/vm.h"

static int
parse_disk (const struct doc_node *node, struct vm_disk *out, struct fault *f)
{
  const struct doc_node *disk = doc_first (node, "disk");
  char id[UUID_SIZE];

  *out = (struct vm_disk){ .bootable = false };
  if (doc_need_id (node, id, f) < 0)
    return -1;
  if (disk == NULL)
    return fault_set (f, FAULT_PROTO, 0, "attachment %s has no disk", id);
  if (disk_parse (disk, &out->disk, f) < 0)
    return -1;
  if (strcmp (id, out->disk.id) != 0) {
    disk_reset (&out->disk);
    return fault_set (f, FAULT_PROTO, 0, "attachment %s has another disk", id);
  }
  doc_word (node, "interface", out->interface, sizeof out->interface);
  out->bootable = doc_bool (node, "bootable", false);
  out->active = doc_bool (node, "active", false);
  out->read_only = doc_bool (node, "read_only", false);
  out->pass_discard = doc_bool (node, "pass_discard", false);
  out->uses_scsi_reservation = doc_bool (node, "uses_scsi_reservation", false);
  memcpy (out->snapshot_id, out->disk.snapshot_id, UUID_SIZE);
  return 0;
}

static int
parse_nic (const struct doc_node *node, struct vm_nic *nic, struct fault *f)
{
  *nic = (struct vm_nic){ .linked = doc_bool (node, "linked", true),
                          .plugged = doc_bool (node, "plugged", true) };
  if (doc_need_id (node, nic->id, f) < 0
      || doc_id (node, "vnic_profile", nic->profile_id, f) < 0)
    return -1;
  doc_word (node, "mac/address", nic->mac, sizeof nic->mac);
  doc_word (node, "interface", nic->interface, sizeof nic->interface);
  nic->name = doc_string (node, "name");
  return 0;
}

static int
too_many (const struct vm *vm, const char *what, struct fault *f)
{
  return fault_set (f, FAULT_PROTO, 0, "VM %s has too many %s", vm->id, what);
}

int
vm_parse_disks (const struct doc_node *node, struct vm *vm, struct fault *f)
{
  const struct doc_node *item = doc_first (node, "disk_attachment");
  size_t count = doc_count (node, "disk_attachment");

  if (count > VM_DISKS_MAX)
    return too_many (vm, "disks", f);
  vm->disks = xcalloc (count + 1, sizeof *vm->disks);
  for (; item != NULL; item = doc_next (item, "disk_attachment")) {
    if (parse_disk (item, &vm->disks[vm->disk_count], f) < 0)
      return -1;
    vm->disk_count++;
  }
  return 0;
}

int
vm_parse_nics (const struct doc_node *node, struct vm *vm, struct fault *f)
{
  const struct doc_node *item = doc_first (node, "nic");
  size_t count = doc_count (node, "nic");

  if (count > VM_NICS_MAX)
    return too_many (vm, "NICs", f);
  vm->nics = xcalloc (count + 1, sizeof *vm->nics);
  for (; item != NULL; item = doc_next (item, "nic")) {
    if (parse_nic (item, &vm->nics[vm->nic_count], f) < 0)
      return -1;
    vm->nic_count++;
  }
  return 0;
}

int
vm_parse_tags (const struct doc_node *node, struct vm *vm, struct fault *f)
{
  const struct doc_node *item = doc_first (node, "tag");
  size_t count = doc_count (node, "tag");

  if (count > VM_TAGS_MAX)
    return too_many (vm, "tags", f);
  vm->tags = xcalloc (count + 1, sizeof *vm->tags);
  for (; item != NULL; item = doc_next (item, "tag"))
    vm->tags[vm->tag_count++] = doc_string (item, "name");
  return 0;
}

static bool
is_hosted_engine (const struct doc_node *node)
{
  char origin[32];

  doc_word (node, "origin", origin, sizeof origin);
  return strcmp (origin, "hosted_engine") == 0
         || strcmp (origin, "managed_hosted_engine") == 0;
}

int
vm_parse (const struct doc_node *node, struct vm *vm, struct fault *f)
{
  *vm = (struct vm){ .memory = 0 };
  vm->name = doc_string (node, "name");
  vm->description = doc_string (node, "description");
  vm->comment = doc_string (node, "comment");
  doc_word (node, "status", vm->status, sizeof vm->status);
  vm->delete_protected = doc_bool (node, "delete_protected", false);
  vm->has_illegal_images = doc_bool (node, "has_illegal_images", false);
  vm->next_run = doc_bool (node, "next_run_configuration_exists", false);
  vm->stateless = doc_bool (node, "stateless", false);
  vm->hosted_engine = is_hosted_engine (node);
  if (doc_need_id (node, vm->id, f) < 0
      || doc_id (node, "host", vm->host_id, f) < 0
      || doc_id (node, "cluster", vm->cluster_id, f) < 0
      || doc_id (node, "template", vm->template_id, f) < 0
      || doc_id (node, "original_template", vm->original_template_id, f) < 0
      || doc_u64 (node, "memory", &vm->memory, f) < 0
      || vm_parse_disks (doc_first (node, "disk_attachments"), vm, f) < 0
      || vm_parse_nics (doc_first (node, "nics"), vm, f) < 0
      || vm_parse_tags (doc_first (node, "tags"), vm, f) < 0) {
    vm_reset (vm);
    return -1;
  }
  return 0;
}
