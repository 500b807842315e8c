/* SPDX-License-Identifier: Apache-2.0 */
/* Elements are found by local name.  A section is known by its xsi:type,
   whose prefix is not looked at. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/doc.h"
#include "engine/ovf.h"

#define OVF_REMOVED_MAX 16384

static int
parse (const char *ovf, struct doc **doc, struct fault *f)
{
  size_t size = strlen (ovf);

  if (size > OVF_SIZE_MAX)
    return fault_set (f, FAULT_PROTO, 0,
                      "the VM's OVF has %zu bytes, more than %u", size,
                      OVF_SIZE_MAX);
  if (doc_parse (ovf, size, "the VM's OVF", doc, f) < 0)
    return -1;
  if (!doc_is (doc_root (*doc), "Envelope")) {
    fault_set (f, FAULT_PROTO, 0, "the VM's OVF is a <%s>, not an Envelope",
               doc_name (doc_root (*doc)));
    doc_free (steal_ptr (doc));
    return -1;
  }
  return 0;
}

static bool
is_section (const struct doc_node *node, const char *type)
{
  char text[64];
  const char *colon;

  if (!doc_is (node, "Section"))
    return false;
  doc_attr (node, "", "type", text, sizeof text);
  colon = strchr (text, ':');
  return strcmp (colon != NULL ? colon + 1 : text, type) == 0;
}

static bool
is_disk_item (const struct doc_node *node)
{
  char type[8];

  if (!doc_is (node, "Item"))
    return false;
  doc_word (node, "ResourceType", type, sizeof type);
  return strcmp (type, "17") == 0;
}

/* What the import would attach disks or make snapshots from. */
static bool
is_unwanted (const struct doc_node *node, bool in_disk_section)
{
  return is_disk_item (node) || is_section (node, "SnapshotsSection_Type")
         || doc_is (node, "File") || (in_disk_section && doc_is (node, "Disk"));
}

static int
gather_unwanted (const struct doc_node *top, const struct doc_node **found,
                 size_t *count, struct fault *f)
{
  const struct doc_node *node = top;
  const struct doc_node *after = NULL; /* first node behind a DiskSection */
  bool in_disks = false;

  while (node != NULL) {
    if (in_disks && node == after)
      in_disks = false;
    if (is_section (node, "DiskSection_Type")) {
      in_disks = true;
      after = doc_after (top, node);
    }
    if (node == top || !is_unwanted (node, in_disks)) {
      node = doc_walk (top, node);
      continue;
    }
    if (*count == OVF_REMOVED_MAX)
      return fault_set (f, FAULT_PROTO, 0,
                        "the VM's OVF has more than %d disk elements",
                        OVF_REMOVED_MAX);
    found[(*count)++] = node;
    node = doc_after (top, node);
  }
  return 0;
}

int
ovf_strip (const char *ovf, char **out, struct fault *f)
{
  CLEANUP_FREE const struct doc_node **found
      = xcalloc (OVF_REMOVED_MAX, sizeof *found);
  CLEANUP (doc_free) struct doc *doc = NULL;
  size_t count = 0;

  *out = NULL;
  if (parse (ovf, &doc, f) < 0
      || gather_unwanted (doc_root (doc), found, &count, f) < 0)
    return -1;
  for (size_t i = 0; i < count; i++)
    doc_remove (doc, found[i]);
  return doc_print (doc, out, f);
}

/* "DISK/VOLUME" into the disk's id. */
static int
parse_resource (const struct doc_node *item, char id[static UUID_SIZE],
                struct fault *f)
{
  char text[2 * UUID_SIZE + 1];

  doc_word (item, "HostResource", text, sizeof text);
  if (strlen (text) < UUID_SIZE || text[UUID_SIZE - 1] != '/')
    return fault_set (f, FAULT_PROTO, 0, "the VM's OVF has a disk in \"%s\"",
                      text);
  text[UUID_SIZE - 1] = '\0';
  if (!uuid_valid (text))
    return fault_set (f, FAULT_PROTO, 0, "the VM's OVF has a disk in \"%s\"",
                      text);
  memcpy (id, text, UUID_SIZE);
  return 0;
}

static int
parse_item (const struct doc_node *item, struct ovf_disk *disk, struct fault *f)
{
  *disk = (struct ovf_disk){ .cow = false };
  if (parse_resource (item, disk->disk_id, f) < 0
      || doc_uuid_text (item, "InstanceId", disk->volume_id, f) < 0
      || doc_uuid_text (item, "Parent", disk->parent_id, f) < 0
      || doc_uuid_text (item, "Template", disk->template_id, f) < 0
      || doc_uuid_text (item, "StorageId", disk->domain_id, f) < 0)
    return -1;
  if (disk->volume_id[0] == '\0')
    return fault_set (f, FAULT_PROTO, 0,
                      "the VM's OVF has a layer without an id on disk %s",
                      disk->disk_id);
  return 0;
}

/* Format and allocation stand in the DiskSection. */
static void
apply_disk (const struct doc_node *node, struct ovf_disks *disks)
{
  char id[UUID_SIZE + 1];
  char format[8];
  char type[16];

  doc_attr (node, "", "diskId", id, sizeof id);
  doc_attr (node, "", "volume-format", format, sizeof format);
  doc_attr (node, "", "volume-type", type, sizeof type);
  for (size_t i = 0; i < disks->count; i++) {
    struct ovf_disk *disk = &disks->items[i];

    if (strcmp (disk->volume_id, id) == 0) {
      disk->cow = strcasecmp (format, "COW") == 0;
      disk->sparse = strcasecmp (type, "Sparse") == 0;
    }
  }
}

int
ovf_disks (const char *ovf, struct ovf_disks **disks, struct fault *f)
{
  CLEANUP (ovf_disks_free) struct ovf_disks *d = xcalloc (1, sizeof *d);
  CLEANUP (doc_free) struct doc *doc = NULL;
  const struct doc_node *top;
  const struct doc_node *node;

  *disks = NULL;
  if (parse (ovf, &doc, f) < 0)
    return -1;
  top = doc_root (doc);
  for (node = top; node != NULL; node = doc_walk (top, node)) {
    if (!is_disk_item (node))
      continue;
    if (d->count == OVF_DISKS_MAX)
      return fault_set (f, FAULT_PROTO, 0,
                        "the VM's OVF has more than %d layers", OVF_DISKS_MAX);
    d->items = xreallocarray (d->items, d->count + 1, sizeof *d->items);
    if (parse_item (node, &d->items[d->count], f) < 0)
      return -1;
    d->count++;
  }
  for (node = top; node != NULL; node = doc_walk (top, node)) {
    const struct doc_node *disk = NULL;
    size_t seen = 0;

    if (is_section (node, "DiskSection_Type"))
      disk = doc_first (node, "Disk");
    for (; disk != NULL && seen < OVF_DISKS_MAX; seen++) {
      apply_disk (disk, d);
      disk = doc_next (disk, "Disk");
    }
  }
  *disks = steal_ptr (&d);
  return 0;
}

void
ovf_disks_free (struct ovf_disks *disks)
{
  if (disks == NULL)
    return;
  free (disks->items);
  free (disks);
}

int
ovf_vm_id (const char *ovf, char id[static UUID_SIZE], struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  const struct doc_node *top;
  const struct doc_node *node;

  id[0] = '\0';
  if (parse (ovf, &doc, f) < 0)
    return -1;
  top = doc_root (doc);
  for (node = top; node != NULL; node = doc_walk (top, node)) {
    if (is_section (node, "OperatingSystemSection_Type"))
      return doc_id (node, "", id, f);
  }
  return 0;
}
