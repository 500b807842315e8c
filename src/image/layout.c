/* SPDX-License-Identifier: Apache-2.0 */
/* Two bits for a guest cluster, in chunks that exist only where something was
   set.  layout_seal counts ranks, so that the place of a cluster and the
   cluster at a place are found without a search through the disk, and the
   tables are never held in memory: each of their words is computed when it is
   asked for. */
#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "image/layout.h"
#include "image/tables.h"

#define CHUNK_CLUSTERS UINT64_C (65536)
#define CHUNK_WORDS (CHUNK_CLUSTERS / 64)

struct chunk {
  uint64_t data[CHUNK_WORDS];
  uint64_t zero[CHUNK_WORDS];
  uint32_t rank[CHUNK_WORDS]; /* data clusters of the chunk before the word */
  uint64_t base;              /* data clusters of the disk before the chunk */
};

struct layout {
  struct tables tables;
  struct tables_place place;
  struct chunk **chunks;
  uint64_t chunk_count;
  uint64_t data_count;
  uint64_t l2_count;
  uint64_t *l1;    /* entries as in the file, host byte order */
  uint32_t *spans; /* the L1 index of each L2 table */
  uint64_t l2_offset;
  uint64_t data_offset;
  uint8_t *header; /* cluster 0 */
  bool sealed;
};

int
layout_new (const struct layout_params *params, struct layout **out,
            struct fault *f)
{
  CLEANUP (layout_free) struct layout *l = xcalloc (1, sizeof *l);

  if (tables_init (&l->tables, params, f) < 0)
    return -1;
  l->chunk_count = l->tables.clusters / CHUNK_CLUSTERS + 1;
  l->chunks = try_calloc (l->chunk_count, sizeof l->chunks[0], "a layout", f);
  if (l->chunks == NULL)
    return -1;
  *out = steal_ptr (&l);
  return 0;
}

void
layout_free (struct layout *l)
{
  if (l == NULL)
    return;
  for (uint64_t i = 0; l->chunks != NULL && i < l->chunk_count; i++)
    free (l->chunks[i]);
  free (l->chunks);
  free (l->l1);
  free (l->spans);
  free (l->header);
  tables_reset (&l->tables);
  free (l);
}

/* Set or clear COUNT bits from BIT on. */
static void
set_bits (uint64_t *words, uint64_t bit, uint64_t count, bool value)
{
  while (count > 0) {
    uint64_t shift = bit % 64;
    uint64_t n = 64 - shift < count ? 64 - shift : count;
    uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C (1) << n) - 1) << shift;

    if (value)
      words[bit / 64] |= mask;
    else
      words[bit / 64] &= ~mask;
    bit += n;
    count -= n;
  }
}

static int
set_range (struct layout *l, uint64_t cluster, uint64_t count, bool data,
           bool zero, struct fault *f)
{
  if (l->sealed || cluster > l->tables.clusters
      || count > l->tables.clusters - cluster)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "layout of %" PRIu64 " clusters: cannot set %" PRIu64
                      " from %" PRIu64,
                      l->tables.clusters, count, cluster);
  while (count > 0) {
    uint64_t in_chunk = cluster % CHUNK_CLUSTERS;
    uint64_t n = CHUNK_CLUSTERS - in_chunk;
    struct chunk **c = &l->chunks[cluster / CHUNK_CLUSTERS];

    if (n > count)
      n = count;
    if (*c == NULL && (data || zero)) {
      *c = try_calloc (1, sizeof **c, "a layout", f);
      if (*c == NULL)
        return -1;
    }
    if (*c != NULL) {
      set_bits ((*c)->data, in_chunk, n, data);
      set_bits ((*c)->zero, in_chunk, n, zero);
    }
    cluster += n;
    count -= n;
  }
  return 0;
}

int
layout_set_data (struct layout *l, uint64_t cluster, uint64_t count,
                 struct fault *f)
{
  return set_range (l, cluster, count, true, false, f);
}

int
layout_set_zero (struct layout *l, uint64_t cluster, uint64_t count,
                 struct fault *f)
{
  bool data = tables_zero_is_data (&l->tables);
  bool zero = !data && l->tables.backing != NULL;

  return set_range (l, cluster, count, data, zero, f);
}

/* Count the data, and find the L1 entries that need an L2 table: entries of an
   L2 table are a multiple of 64, so that a word never belongs to two. */
