/* SPDX-License-Identifier: Apache-2.0 */
/* The chain of a disk, from what each version of the engine tells:

     4.5          /disks/D/disksnapshots with both flags: every layer, the
                  template's base too, with parents
     4.4.3 - 4.4  /storagedomains/SD/disksnapshots with include_active; the
                  template's base is missing, its parent names it
     before       no parents at all there: they come from the VM's OVF; sizes
                  and formats from the list of the storage domain

   What remains missing at the bottom is looked for among the disks of the
   template. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/disk.h"
#include "engine/login.h"
#include "engine/ovf.h"
#include "engine/vm.h"

#define DISK_LAYERS_SEEN_MAX 200000 /* layers of a whole storage domain */

void
disk_layers_free (struct disk_layers *layers)
{
  if (layers == NULL)
    return;
  free (layers->items);
  free (layers);
}

static void
append (struct disk_layers *layers, const struct disk_layer *layer)
{
  layers->items
      = xreallocarray (layers->items, layers->count + 1, sizeof *layers->items);
  layers->items[layers->count++] = *layer;
}

static struct disk_layer *
find (const struct disk_layers *layers, const char *volume_id)
{
  for (size_t i = 0; i < layers->count; i++) {
    if (strcmp (layers->items[i].volume_id, volume_id) == 0)
      return &layers->items[i];
  }
  return NULL;
}

int
disk_layers_link (const struct disk_layers *all, const char *top,
                  struct disk_layers **chain, char missing[static UUID_SIZE],
                  struct fault *f)
{
  CLEANUP (disk_layers_free) struct disk_layers *c = xcalloc (1, sizeof *c);
  const char *want = top;

  *chain = NULL;
  missing[0] = '\0';
  while (want[0] != '\0') {
    const struct disk_layer *layer = find (all, want);

    if (layer == NULL) {
      strcpy (missing, want);
      break;
    }
    if (find (c, want) != NULL)
      return fault_set (f, FAULT_PROTO, 0,
                        "the layers of the disk go round in a circle at %s",
                        want);
    if (c->count == DISK_LAYERS_MAX)
      return fault_set (f, FAULT_PROTO, 0, "the disk has more than %d layers",
                        DISK_LAYERS_MAX);
    append (c, layer);
    want = layer->parent_id;
  }
  *chain = steal_ptr (&c);
  return 0;
}

/* What the lists of layers are filtered into. */
struct gathered {
  struct disk_layers *layers;
  const char *disk_id; /* NULL: all */
  size_t seen;
};

static int
gather (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct gathered *g = opaque;
  struct disk_layer layer;

  if (++g->seen > DISK_LAYERS_SEEN_MAX)
    return fault_set (f, FAULT_PROTO, 0,
                      "the engine lists more than %d disk snapshots",
                      DISK_LAYERS_SEEN_MAX);
  if (disk_parse_layer (item, &layer, f) < 0)
    return -1;
  if (g->disk_id != NULL && strcmp (layer.disk_id, g->disk_id) != 0)
    return 0;
  if (g->layers->count == DISK_LAYERS_MAX)
    return fault_set (f, FAULT_PROTO, 0, "the disk has more than %d layers",
                      DISK_LAYERS_MAX);
  if (find (g->layers, layer.volume_id) == NULL)
    append (g->layers, &layer);
  return 0;
}

static int
gather_at (struct engine *engine, const char *pattern, const char *id,
           const char *disk_id, struct disk_layers *layers, struct fault *f)
{
  struct gathered g = { .layers = layers, .disk_id = disk_id };
  CLEANUP_FREE char *path = call_path (pattern, id, NULL, f);

  if (path == NULL)
    return -1;
  return call_each (engine, path, "disk_snapshot", gather, &g, f);
}

/* The active layer where the lists leave it out. */
static int
add_active (struct engine *engine, const struct disk_layers_query *query,
            struct disk_layers *layers, struct fault *f)
{
  CLEANUP (disk_free) struct disk *disk = NULL;
  struct disk_layer layer = { .sparse = false };

  if (disk_get (engine, query->disk_id, &disk, f) < 0)
    return -1;
  if (disk->volume_id[0] == '\0' || find (layers, disk->volume_id) != NULL)
    return 0;
  memcpy (layer.volume_id, disk->volume_id, UUID_SIZE);
  memcpy (layer.disk_id, disk->id, UUID_SIZE);
  memcpy (layer.status, disk->status, sizeof layer.status);
  layer.format = disk->format;
  layer.sparse = disk->sparse;
  layer.provisioned_size = disk->provisioned_size;
  append (layers, &layer);
  return 0;
}

