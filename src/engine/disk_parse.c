/* SPDX-License-Identifier: Apache-2.0 */
/* <disk> and <disk_snapshot> elements to structures. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/disk.h"
#include "engine/doc.h"

static enum disk_format
parse_format (const struct doc_node *node)
{
  char word[8];

  doc_word (node, "format", word, sizeof word);
  if (strcmp (word, "raw") == 0)
    return DISK_FORMAT_RAW;
  if (strcmp (word, "cow") == 0)
    return DISK_FORMAT_COW;
  return DISK_FORMAT_UNKNOWN;
}

/* A template's disk lies on several domains; older engines write one without
   the list round it. */
static int
parse_domains (const struct doc_node *node, struct disk *disk, struct fault *f)
{
  const struct doc_node *domain
      = doc_first (doc_first (node, "storage_domains"), "storage_domain");

  if (domain == NULL)
    domain = doc_first (node, "storage_domain");
  disk->domain_count = 0;
  for (; domain != NULL; domain = doc_next (domain, "storage_domain")) {
    char id[UUID_SIZE];

    if (doc_id (domain, "", id, f) < 0)
      return -1;
    if (id[0] == '\0')
      continue;
    if (disk->domain_count == DISK_DOMAINS_MAX)
      return fault_set (f, FAULT_PROTO, 0,
                        "disk %s is on more than %d storage domains", disk->id,
                        DISK_DOMAINS_MAX);
    memcpy (disk->domain_ids[disk->domain_count++], id, UUID_SIZE);
  }
  return 0;
}

int
disk_parse (const struct doc_node *node, struct disk *disk, struct fault *f)
{
  char word[16];

  *disk = (struct disk){ .domain_count = 0 };
  disk->alias
      = doc_string (node, doc_first (node, "alias") != NULL ? "alias" : "name");
  disk->description = doc_string (node, "description");
  disk->format = parse_format (node);
  disk->sparse = doc_bool (node, "sparse", false);
  disk->shareable = doc_bool (node, "shareable", false);
  disk->wipe_after_delete = doc_bool (node, "wipe_after_delete", false);
  disk->propagate_errors = doc_bool (node, "propagate_errors", false);
  doc_word (node, "backup", word, sizeof word);
  disk->incremental = strcmp (word, "incremental") == 0;
  doc_word (node, "status", disk->status, sizeof disk->status);
  doc_word (node, "content_type", disk->content_type,
            sizeof disk->content_type);
  if (disk->content_type[0] == '\0')
    strcpy (disk->content_type, "data"); /* before engine 4.2.1 */
  doc_word (node, "storage_type", disk->storage_type,
            sizeof disk->storage_type);
  doc_word (node, "qcow_version", disk->qcow_version,
            sizeof disk->qcow_version);
  if (doc_need_id (node, disk->id, f) < 0
      || doc_uuid_text (node, "image_id", disk->volume_id, f) < 0
      || doc_u64 (node, "provisioned_size", &disk->provisioned_size, f) < 0
      || doc_u64 (node, "actual_size", &disk->actual_size, f) < 0
      || doc_u64 (node, "total_size", &disk->total_size, f) < 0
      || parse_domains (node, disk, f) < 0
      || doc_id (node, "disk_profile", disk->profile_id, f) < 0
      || doc_id (node, "quota", disk->quota_id, f) < 0
      || doc_id (node, "snapshot", disk->snapshot_id, f) < 0
      || doc_id (node, "vms/vm", disk->vm_id, f) < 0) {
    disk_reset (disk);
    return -1;
  }
  return 0;
}

void
disk_reset (struct disk *disk)
{
  free (disk->alias);
  free (disk->description);
  disk->alias = NULL;
  disk->description = NULL;
}

int
disk_parse_layer (const struct doc_node *node, struct disk_layer *layer,
                  struct fault *f)
{
  *layer = (struct disk_layer){ .format = parse_format (node) };
  layer->sparse = doc_bool (node, "sparse", false);
  doc_word (node, "status", layer->status, sizeof layer->status);
  if (doc_need_id (node, layer->volume_id, f) < 0
      || doc_id (node, "parent", layer->parent_id, f) < 0
      || doc_id (node, "disk", layer->disk_id, f) < 0
      || doc_id (node, "snapshot", layer->snapshot_id, f) < 0
      || doc_u64 (node, "provisioned_size", &layer->provisioned_size, f) < 0)
    return -1;
  if (strcmp (layer->parent_id, UUID_BLANK) == 0)
    layer->parent_id[0] = '\0';
  return 0;
}
