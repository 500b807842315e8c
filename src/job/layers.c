/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "job/layers.h"
#include "job/plan.h"
#include "job/volgroup.h"

#define TEXT_MAX (256u << 10)

/* The volume of DISK_ID that the snapshot froze. */
static int
frozen_volume (struct engine *engine, const struct vm *vm,
               const char *snapshot_id, const char *disk_id,
               char out[static UUID_SIZE], struct fault *f)
{
  CLEANUP (disk_list_free) struct disk_list *list = NULL;

  if (snapshot_disks (engine, vm->id, snapshot_id, &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++) {
    if (strcmp (list->items[i].id, disk_id) == 0) {
      memcpy (out, list->items[i].volume_id, UUID_SIZE);
      return 0;
    }
  }
  return fault_set (f, FAULT_BUSY, 0,
                    "snapshot %s does not list it: it was detached or removed "
                    "meanwhile",
                    snapshot_id);
}

/* On a file domain the base of a template is hard-linked into the directory of
   each image that is built on it, but keeps the template's image id; on a block
   domain its logical volume has that one's tag.  Where vdsm may have rounded
   the capacity up to whole extents, the helper has nothing to compare:
   layers_check does. */
static int
fill_layer (const struct disk_layer *in, const struct plan_disk *disk,
            struct msg_layer *out, struct fault *f)
{
  if (in->format == DISK_FORMAT_UNKNOWN)
    return fault_set (f, FAULT_PROTO, 0,
                      "the engine does not tell the format of volume %s",
                      in->volume_id);
  snprintf (out->image, sizeof out->image, "%s", disk->disk->disk.id);
  snprintf (out->owner, sizeof out->owner, "%s",
            in->is_template ? in->disk_id : "");
  snprintf (out->volume, sizeof out->volume, "%s", in->volume_id);
  snprintf (out->parent, sizeof out->parent, "%s",
            in->parent_id[0] != '\0' ? in->parent_id : UUID_BLANK);
  out->format = in->format == DISK_FORMAT_RAW ? MSG_RAW : MSG_COW;
  out->voltype = in->is_template ? MSG_SHARED : MSG_INTERNAL;
  out->legality = MSG_LEGAL;
  if (!domain_is_block (disk->domain)
      || in->provisioned_size % VOLGROUP_EXTENT == 0)
    out->capacity = in->provisioned_size;
  return 0;
}

static int
fill (struct engine *engine, const struct disk_layers *chain,
      const struct plan_disk *disk, struct layers *out, struct fault *f)
{
  struct buf text;
  int rc = 0;

  if (chain->count == 0 || chain->count > MSG_LAYERS_MAX)
    return fault_set (f, FAULT_PROTO, 0, "the engine tells %zu layers",
                      chain->count);
  buf_init (&text, TEXT_MAX);
  buf_printf (&text, "domain %s\n", disk->domain->id);
  out->open.kind = MSG_FILE;
  if (domain_is_block (disk->domain)) {
    out->open.kind = MSG_BLOCK;
    rc = volgroup_ask (engine, disk->domain, &out->open.group, f);
  }
  out->open.flags = MSG_READ_SCAN_WRITERS;
  out->open.layer_count = (uint32_t)chain->count;
  out->open.layers = xcalloc (chain->count, sizeof *out->open.layers);
  out->sizes = xcalloc (chain->count, sizeof *out->sizes);
  for (size_t i = 0; rc == 0 && i < chain->count; i++) {
    const struct disk_layer *l = &chain->items[i];

    rc = fill_layer (l, disk, &out->open.layers[i], f);
    out->sizes[i] = l->provisioned_size;
    buf_printf (&text, "%s %s %s %d %s\n", l->volume_id, l->parent_id,
                l->disk_id, (int)l->format, l->status);
  }
  out->text = xstrndup ((const char *)text.data, text.size);
  buf_reset (&text);
  return rc;
}

/* Read only what is above VOLUME_ID, which snapshot SINCE shows.  A merge that
   went wrong may have left it to another snapshot: then its bytes are not those
   of SINCE any more. */
static void
cut (struct layers *l, const struct disk_layers *chain, const char *since,
     const char *volume_id)
{
  char *text = xasprintf ("%sbase %s\n", l->text, volume_id);

  free (l->text);
  l->text = text;
  for (size_t i = 1; i < chain->count; i++) {
    const struct disk_layer *d = &chain->items[i];

    if (strcmp (d->volume_id, volume_id) == 0
        && (d->snapshot_id[0] == '\0' || strcmp (d->snapshot_id, since) == 0)) {
      l->open.flags |= MSG_READ_KEEP_ZERO;
      l->open.lower_count = (uint32_t)(chain->count - i);
    }
  }
}

int
layers_get (struct engine *engine, const struct vm *vm, const char *snapshot_id,
            const char *since, const struct plan_disk *disk,
            struct layers **out, struct fault *f)
{
  char base[UUID_SIZE];
  CLEANUP (layers_free) struct layers *l = xcalloc (1, sizeof *l);
  CLEANUP (disk_layers_free) struct disk_layers *chain = NULL;
  struct disk_layers_query query = {
    .disk_id = disk->disk->disk.id,
    .volume_id = l->volume_id,
    .domain_id = disk->domain->id,
    .vm_id = vm->id,
    .template_id = vm->template_id,
  };

  if (frozen_volume (engine, vm, snapshot_id, query.disk_id, l->volume_id, f)
          < 0
      || disk_layers (engine, &query, &chain, f) < 0
      || domain_dir (disk->domain, l->open.dir, f) < 0
      || fill (engine, chain, disk, l, f) < 0)
    return -1;
  if (since != NULL) {
    if (frozen_volume (engine, vm, since, query.disk_id, base, f) < 0)
      return -1;
    cut (l, chain, since, base);
  }
  *out = steal_ptr (&l);
  return 0;
}

int
layers_check (const struct layers *l, const struct msg_opened *opened,
              struct fault *f)
{
  for (uint32_t i = 0; l->open.kind == MSG_BLOCK && i < opened->layer_count;
       i++) {
    uint64_t found = opened->layers[i].virtual_size;

    if (l->sizes[i] != 0 && !volgroup_size_fits (l->sizes[i], found))
      return fault_set (f, FAULT_CORRUPT, 0,
                        "volume %s has %" PRIu64
                        " bytes, the engine says %" PRIu64,
                        l->open.layers[i].volume, found, l->sizes[i]);
  }
  return 0;
}

bool
layers_on_template (const struct layers *l)
{
  return l->open.layer_count > 1
         && l->open.layers[l->open.layer_count - 1].voltype == MSG_SHARED;
}

void
layers_cut_template (struct layers *l)
{
  l->open.flags |= MSG_READ_KEEP_ZERO;
  l->open.lower_count = 1;
}

void
layers_free (struct layers *l)
{
  if (l == NULL)
    return;
  msg_open_read_reset (&l->open);
  free (l->sizes);
  free (l->text);
  free (l);
}