/* Before 4.4.3 only the OVF knows who is whose parent. */
static int
add_parents (struct engine *engine, const struct disk_layers_query *query,
             struct disk_layers *layers, struct fault *f)
{
  CLEANUP_FREE char *text = NULL;
  CLEANUP (ovf_disks_free) struct ovf_disks *disks = NULL;

  if (vm_get_ovf (engine, query->vm_id, &text, f) < 0
      || ovf_disks (text, &disks, f) < 0)
    return -1;
  for (size_t i = 0; i < disks->count; i++) {
    const struct ovf_disk *o = &disks->items[i];
    struct disk_layer *layer = find (layers, o->volume_id);

    if (strcmp (o->disk_id, query->disk_id) != 0)
      continue;
    if (layer == NULL) {
      struct disk_layer more
          = { .format = o->cow ? DISK_FORMAT_COW : DISK_FORMAT_RAW,
              .sparse = o->sparse };

      memcpy (more.volume_id, o->volume_id, UUID_SIZE);
      memcpy (more.disk_id, o->disk_id, UUID_SIZE);
      append (layers, &more);
      layer = find (layers, o->volume_id);
    }
    memcpy (layer->parent_id, o->parent_id, UUID_SIZE);
  }
  return 0;
}

/* The template's disk whose only layer is VOLUME_ID, put below CHAIN. */
static int
add_template (struct engine *engine, const struct disk_layers_query *query,
              const char *volume_id, struct disk_layers *chain, struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  const struct doc_node *item;

  if (query->template_id == NULL || query->template_id[0] == '\0'
      || strcmp (query->template_id, UUID_BLANK) == 0)
    return 0;
  if (call_get_at (engine, "templates/%/diskattachments?follow=disk",
                   query->template_id, NULL, &doc, f)
      < 0)
    return -1;
  item = doc_first (doc_root (doc), "disk_attachment");
  for (; item != NULL; item = doc_next (item, "disk_attachment")) {
    struct disk_layer layer = { .is_template = true };
    struct disk disk;
    bool hit;

    if (disk_parse (doc_first (item, "disk"), &disk, f) < 0)
      return -1;
    hit = strcmp (disk.volume_id, volume_id) == 0;
    memcpy (layer.volume_id, disk.volume_id, UUID_SIZE);
    memcpy (layer.disk_id, disk.id, UUID_SIZE);
    memcpy (layer.status, disk.status, sizeof layer.status);
    layer.format = disk.format;
    layer.sparse = disk.sparse;
    layer.provisioned_size = disk.provisioned_size;
    disk_reset (&disk);
    if (hit) {
      append (chain, &layer);
      return 0;
    }
  }
  return 0;
}

static int
gather_layers (struct engine *engine, const struct disk_layers_query *query,
               struct disk_layers *all, struct fault *f)
{
  if (login_at_least (engine, 4, 5, 0))
    return gather_at (engine,
                      "disks/%/disksnapshots?include_active=true&"
                      "include_template=true",
                      query->disk_id, NULL, all, f);
  if (gather_at (engine, "storagedomains/%/disksnapshots?include_active=true",
                 query->domain_id, query->disk_id, all, f)
          < 0
      || add_active (engine, query, all, f) < 0)
    return -1;
  if (login_at_least (engine, 4, 4, 3))
    return 0;
  return add_parents (engine, query, all, f);
}

int
disk_layers (struct engine *engine, const struct disk_layers_query *query,
             struct disk_layers **layers, struct fault *f)
{
  CLEANUP (disk_layers_free) struct disk_layers *all = xcalloc (1, sizeof *all);
  CLEANUP (disk_layers_free) struct disk_layers *chain = NULL;
  char missing[UUID_SIZE];

  *layers = NULL;
  if (gather_layers (engine, query, all, f) < 0
      || disk_layers_link (all, query->volume_id, &chain, missing, f) < 0)
    return fault_prefix (f, "layers of disk %s", query->disk_id);
  if (missing[0] != '\0' && chain->count > 0) {
    size_t had = chain->count;

    if (add_template (engine, query, missing, chain, f) < 0)
      return fault_prefix (f, "layers of disk %s", query->disk_id);
    if (chain->count > had)
      missing[0] = '\0';
  }
  if (missing[0] != '\0')
    return fault_set (f, FAULT_CORRUPT, 0,
                      "layers of disk %s: the engine does not list %s, %s",
                      query->disk_id, missing,
                      chain->count > 0 ? "a parent in the chain"
                                       : "where the chain begins");
  for (size_t i = 0; i < chain->count; i++)
    chain->items[i].is_template
        = strcmp (chain->items[i].disk_id, query->disk_id) != 0;
  *layers = steal_ptr (&chain);
  return 0;
}
