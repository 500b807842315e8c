/* SPDX-License-Identifier: Apache-2.0 */
/* Each image of the chain has its own sum file, and the layer that the map
   names for a block is the one whose sum has its digest: so a block that the
   tables lost, or gained, is noticed as well as one whose bytes changed. */
#include <config.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "image/chain.h"
#include "image/qcow2.h"
#include "image/source.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/reader.h"
#include "repo/sum.h"
#include "repo/template.h"

#define BLOCK DIGEST_BLOCK

/* One image of the chain. */
struct layer {
  char name[UUID_SIZE + 16]; /* "point 2026...", for messages */
  struct source *source;
  struct sum *sum;
};

struct reader {
  char *name; /* for messages */
  char vm_id[UUID_SIZE];
  char disk_id[UUID_SIZE];
  struct chain *chain;
  struct layer *layers;
  unsigned count;
};

void
reader_close (struct reader *r)
{
  if (r == NULL)
    return;
  chain_free (r->chain);
  for (unsigned i = 0; i < r->count; i++) {
    source_free (r->layers[i].source);
    sum_close (r->layers[i].sum);
  }
  free (r->layers);
  free (r->name);
  free (r);
}

/* Open the image and the sum of DISK at POINT below the others.  BACKING: the
   string that the image has to have, or NULL. */
static int
add_layer (struct reader *r, const struct place *place,
           const struct point *point, const struct manifest_disk *disk,
           const char *backing, struct fault *f)
{
  CLEANUP_CLOSE int fd = point_dir (place, point, f);
  CLEANUP_FREE char *path = NULL;
  struct qcow2_expect expect = { .virtual_size = disk->virtual_size };
  struct layer *layer;

  if (fd < 0)
    return -1;
  if (r->count == READER_DEPTH_MAX)
    return fault_set (f, FAULT_CORRUPT, 0, "more than %u images in its chain",
                      READER_DEPTH_MAX);
  r->layers = xreallocarray (r->layers, r->count + 1, sizeof *r->layers);
  layer = &r->layers[r->count++];
  memset (layer, 0, sizeof *layer);
  snprintf (layer->name, sizeof layer->name, "%s %s",
            point->is_base ? "template's base" : "point",
            point->is_base ? point->vm_id : point->name);
  path = xasprintf ("%s/%s", point->is_base ? point->vm_id : point->name,
                    disk->file);
  if (backing != NULL) {
    expect.backing = QCOW2_BACKING_EXACT;
    expect.parent = backing;
    expect.parent_format = "qcow2";
  }
  if (source_open_file (fd, disk->file, path, &layer->source, f) < 0
      || sum_open (fd, disk->sum, disk->digest, &layer->sum, f) < 0)
    return point_damaged (f);
  if (chain_add_qcow2 (r->chain, layer->source, &expect, f) < 0)
    return -1;
  if (qcow2_header (chain_qcow2 (r->chain, r->count - 1))->cluster_bits != 16
      || sum_info (layer->sum)->virtual_size != disk->virtual_size)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: its clusters are not of 64 KiB, or its sum is of "
                      "another size",
                      path);
  return 0;
}

static const struct manifest_disk *
find_disk (const struct manifest *m, const char *disk_id)
{
  const struct manifest_disk *d = manifest_find_disk (m, disk_id);

  return d != NULL && strcmp (d->id, disk_id) == 0 ? d : NULL;
}

/* One image, and the template's base that it is over. */
static int
add_disk (struct reader *r, const struct place *place,
          const struct point *point, const struct manifest_disk *disk,
          struct fault *f)
{
  CLEANUP_FREE char *backing = NULL;
  CLEANUP (point_free) struct point *base = NULL;

  if (template_below (place, point->manifest, disk, &backing, &base, f) < 0
      || add_layer (r, place, point, disk, backing, f) < 0)
    return -1;
  return base == NULL
             ? 0
             : add_layer (r, place, base, template_disk (base), NULL, f);
}

