/* SPDX-License-Identifier: Apache-2.0 */
/* Counting of references.  Snapshots share L2 tables with the active tree and
   with each other, so a table is counted for each L1 entry that names it, but
   walked once, its clusters counted as often as itself; what a hostile image
   can make us do stays bounded by its container. */
#include <config.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "image/check.h"
#include "image/extent.h"
#include "image/qcow2.h"
#include "image/refcount.h"
#include "image/seen.h"
#include "image/source.h"

#define OFFSET_MASK UINT64_C (0x00fffffffffffe00)
#define COPIED (UINT64_C (1) << 63)
#define COMPRESSED (UINT64_C (1) << 62)
#define AUTOCLEAR_BITMAPS UINT64_C (1)
#define SECTOR 512
#define PAGE_SHIFT 12 /* clusters of a page of counts */
#define PAGE_CLUSTERS (1u << PAGE_SHIFT)
#define WINDOW_SIZE (UINT64_C (64) << 10)
#define SNAPSHOT_HEADER 40
#define SNAPSHOT_EXTRA_MAX 1024
#define BITMAP_HEADER 24
#define BITMAPS_MAX 65535
#define PROBLEM_SIZE 200

struct check {
  struct source *src;
  struct qcow2 *q;
  const struct qcow2_header *h;
  uint64_t cluster_size;
  uint64_t clusters; /* of the container, the last may be cut */
  struct refcount *recorded;
  struct seen *walked; /* L2 tables */
  uint32_t **pages;    /* references to each cluster */
  uint64_t page_count;
  uint8_t *window;
  uint64_t window_offset;
  uint64_t l1_bytes; /* of all trees */
  check_fn problem;
  void *opaque;
  struct check_report *report;
};

/* An L1 table. */
struct tree {
  uint64_t offset;
  uint64_t entries;
  bool active;
};

static void __attribute__ ((format (printf, 2, 3)))
tell (struct check *c, const char *format, ...)
{
  char text[PROBLEM_SIZE];
  va_list ap;

  if (c->problem == NULL)
    return;
  va_start (ap, format);
  vsnprintf (text, sizeof text, format, ap);
  va_end (ap);
  c->problem (text, c->opaque);
}

static int
read_bytes (struct check *c, uint64_t offset, void *out, uint64_t size,
            struct fault *f)
{
  uint8_t *to = out;

  if (offset > c->src->size || size > c->src->size - offset)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: a table at 0x%" PRIx64 " ends beyond the container",
                      c->src->name, offset);
  while (size > 0) {
    uint64_t in_window = offset % WINDOW_SIZE;
    uint64_t n = WINDOW_SIZE - in_window;
    uint64_t base = offset - in_window;

    if (n > size)
      n = size;
    if (c->window_offset != base) {
      uint64_t room = c->src->size - base;

      room = room < WINDOW_SIZE
                 ? (room + SOURCE_ALIGN - 1) & ~(uint64_t)(SOURCE_ALIGN - 1)
                 : WINDOW_SIZE;
      c->window_offset = UINT64_MAX;
      if (c->src->read_at (c->src->opaque, base, c->window, room, f) < 0)
        return -1;
      c->window_offset = base;
    }
    memcpy (to, c->window + in_window, n);
    to += n;
    offset += n;
    size -= n;
  }
  return 0;
}

static int
read_entry (struct check *c, uint64_t offset, uint64_t *out, struct fault *f)
{
  uint8_t raw[8];

  if (read_bytes (c, offset, raw, sizeof raw, f) < 0)
    return -1;
  *out = get_be64 (raw);
  return 0;
}

/* TIMES more references to the clusters of SIZE bytes at OFFSET. */
static int
count (struct check *c, uint64_t offset, uint64_t size, uint32_t times,
       const char *what, struct fault *f)
{
  uint64_t first = offset >> c->h->cluster_bits;
  uint64_t last;

  if (size == 0)
    return 0;
  if (offset >= c->src->size
      || (offset + size - 1) >> c->h->cluster_bits >= c->clusters)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: %s at 0x%" PRIx64 " lies beyond the container",
                      c->src->name, what, offset);
  last = (offset + size - 1) >> c->h->cluster_bits;
  for (uint64_t i = first; i <= last; i++) {
    uint32_t **page = &c->pages[i >> PAGE_SHIFT];
    uint32_t *n;

    if (*page == NULL) {
      *page
          = try_calloc (PAGE_CLUSTERS, sizeof **page, "counts of clusters", f);
      if (*page == NULL)
        return -1;
    }
    n = &(*page)[i % PAGE_CLUSTERS];
    *n = *n > UINT32_MAX - times ? UINT32_MAX : *n + times;
  }
  return 0;
}