static void
count_clusters (struct layout *l)
{
  for (uint64_t i = 0; i < l->chunk_count; i++) {
    struct chunk *c = l->chunks[i];
    uint32_t in_chunk = 0;

    if (c == NULL)
      continue;
    c->base = l->data_count;
    for (uint64_t w = 0; w < CHUNK_WORDS; w++) {
      uint64_t span = (i * CHUNK_CLUSTERS + w * 64) / l->tables.entries;

      c->rank[w] = in_chunk;
      in_chunk += (uint32_t)__builtin_popcountll (c->data[w]);
      if ((c->data[w] | c->zero[w]) != 0 && l->l1[span] == 0) {
        l->l1[span] = 1; /* its offset comes later */
        l->l2_count++;
      }
    }
    l->data_count += in_chunk;
  }
}

static int
place_tables (struct layout *l, struct fault *f)
{
  uint64_t size = l->tables.cluster_size;
  struct tables_place *p = &l->place;
  uint64_t n = 0;

  if (tables_refcounts (&l->tables,
                        1 + l->tables.l1_clusters + l->l2_count + l->data_count,
                        p, f)
      < 0)
    return -1;
  p->reftable = size;
  p->refblocks = p->reftable + p->reftable_clusters * size;
  p->l1 = p->refblocks + p->refblock_count * size;
  l->l2_offset = p->l1 + l->tables.l1_clusters * size;
  l->data_offset = l->l2_offset + l->l2_count * size;
  l->spans = try_calloc (l->l2_count, sizeof l->spans[0], "a layout", f);
  if (l->spans == NULL)
    return -1;
  for (uint64_t i = 0; i < l->tables.l1_entries; i++) {
    if (l->l1[i] == 0)
      continue;
    l->l1[i] = (l->l2_offset + n * size) | TABLES_ENTRY_COPIED;
    l->spans[n++] = (uint32_t)i;
  }
  return 0;
}

int
layout_seal (struct layout *l, struct fault *f)
{
  if (l->sealed)
    return fault_set (f, FAULT_INTERNAL, 0, "layout is sealed twice");
  l->l1 = try_calloc (l->tables.l1_entries, sizeof l->l1[0], "a layout", f);
  l->header = try_calloc (1, l->tables.cluster_size, "a layout", f);
  if (l->l1 == NULL || l->header == NULL)
    return -1;
  count_clusters (l);
  if (place_tables (l, f) < 0)
    return -1;
  tables_header (&l->tables, &l->place, l->header);
  l->sealed = true;
  return 0;
}

int
layout_set_size (struct layout *l, uint64_t virtual_size, struct fault *f)
{
  struct tables *t = &l->tables;
  uint64_t clusters = (virtual_size + t->cluster_size - 1) >> t->cluster_bits;

  if (!l->sealed || virtual_size % 512 != 0 || clusters != t->clusters)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "layout of %" PRIu64 " clusters: not of %" PRIu64
                      " bytes",
                      t->clusters, virtual_size);
  t->virtual_size = virtual_size;
  tables_header (t, &l->place, l->header);
  return 0;
}

uint64_t
layout_file_size (const struct layout *l)
{
  return l->place.total * l->tables.cluster_size;
}

uint64_t
layout_data_offset (const struct layout *l)
{
  return l->data_offset;
}

uint64_t
layout_data_count (const struct layout *l)
{
  return l->data_count;
}

uint64_t
layout_cluster_size (const struct layout *l)
{
  return l->tables.cluster_size;
}

static const struct chunk *
chunk_of (const struct layout *l, uint64_t cluster)
{
  return cluster < l->tables.clusters ? l->chunks[cluster / CHUNK_CLUSTERS]
                                      : NULL;
}

bool
layout_is_data (const struct layout *l, uint64_t cluster)
{
  const struct chunk *c = chunk_of (l, cluster);
  uint64_t bit = cluster % CHUNK_CLUSTERS;

  return c != NULL && (c->data[bit / 64] >> bit % 64 & 1) != 0;
}

uint64_t
layout_cluster_offset (const struct layout *l, uint64_t cluster)
{
  const struct chunk *c = chunk_of (l, cluster);
  uint64_t bit = cluster % CHUNK_CLUSTERS;
  uint64_t below;
  uint64_t rank;

  if (!layout_is_data (l, cluster))
    return 0;
  below = c->data[bit / 64] & ((UINT64_C (1) << bit % 64) - 1);
  rank = c->base + c->rank[bit / 64] + (uint64_t)__builtin_popcountll (below);
  return l->data_offset + rank * l->tables.cluster_size;
}