/* Go down from POINT by the manifests until a full. */
static int
add_layers (struct reader *r, const struct place *place,
            const struct point *top, struct fault *f)
{
  CLEANUP (point_free) struct point *below = NULL;
  const struct point *point = top;

  while (true) {
    const struct manifest *m = point->manifest;
    const struct manifest_disk *disk = find_disk (m, r->disk_id);
    struct point *next = NULL;

    if (disk == NULL)
      return fault_set (f, point == top ? FAULT_NOTFOUND : FAULT_CORRUPT, 0,
                        "point %s has no disk %s", point->name, r->disk_id);
    if (add_disk (r, place, point, disk, f) < 0)
      return -1;
    if (disk->kind == MANIFEST_FULL)
      return 0;
    if (point_open (place, r->vm_id, m->parent, &next, f) < 0) {
      if (f != NULL && f->code == FAULT_NOTFOUND)
        f->code = FAULT_CORRUPT;
      return fault_prefix (f, "parent of point %s", point->name);
    }
    point_free (below);
    below = next;
    point = next;
  }
}

int
reader_open (const struct place *place, const struct point *point,
             const char *disk_id, struct reader **out, struct fault *f)
{
  CLEANUP (reader_close) struct reader *r = xcalloc (1, sizeof *r);

  *out = NULL;
  r->chain = chain_new ();
  if (point->manifest == NULL)
    return fault_set (f, FAULT_CORRUPT, 0, "VM %s point %s: %s", point->vm_id,
                      point->name, point->damage);
  if (!uuid_valid (disk_id))
    return fault_set (f, FAULT_USAGE, 0, "\"%s\" is no disk id", disk_id);
  strcpy (r->vm_id, point->vm_id);
  strcpy (r->disk_id, disk_id);
  r->name = xasprintf ("VM %s point %s disk %s", point->manifest->vm_name,
                       point->name, disk_id);
  if (add_layers (r, place, point, f) < 0)
    return fault_prefix (f, "%s", r->name);
  *out = steal_ptr (&r);
  return 0;
}

uint64_t
reader_size (const struct reader *r)
{
  return chain_size (r->chain);
}

unsigned
reader_depth (const struct reader *r)
{
  return r->count;
}

static int
check_extent (const struct reader *r, const struct extent *e, struct fault *f)
{
  if (e->kind == EXTENT_PACKED || e->kind == EXTENT_MIXED
      || (e->kind == EXTENT_DATA && e->start % BLOCK != 0))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: compressed or shifted clusters at %llu", r->name,
                      (unsigned long long)e->start);
  return 0;
}

/* Joins data extents, whole blocks, on their way to the caller. */
struct join {
  const struct reader *r;
  extent_fn fn;
  void *opaque;
  uint64_t limit;
  struct extent held; /* length 0: none */
};

static int
join_flush (struct join *j, struct fault *f)
{
  struct extent e = j->held;

  j->held.length = 0;
  return e.length == 0 ? 0 : j->fn (&e, j->opaque, f);
}

/* A layer may end in the middle of a block, when the disk grew since: that
   block has its data and is handed out whole. */
static int
join_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct join *j = opaque;
  uint64_t end = e->start + e->length;

  if (check_extent (j->r, e, f) < 0)
    return -1;
  if (e->kind != EXTENT_DATA)
    return 0;
  if (end % BLOCK != 0)
    end += BLOCK - end % BLOCK;
  if (end > j->limit)
    end = j->limit;
  if (j->held.length > 0 && j->held.start + j->held.length == e->start) {
    j->held.length = end - j->held.start;
    return 0;
  }
  if (join_flush (j, f) < 0)
    return -1;
  j->held = (struct extent){ .start = e->start,
                             .length = end - e->start,
                             .kind = EXTENT_DATA };
  return 0;
}

int
reader_map (struct reader *r, uint64_t start, uint64_t length, extent_fn fn,
            void *opaque, struct fault *f)
{
  uint64_t size = chain_size (r->chain);
  struct join j = { .r = r, .fn = fn, .opaque = opaque };

  if (start % BLOCK != 0 || start > size || length > size - start)
    return fault_set (f, FAULT_INTERNAL, 0, "%s: map of %llu bytes at %llu",
                      r->name, (unsigned long long)length,
                      (unsigned long long)start);
  if (length == 0)
    return 0;
  j.limit = start + length;
  if (chain_map (r->chain, start, length, CHAIN_WHOLE, join_extent, &j, f) < 0)
    return -1;
  return join_flush (&j, f);
}