static uint32_t
counted (const struct check *c, uint64_t cluster)
{
  const uint32_t *page = c->pages[cluster >> PAGE_SHIFT];

  return page != NULL ? page[cluster % PAGE_CLUSTERS] : 0;
}

static int
count_fixed (struct check *c, struct fault *f)
{
  const struct qcow2_header *h = c->h;

  if (count (c, 0, c->cluster_size, 1, "header", f) < 0
      || count (c, h->reftable_offset,
                (uint64_t)h->reftable_clusters << h->cluster_bits, 1,
                "refcount table", f)
             < 0)
    return -1;
  for (uint64_t i = 0; i < refcount_table_entries (c->recorded); i++) {
    uint64_t offset = refcount_block (c->recorded, i);

    if (offset != 0
        && count (c, offset, c->cluster_size, 1, "refcount block", f) < 0)
      return -1;
  }
  return 0;
}

/* The L2 tables that a tree names; their clusters come when all trees are
   known. */
static int
count_l1 (struct check *c, const struct tree *t, struct fault *f)
{
  c->l1_bytes += t->entries * 8;
  if (c->l1_bytes > c->src->size)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: the L1 tables of its snapshots are larger than the "
                      "container",
                      c->src->name);
  if (t->offset % c->cluster_size != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: L1 table at 0x%" PRIx64 " is not cluster aligned",
                      c->src->name, t->offset);
  if (count (c, t->offset, t->entries * 8, 1, "L1 table", f) < 0)
    return -1;
  for (uint64_t i = 0; i < t->entries; i++) {
    uint64_t entry;

    if (read_entry (c, t->offset + 8 * i, &entry, f) < 0)
      return -1;
    entry &= OFFSET_MASK;
    if (entry % c->cluster_size != 0)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "%s: L2 table at 0x%" PRIx64 " is not cluster aligned",
                        c->src->name, entry);
    if (entry != 0 && count (c, entry, c->cluster_size, 1, "L2 table", f) < 0)
      return -1;
  }
  return 0;
}

static int
count_l2_entry (struct check *c, uint64_t entry, uint32_t times,
                struct fault *f)
{
  unsigned x = 62 - (c->h->cluster_bits - 8);
  uint64_t offset = entry & OFFSET_MASK;
  uint64_t sectors;

  if ((entry & COMPRESSED) != 0) {
    offset = entry & ((UINT64_C (1) << x) - 1);
    sectors
        = ((entry >> x) & ((UINT64_C (1) << (c->h->cluster_bits - 8)) - 1)) + 1;
    sectors = sectors * SECTOR - offset % SECTOR;
    if (offset < c->src->size && sectors > c->src->size - offset)
      sectors = c->src->size - offset;
    return count (c, offset, sectors, times, "compressed cluster", f);
  }
  if (offset == 0)
    return 0;
  return count (c, offset, c->cluster_size, times, "cluster", f);
}

/* The COPIED flag of an entry of the active tree says that the refcount of
   what it names is 1. */
static int
check_flag (struct check *c, uint64_t entry, const char *what, struct fault *f)
{
  uint64_t offset = entry & OFFSET_MASK;
  uint64_t value = 0;
  bool copied = (entry & COPIED) != 0;

  if (c->report->dirty)
    return 0;
  if ((entry & COMPRESSED) == 0) {
    if (offset == 0 || offset >> c->h->cluster_bits >= c->clusters)
      return 0;
    if (refcount_get (c->recorded, offset >> c->h->cluster_bits, &value, f) < 0)
      return -1;
  }
  if (copied == (value == 1))
    return 0;
  c->report->flags++;
  tell (c,
        "%s entry 0x%016" PRIx64 ": the COPIED flag does not fit the refcount "
        "%" PRIu64,
        what, entry, value);
  return 0;
}

/* Count what the L2 tables of a tree name; check the flags of the active one,
   which comes first and whose tables are therefore all walked for it. */
