/* SPDX-License-Identifier: Apache-2.0 */
/* The host cluster of each guest cluster, in pages that exist only where
   something was placed; the tables are made from them at the end. */
#include <config.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "image/layout.h"
#include "image/placer.h"
#include "image/tables.h"

#define PAGE_CLUSTERS UINT64_C (8192)
#define PLACED_ZERO UINT32_MAX
#define CLUSTER_MAX (UINT32_MAX - 1) /* of the file */
#define OUT_SIZE (UINT64_C (64) << 10)

struct placer {
  struct tables tables;
  struct tables_place place;
  uint32_t **pages; /* 0 absent, PLACED_ZERO, else the cluster of the file */
  uint64_t page_count;
  uint64_t next; /* cluster of the file; 0 is the header */
  uint64_t *l1;
  uint64_t l2_count;
  bool written;
};

/* Words that are written in pieces of OUT_SIZE. */
struct word_out {
  placer_write_fn fn;
  void *opaque;
  uint64_t offset;
  size_t used;
  uint8_t data[OUT_SIZE];
};

int
placer_new (const struct layout_params *params, struct placer **out,
            struct fault *f)
{
  CLEANUP (placer_free) struct placer *p = xcalloc (1, sizeof *p);

  if (tables_init (&p->tables, params, f) < 0)
    return -1;
  p->next = 1;
  p->page_count = p->tables.clusters / PAGE_CLUSTERS + 1;
  p->pages = try_calloc (p->page_count, sizeof p->pages[0],
                         "the places of clusters", f);
  if (p->pages == NULL)
    return -1;
  *out = steal_ptr (&p);
  return 0;
}

void
placer_free (struct placer *p)
{
  if (p == NULL)
    return;
  for (uint64_t i = 0; p->pages != NULL && i < p->page_count; i++)
    free (p->pages[i]);
  free (p->pages);
  free (p->l1);
  tables_reset (&p->tables);
  free (p);
}

static uint32_t
entry_of (const struct placer *p, uint64_t cluster)
{
  const uint32_t *page;

  if (cluster >= p->tables.clusters)
    return 0;
  page = p->pages[cluster / PAGE_CLUSTERS];
  return page != NULL ? page[cluster % PAGE_CLUSTERS] : 0;
}

static int
check_range (const struct placer *p, uint64_t cluster, uint64_t count,
             struct fault *f)
{
  if (p->written)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "a cluster is placed after the tables");
  if (cluster > p->tables.clusters || count > p->tables.clusters - cluster)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "%" PRIu64 " clusters from %" PRIu64
                      " are outside of a disk of %" PRIu64,
                      count, cluster, p->tables.clusters);
  return 0;
}

/* Set COUNT entries: FIRST, FIRST + 1, ... or all PLACED_ZERO. */
static int
set_entries (struct placer *p, uint64_t cluster, uint64_t count, uint64_t first,
             struct fault *f)
{
  for (uint64_t i = 0; i < count; i++) {
    uint64_t at = cluster + i;
    uint32_t **page = &p->pages[at / PAGE_CLUSTERS];

    if (*page == NULL) {
      *page = try_calloc (PAGE_CLUSTERS, sizeof **page,
                          "the places of clusters", f);
      if (*page == NULL)
        return -1;
    }
    (*page)[at % PAGE_CLUSTERS]
        = first == PLACED_ZERO ? PLACED_ZERO : (uint32_t)(first + i);
  }
  return 0;
}

static int
check_free (const struct placer *p, uint64_t cluster, uint64_t count,
            struct fault *f)
{
  for (uint64_t i = 0; i < count; i++)
    if (entry_of (p, cluster + i) != 0)
      return fault_set (f, FAULT_INTERNAL, 0,
                        "guest cluster %" PRIu64 " is placed twice",
                        cluster + i);
  return 0;
}

int
placer_take (struct placer *p, uint64_t cluster, uint64_t count,
             uint64_t *offset, struct fault *f)
{
  uint64_t first = p->next;

  if (check_range (p, cluster, count, f) < 0
      || check_free (p, cluster, count, f) < 0)
    return -1;
  if (count > CLUSTER_MAX - p->next)
    return fault_set (f, FAULT_SPACE, 0,
                      "qcow2 file has too many clusters of %" PRIu64
                      " bytes; use larger clusters",
                      p->tables.cluster_size);
  if (set_entries (p, cluster, count, first, f) < 0)
    return -1;
  p->next += count;
  *offset = first * p->tables.cluster_size;
  return 0;
}

int
placer_set_zero (struct placer *p, uint64_t cluster, uint64_t count,
                 struct fault *f)
{
  if (check_range (p, cluster, count, f) < 0)
    return -1;
  if (tables_zero_is_data (&p->tables))
    return 1;
  if (p->tables.backing == NULL)
    return 0;
  if (check_free (p, cluster, count, f) < 0)
    return -1;
  return set_entries (p, cluster, count, PLACED_ZERO, f);
}