/* A read in progress. */
struct fill {
  struct reader *r;
  uint64_t offset;
  uint8_t *data;
};

static int
check_block (struct reader *r, const struct layer *layer, uint64_t offset,
             const uint8_t *data, size_t size, struct fault *f)
{
  uint8_t want[DIGEST_SIZE];
  uint8_t is[DIGEST_SIZE];
  int rc = sum_find (layer->sum, offset / BLOCK, want, f);

  if (rc < 0)
    return -1;
  digest_of (data, size, is);
  if (rc == 1 && digest_equal (is, want))
    return 0;
  return fault_set (f, FAULT_CORRUPT, 0,
                    "%s: the 64 KiB at %llu (written by %s) are not "
                    "what was backed up",
                    r->name, (unsigned long long)offset, layer->name);
}

static int
fill_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct fill *fill = opaque;
  struct reader *r = fill->r;
  const struct layer *layer = &r->layers[e->layer];
  uint8_t *data = fill->data + (e->start - fill->offset);

  if (check_extent (r, e, f) < 0)
    return -1;
  if (e->kind != EXTENT_DATA)
    return 0;
  if (layer->source->read_at (layer->source->opaque, e->host, data,
                              (size_t)e->length, f)
      < 0)
    return fault_prefix (f, "%s", r->name);
  for (uint64_t done = 0; done < e->length; done += BLOCK) {
    uint64_t size = e->length - done < BLOCK ? e->length - done : BLOCK;

    if (check_block (r, layer, e->start + done, data + done, (size_t)size, f)
        < 0)
      return -1;
  }
  return 0;
}

int
reader_read (struct reader *r, uint64_t offset, void *data, size_t size,
             struct fault *f)
{
  uint64_t end = chain_size (r->chain);
  struct fill fill = { .r = r, .offset = offset, .data = data };

  if (offset % BLOCK != 0 || offset > end || size > end - offset
      || size > READER_READ_MAX || (size % BLOCK != 0 && offset + size != end))
    return fault_set (f, FAULT_INTERNAL, 0, "%s: read of %zu bytes at %llu",
                      r->name, size, (unsigned long long)offset);
  if (size == 0)
    return 0;
  memset (data, 0, size);
  return chain_map (r->chain, offset, size, CHAIN_WHOLE, fill_extent, &fill, f);
}

/* The first extent of a block decides: clusters begin where blocks do. */
struct first {
  struct extent e;
  bool have;
};

static int
take_first (const struct extent *e, void *opaque, struct fault *f)
{
  struct first *first = opaque;

  (void)f;
  if (!first->have)
    first->e = *e;
  first->have = true;
  return 0;
}

int
reader_digest (struct reader *r, uint64_t cluster,
               uint8_t out[static DIGEST_SIZE], struct fault *f)
{
  uint64_t end = chain_size (r->chain);
  uint64_t offset = cluster * BLOCK;
  struct first first = { 0 };
  uint64_t length;
  int rc;

  if (cluster >= DIGEST_BLOCKS (end))
    return fault_set (f, FAULT_INTERNAL, 0, "%s: no block %llu", r->name,
                      (unsigned long long)cluster);
  length = end - offset < BLOCK ? end - offset : BLOCK;
  if (chain_map (r->chain, offset, length, CHAIN_WHOLE, take_first, &first, f)
          < 0
      || check_extent (r, &first.e, f) < 0)
    return -1;
  if (first.e.kind != EXTENT_DATA)
    return 0;
  rc = sum_find (r->layers[first.e.layer].sum, cluster, out, f);
  if (rc == 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: the 64 KiB at %llu (written by %s) have no "
                      "digest",
                      r->name, (unsigned long long)offset,
                      r->layers[first.e.layer].name);
  return rc;
}

int
reader_layer_fd (const struct reader *r, unsigned layer)
{
  return source_fd (r->layers[layer].source);
}