static int
count_l2 (struct check *c, const struct tree *t, struct fault *f)
{
  uint64_t step = c->h->extended_l2 ? 16 : 8;

  for (uint64_t i = 0; i < t->entries; i++) {
    uint64_t table;
    uint32_t times;

    if (read_entry (c, t->offset + 8 * i, &table, f) < 0
        || (t->active && check_flag (c, table & ~COMPRESSED, "L1", f) < 0))
      return -1;
    table &= OFFSET_MASK;
    if (table == 0)
      continue;
    times = counted (c, table >> c->h->cluster_bits);
    switch (seen_plain (c->walked, table >> c->h->cluster_bits, 1, f)) {
    case 0:
      break;
    case 1:
      continue;
    default:
      return -1;
    }
    for (uint64_t at = table; at < table + c->cluster_size; at += step) {
      uint64_t entry;

      if (read_entry (c, at, &entry, f) < 0
          || (t->active && check_flag (c, entry, "L2", f) < 0)
          || count_l2_entry (c, entry, times, f) < 0)
        return -1;
    }
  }
  return 0;
}

/* Parse the snapshot table: *TREES has room for all of them and the active
   one. */
static int
read_snapshots (struct check *c, struct tree *trees, struct fault *f)
{
  uint64_t at = c->h->snapshots_offset;
  uint8_t raw[SNAPSHOT_HEADER];

  for (uint32_t i = 0; i < c->h->snapshot_count; i++) {
    uint64_t extra;

    at = (at + 7) & ~UINT64_C (7);
    if (read_bytes (c, at, raw, sizeof raw, f) < 0)
      return -1;
    trees[i].offset = get_be64 (raw);
    trees[i].entries = get_be32 (raw + 8);
    extra = get_be32 (raw + 36);
    if (trees[i].entries > QCOW2_L1_SIZE_MAX / 8 || extra > SNAPSHOT_EXTRA_MAX)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "%s: entry %" PRIu32 " of the snapshot table is too "
                        "large",
                        c->src->name, i);
    at += sizeof raw + extra + get_be16 (raw + 12) + get_be16 (raw + 14);
  }
  if (c->h->snapshot_count == 0)
    return 0;
  return count (c, c->h->snapshots_offset, at - c->h->snapshots_offset, 1,
                "snapshot table", f);
}

static int
count_trees (struct check *c, struct fault *f)
{
  uint64_t n = (uint64_t)c->h->snapshot_count + 1;
  CLEANUP_FREE struct tree *trees
      = try_calloc (n, sizeof trees[0], "internal snapshots", f);

  if (trees == NULL)
    return -1;
  trees[0].offset = c->h->l1_offset;
  trees[0].entries = c->h->l1_entries;
  trees[0].active = true;
  if (read_snapshots (c, trees + 1, f) < 0)
    return -1;
  for (uint64_t i = 0; i < n; i++)
    if (count_l1 (c, &trees[i], f) < 0)
      return -1;
  for (uint64_t i = 0; i < n; i++)
    if (count_l2 (c, &trees[i], f) < 0)
      return -1;
  return 0;
}

static int
count_bitmap (struct check *c, uint64_t offset, uint64_t entries,
              struct fault *f)
{
  if (entries > c->src->size / 8)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: a bitmap table of %" PRIu64
                      " entries is larger than the container",
                      c->src->name, entries);
  if (count (c, offset, entries * 8, 1, "bitmap table", f) < 0)
    return -1;
  for (uint64_t i = 0; i < entries; i++) {
    uint64_t entry;

    if (read_entry (c, offset + 8 * i, &entry, f) < 0)
      return -1;
    entry &= OFFSET_MASK;
    if (entry != 0 && count (c, entry, c->cluster_size, 1, "bitmap", f) < 0)
      return -1;
  }
  return 0;
}

static int
count_bitmaps (struct check *c, struct fault *f)
{
  const struct qcow2_header *h = c->h;
  uint64_t at = h->bitmaps_offset;
  uint64_t tables = 0;
  uint8_t raw[BITMAP_HEADER];

  /* Without the bit the bitmaps are stale, and QEMU will drop them. */
  if (h->bitmap_count == 0 || (h->autoclear & AUTOCLEAR_BITMAPS) == 0)
    return 0;
  if (h->bitmap_count > BITMAPS_MAX || h->bitmaps_size > c->src->size)
    return fault_set (f, FAULT_CORRUPT, 0, "%s: has too many bitmaps",
                      c->src->name);
  if (count (c, at, h->bitmaps_size, 1, "bitmap directory", f) < 0)
    return -1;
  for (uint32_t i = 0; i < h->bitmap_count; i++) {
    if (read_bytes (c, at, raw, sizeof raw, f) < 0)
      return -1;
    tables += get_be32 (raw + 8);
    if (tables > c->src->size / 8)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "%s: the tables of its bitmaps are larger than the "
                        "container",
                        c->src->name);
    if (count_bitmap (c, get_be64 (raw), get_be32 (raw + 8), f) < 0)
      return -1;
    at += sizeof raw + get_be16 (raw + 18) + get_be32 (raw + 20);
    at = (at + 7) & ~UINT64_C (7);
  }
  return 0;
}