/* The chunk that holds data cluster number RANK. */
static uint64_t
chunk_by_rank (const struct layout *l, uint64_t rank)
{
  uint64_t found = 0;
  uint64_t low = 0;
  uint64_t high = l->chunk_count;

  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    uint64_t i = middle;

    while (i > low && l->chunks[i] == NULL)
      i--;
    if (l->chunks[i] == NULL) {
      low = middle + 1;
    }
    else if (l->chunks[i]->base <= rank) {
      found = i;
      low = middle + 1;
    }
    else {
      high = i;
    }
  }
  return found;
}

uint64_t
layout_guest_of (const struct layout *l, uint64_t host_cluster)
{
  uint64_t first = l->data_offset >> l->tables.cluster_bits;
  const struct chunk *c;
  uint64_t word = 0;
  uint64_t chunk;
  uint64_t rank;
  uint64_t bits;

  if (host_cluster < first || host_cluster - first >= l->data_count)
    return UINT64_MAX;
  rank = host_cluster - first;
  chunk = chunk_by_rank (l, rank);
  c = l->chunks[chunk];
  rank -= c->base;
  for (uint64_t step = CHUNK_WORDS / 2; step > 0; step /= 2)
    if (c->rank[word + step] <= rank)
      word += step;
  bits = c->data[word];
  for (rank -= c->rank[word]; rank > 0; rank--)
    bits &= bits - 1;
  return chunk * CHUNK_CLUSTERS + word * 64 + (unsigned)__builtin_ctzll (bits);
}

/* The first cluster at or after CLUSTER whose data bit is VALUE. */
static uint64_t
next_bit (const struct layout *l, uint64_t cluster, bool value)
{
  while (cluster < l->tables.clusters) {
    const struct chunk *c = l->chunks[cluster / CHUNK_CLUSTERS];
    uint64_t bit = cluster % CHUNK_CLUSTERS;
    uint64_t word;

    if (c == NULL && !value)
      return cluster;
    if (c == NULL) {
      cluster += CHUNK_CLUSTERS - bit;
      continue;
    }
    word = (value ? c->data[bit / 64] : ~c->data[bit / 64]) >> bit % 64;
    if (word != 0) {
      cluster += (unsigned)__builtin_ctzll (word);
      break;
    }
    cluster += 64 - bit % 64;
  }
  return cluster < l->tables.clusters ? cluster : l->tables.clusters;
}

uint64_t
layout_next_data (const struct layout *l, uint64_t cluster, uint64_t *count)
{
  uint64_t start = next_bit (l, cluster, true);

  *count = next_bit (l, start, false) - start;
  return start;
}

static uint64_t
l2_word (const struct layout *l, uint64_t n)
{
  uint64_t span = l->spans[n / l->tables.entries];
  uint64_t cluster = span * l->tables.entries + n % l->tables.entries;
  const struct chunk *c = chunk_of (l, cluster);
  uint64_t bit = cluster % CHUNK_CLUSTERS;
  uint64_t offset = layout_cluster_offset (l, cluster);

  if (offset != 0)
    return offset | TABLES_ENTRY_COPIED;
  if (c != NULL && (c->zero[bit / 64] >> bit % 64 & 1) != 0)
    return TABLES_ENTRY_ZERO;
  return 0;
}

/* The 8 bytes at OFFSET (a multiple of 8) as a number. */
static uint64_t
meta_word (const struct layout *l, uint64_t offset)
{
  const struct tables_place *p = &l->place;

  if (offset >= l->l2_offset)
    return l2_word (l, (offset - l->l2_offset) / 8);
  if (offset >= p->l1)
    return (offset - p->l1) / 8 < l->tables.l1_entries
               ? l->l1[(offset - p->l1) / 8]
               : 0;
  if (offset >= p->refblocks)
    return tables_refblock_word (p, (offset - p->refblocks) / 8);
  if (offset >= p->reftable)
    return tables_reftable_word (&l->tables, p, (offset - p->reftable) / 8);
  return get_be64 (l->header + offset);
}

void
layout_meta_read (const struct layout *l, uint64_t offset, void *data,
                  size_t size)
{
  uint8_t *out = data;

  while (size > 0) {
    uint8_t word[8];
    size_t skip = offset % 8;
    size_t n = sizeof word - skip < size ? sizeof word - skip : size;

    put_be64 (word, meta_word (l, offset - skip));
    memcpy (out, word + skip, n);
    out += n;
    offset += n;
    size -= n;
  }
}
