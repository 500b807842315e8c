/* SPDX-License-Identifier: Apache-2.0 */
/* Refcount table and blocks; the block in use is kept. */
#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "image/qcow2.h"
#include "image/refcount.h"
#include "image/source.h"

#define OFFSET_MASK UINT64_C (0xfffffffffffffe00)

struct refcount {
  struct source *src;
  const struct qcow2_header *header;
  uint64_t entries;
  uint8_t *table;    /* as it is in the file */
  uint8_t *block;    /* one cluster, or SOURCE_ALIGN */
  uint64_t block_at; /* offset of what is in block; 0: nothing */
  uint64_t block_size;
};

/* An aligned read of SIZE bytes at OFFSET, which may be aligned to less:
   OUT has room for SOURCE_ALIGN more; the bytes begin at the result. */
static uint8_t *
read_aligned (struct source *src, uint64_t offset, uint64_t size, uint8_t *out,
              struct fault *f)
{
  uint64_t before = offset % SOURCE_ALIGN;
  uint64_t whole
      = (before + size + SOURCE_ALIGN - 1) & ~(uint64_t)(SOURCE_ALIGN - 1);

  if (src->read_at (src->opaque, offset - before, out, whole, f) < 0)
    return NULL;
  return out + before;
}

int
refcount_open (struct source *src, const struct qcow2_header *header,
               struct refcount **out, struct fault *f)
{
  CLEANUP (refcount_free) struct refcount *r = xcalloc (1, sizeof *r);
  CLEANUP_FREE uint8_t *raw = NULL;
  uint64_t size = (uint64_t)header->reftable_clusters << header->cluster_bits;
  uint8_t *table;

  r->src = src;
  r->header = header;
  r->entries = size / 8;
  r->block_size = UINT64_C (1) << header->cluster_bits;
  r->table = try_calloc (1, size, "the refcount table", f);
  r->block = try_aligned (SOURCE_ALIGN, r->block_size + 2 * SOURCE_ALIGN,
                          "a refcount block", f);
  raw = try_aligned (SOURCE_ALIGN, size + 2 * SOURCE_ALIGN,
                     "the refcount table", f);
  if (r->table == NULL || r->block == NULL || raw == NULL)
    return -1;
  table = read_aligned (src, header->reftable_offset, size, raw, f);
  if (table == NULL)
    return -1;
  memcpy (r->table, table, size);
  *out = steal_ptr (&r);
  return 0;
}

void
refcount_free (struct refcount *r)
{
  if (r == NULL)
    return;
  free (r->table);
  free (r->block);
  free (r);
}

uint64_t
refcount_block (const struct refcount *r, uint64_t i)
{
  return i < r->entries ? get_be64 (r->table + 8 * i) & OFFSET_MASK : 0;
}

uint64_t
refcount_table_entries (const struct refcount *r)
{
  return r->entries;
}

uint64_t
refcount_per_block (const struct refcount *r)
{
  return r->block_size * 8 >> r->header->refcount_order;
}

/* Count number I of a block: 1 to 64 bits; below 8 the lowest bits first. */
static uint64_t
count_at (const uint8_t *block, uint64_t i, unsigned order)
{
  unsigned bits = 1u << order;

  switch (order) {
  case 3:
    return block[i];
  case 4:
    return get_be16 (block + 2 * i);
  case 5:
    return get_be32 (block + 4 * i);
  case 6:
    return get_be64 (block + 8 * i);
  default:
    return block[i * bits / 8] >> i * bits % 8 & ((1u << bits) - 1);
  }
}

int
refcount_get (struct refcount *r, uint64_t cluster, uint64_t *value,
              struct fault *f)
{
  uint64_t per_block = refcount_per_block (r);
  uint64_t offset = refcount_block (r, cluster / per_block);

  *value = 0;
  if (offset == 0)
    return 0;
  if (offset % r->block_size != 0 || r->block_size > r->src->size
      || offset > r->src->size - r->block_size)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: refcount block %" PRIu64 " at 0x%" PRIx64
                      " is not aligned or lies beyond the container",
                      r->src->name, cluster / per_block, offset);
  if (r->block_at != offset) {
    uint8_t *data;

    r->block_at = 0;
    data = read_aligned (r->src, offset, r->block_size, r->block, f);
    if (data == NULL)
      return -1;
    memmove (r->block, data, r->block_size);
    r->block_at = offset;
  }
  *value = count_at (r->block, cluster % per_block, r->header->refcount_order);
  return 0;
}