/* Clusters FIRST up to END. */
static int
compare_range (struct check *c, uint64_t first, uint64_t end, struct fault *f)
{
  for (uint64_t i = first; i < end; i++) {
    uint32_t wanted = counted (c, i);
    uint64_t value;

    if (refcount_get (c->recorded, i, &value, f) < 0)
      return -1;
    if (value == wanted)
      continue;
    if (value > wanted)
      c->report->leaked++;
    else
      c->report->wrong++;
    tell (c,
          "cluster %" PRIu64 ": the refcount is %" PRIu64 ", references are "
          "%" PRIu32 "%s",
          i, value, wanted, value > wanted ? " (leaked)" : "");
  }
  return 0;
}

/* Ranges without a refcount block and without a count are equal. */
static int
compare_refcounts (struct check *c, struct fault *f)
{
  uint64_t per_block = refcount_per_block (c->recorded);

  for (uint64_t at = 0; at < c->clusters;) {
    uint64_t end = (at / per_block + 1) * per_block;
    uint64_t page_end = (at / PAGE_CLUSTERS + 1) * PAGE_CLUSTERS;
    bool empty = refcount_block (c->recorded, at / per_block) == 0
                 && c->pages[at >> PAGE_SHIFT] == NULL;

    if (end > page_end)
      end = page_end;
    if (end > c->clusters)
      end = c->clusters;
    if (!empty && compare_range (c, at, end, f) < 0)
      return -1;
    at = end;
  }
  return 0;
}

static int
sum_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct check_report *r = opaque;

  (void)f;
  if (e->kind == EXTENT_DATA || e->kind == EXTENT_PACKED)
    r->data_bytes += e->length;
  if (e->kind == EXTENT_PACKED)
    r->packed_bytes += e->length;
  if (e->kind == EXTENT_ZERO)
    r->zero_bytes += e->length;
  return 0;
}

static int
run (struct check *c, struct fault *f)
{
  static const struct qcow2_expect any = { .backing = QCOW2_BACKING_ANY };

  if (qcow2_open (c->src, &any, &c->q, f) < 0)
    return -1;
  c->h = qcow2_header (c->q);
  c->report->dirty = (c->h->incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0;
  if (qcow2_map (c->q, 0, c->h->virtual_size, sum_extent, c->report, f) < 0)
    return -1;
  c->cluster_size = UINT64_C (1) << c->h->cluster_bits;
  c->clusters = ((c->src->size - 1) >> c->h->cluster_bits) + 1;
  c->page_count = (c->clusters >> PAGE_SHIFT) + 1;
  c->pages
      = try_calloc (c->page_count, sizeof c->pages[0], "counts of clusters", f);
  c->window = try_aligned (SOURCE_ALIGN, WINDOW_SIZE, "a table", f);
  c->window_offset = UINT64_MAX;
  c->walked = seen_new (c->clusters, f);
  if (c->pages == NULL || c->window == NULL || c->walked == NULL
      || refcount_open (c->src, c->h, &c->recorded, f) < 0
      || count_fixed (c, f) < 0 || count_trees (c, f) < 0
      || count_bitmaps (c, f) < 0)
    return -1;
  return c->report->dirty ? 0 : compare_refcounts (c, f);
}

int
check_image (struct source *src, check_fn problem, void *opaque,
             struct qcow2_header *header, struct check_report *report,
             struct fault *f)
{
  struct check c
      = { .src = src, .problem = problem, .opaque = opaque, .report = report };
  int rc;

  memset (report, 0, sizeof *report);
  rc = run (&c, f);
  if (rc == 0)
    *header = *c.h;
  for (uint64_t i = 0; c.pages != NULL && i < c.page_count; i++)
    free (c.pages[i]);
  free (c.pages);
  free (c.window);
  seen_free (c.walked);
  refcount_free (c.recorded);
  qcow2_close (c.q);
  return rc;
}