uint64_t
placer_cluster_offset (const struct placer *p, uint64_t cluster)
{
  uint32_t entry = entry_of (p, cluster);

  return entry == PLACED_ZERO ? 0 : entry * p->tables.cluster_size;
}

uint64_t
placer_data_count (const struct placer *p)
{
  return p->next - 1;
}

uint64_t
placer_data_end (const struct placer *p)
{
  return p->next * p->tables.cluster_size;
}

static int
flush_words (struct word_out *w, struct fault *f)
{
  size_t n = w->used;

  if (n == 0)
    return 0;
  w->used = 0;
  w->offset += n;
  return w->fn (w->opaque, w->offset - n, w->data, n, f);
}

static int
put_word (struct word_out *w, uint64_t word, struct fault *f)
{
  put_be64 (w->data + w->used, word);
  w->used += 8;
  return w->used == sizeof w->data ? flush_words (w, f) : 0;
}

static bool
span_used (const struct placer *p, uint64_t span)
{
  uint64_t first = span * p->tables.entries;

  for (uint64_t i = 0; i < p->tables.entries; i++) {
    uint64_t at = first + i;

    if (at >= p->tables.clusters)
      break;
    if (p->pages[at / PAGE_CLUSTERS] == NULL)
      i += PAGE_CLUSTERS - at % PAGE_CLUSTERS - 1;
    else if (entry_of (p, at) != 0)
      return true;
  }
  return false;
}

/* Give each used span its L2 table, and all tables their place. */
static int
place_tables (struct placer *p, struct fault *f)
{
  uint64_t size = p->tables.cluster_size;
  struct tables_place *place = &p->place;

  p->l1 = try_calloc (p->tables.l1_entries, sizeof p->l1[0], "an L1 table", f);
  if (p->l1 == NULL)
    return -1;
  for (uint64_t i = 0; i < p->tables.l1_entries; i++) {
    if (!span_used (p, i))
      continue;
    p->l1[i] = ((p->next + p->l2_count) * size) | TABLES_ENTRY_COPIED;
    p->l2_count++;
  }
  if (tables_refcounts (&p->tables,
                        p->next + p->l2_count + p->tables.l1_clusters, place, f)
      < 0)
    return -1;
  place->l1 = (p->next + p->l2_count) * size;
  place->refblocks = place->l1 + p->tables.l1_clusters * size;
  place->reftable = place->refblocks + place->refblock_count * size;
  return 0;
}

static int
write_l2 (const struct placer *p, struct word_out *w, uint64_t span,
          struct fault *f)
{
  for (uint64_t i = 0; i < p->tables.entries; i++) {
    uint32_t entry = entry_of (p, span * p->tables.entries + i);
    uint64_t word = 0;

    if (entry == PLACED_ZERO)
      word = TABLES_ENTRY_ZERO;
    else if (entry != 0)
      word = (entry * p->tables.cluster_size) | TABLES_ENTRY_COPIED;
    if (put_word (w, word, f) < 0)
      return -1;
  }
  return 0;
}

static int
write_tables (const struct placer *p, struct word_out *w, struct fault *f)
{
  const struct tables *t = &p->tables;

  for (uint64_t i = 0; i < t->l1_entries; i++)
    if (p->l1[i] != 0 && write_l2 (p, w, i, f) < 0)
      return -1;
  for (uint64_t i = 0; i < t->l1_clusters * t->entries; i++)
    if (put_word (w, i < t->l1_entries ? p->l1[i] : 0, f) < 0)
      return -1;
  for (uint64_t i = 0; i < p->place.refblock_count * t->entries; i++)
    if (put_word (w, tables_refblock_word (&p->place, i), f) < 0)
      return -1;
  for (uint64_t i = 0; i < p->place.reftable_clusters * t->entries; i++)
    if (put_word (w, tables_reftable_word (t, &p->place, i), f) < 0)
      return -1;
  return flush_words (w, f);
}

int
placer_write_tables (struct placer *p, placer_write_fn fn, void *opaque,
                     uint64_t *file_size, struct fault *f)
{
  CLEANUP_FREE struct word_out *w = xmalloc (sizeof *w);

  if (p->written)
    return fault_set (f, FAULT_INTERNAL, 0, "tables are written twice");
  if (place_tables (p, f) < 0)
    return -1;
  p->written = true;
  w->fn = fn;
  w->opaque = opaque;
  w->offset = p->next * p->tables.cluster_size;
  w->used = 0;
  if (write_tables (p, w, f) < 0)
    return -1;
  if (file_size != NULL)
    *file_size = p->place.total * p->tables.cluster_size;
  return 0;
}

int
placer_write_header (struct placer *p, placer_write_fn fn, void *opaque,
                     struct fault *f)
{
  CLEANUP_FREE uint8_t *data = xmalloc (p->tables.cluster_size);

  if (!p->written)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "the header is written before the tables");
  tables_header (&p->tables, &p->place, data);
  return fn (opaque, 0, data, p->tables.cluster_size, f);
}
