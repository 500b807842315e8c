/* SPDX-License-Identifier: Apache-2.0 */
/* Two bits for a cluster in pages that exist only where something was marked,
   and an open-addressed set of blob starts.

   XXX After SEEN_STARTS_MAX blobs new starts are no longer remembered, so that
   memory has a bound; the sum rule of qcow2.c still bounds the work. */
#include <config.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "image/seen.h"

#define SEEN_PAGE_SHIFT 14 /* clusters of a page */
#define SEEN_PAGE_BYTES ((1u << SEEN_PAGE_SHIFT) / 4)
#define SEEN_PLAIN 1u
#define SEEN_PACKED 2u

struct seen {
  uint8_t **pages;
  uint64_t page_count;
  uint64_t clusters;
  uint64_t used;    /* pages that exist */
  uint64_t *starts; /* start + 1, 0 = free */
  uint64_t start_count;
  uint64_t start_slots; /* a power of two, or 0 */
};

struct seen *
seen_new (uint64_t clusters, struct fault *f)
{
  struct seen *s = xcalloc (1, sizeof *s);

  s->clusters = clusters;
  s->page_count = (clusters >> SEEN_PAGE_SHIFT) + 1;
  s->pages = try_calloc (s->page_count, sizeof s->pages[0],
                         "marks of used clusters", f);
  if (s->pages == NULL) {
    free (s);
    return NULL;
  }
  return s;
}

void
seen_free (struct seen *s)
{
  if (s == NULL)
    return;
  for (uint64_t i = 0; i < s->page_count; i++)
    free (s->pages[i]);
  free (s->pages);
  free (s->starts);
  free (s);
}

static uint8_t *
page_of (struct seen *s, uint64_t cluster, struct fault *f)
{
  uint64_t i = cluster >> SEEN_PAGE_SHIFT;

  if (s->pages[i] != NULL)
    return s->pages[i];
  if (s->used == SEEN_PAGES_MAX) {
    fault_set (f, FAULT_CORRUPT, 0,
               "its clusters are spread too far over the container");
    return NULL;
  }
  s->pages[i] = try_calloc (1, SEEN_PAGE_BYTES, "marks of used clusters", f);
  if (s->pages[i] != NULL)
    s->used++;
  return s->pages[i];
}

/* Set MARK and return what was there, or -1. */
static int
mark (struct seen *s, uint64_t cluster, unsigned value, struct fault *f)
{
  uint8_t *page = page_of (s, cluster, f);
  unsigned in_page = cluster & ((1u << SEEN_PAGE_SHIFT) - 1);
  unsigned shift = in_page % 4 * 2;
  unsigned before;

  if (page == NULL)
    return -1;
  before = page[in_page / 4] >> shift & 3u;
  page[in_page / 4] |= (uint8_t)(value << shift);
  return (int)before;
}

int
seen_plain (struct seen *s, uint64_t cluster, uint64_t count, struct fault *f)
{
  for (uint64_t i = 0; i < count; i++) {
    int before = mark (s, cluster + i, SEEN_PLAIN, f);

    if (before != 0)
      return before < 0 ? -1 : 1;
  }
  return 0;
}

static uint64_t
slot_of (const struct seen *s, uint64_t start)
{
  uint64_t slot
      = (start * UINT64_C (0x9e3779b97f4a7c15) >> 20) & (s->start_slots - 1);

  while (s->starts[slot] != 0 && s->starts[slot] != start + 1)
    slot = (slot + 1) & (s->start_slots - 1);
  return slot;
}

static int
grow_starts (struct seen *s, struct fault *f)
{
  uint64_t old_slots = s->start_slots;
  uint64_t *old = s->starts;
  uint64_t slots = old_slots == 0 ? 1024 : old_slots * 2;
  uint64_t *starts = try_calloc (slots, sizeof starts[0],
                                 "starts of compressed clusters", f);

  if (starts == NULL)
    return -1;
  s->starts = starts;
  s->start_slots = slots;
  for (uint64_t i = 0; i < old_slots; i++)
    if (old[i] != 0)
      starts[slot_of (s, old[i] - 1)] = old[i];
  free (old);
  return 0;
}

static int
remember_start (struct seen *s, uint64_t start, struct fault *f)
{
  uint64_t slot;

  if (s->start_count * 2 >= s->start_slots && s->start_count < SEEN_STARTS_MAX
      && grow_starts (s, f) < 0)
    return -1;
  slot = slot_of (s, start);
  if (s->starts[slot] != 0)
    return 2;
  if (s->start_count < SEEN_STARTS_MAX) {
    s->starts[slot] = start + 1;
    s->start_count++;
  }
  return 0;
}

int
seen_packed (struct seen *s, uint64_t start, uint64_t first, uint64_t last,
             struct fault *f)
{
  for (uint64_t i = first; i <= last; i++) {
    int before = mark (s, i, SEEN_PACKED, f);

    if (before < 0)
      return -1;
    if ((unsigned)before == SEEN_PLAIN)
      return 1;
  }
  return remember_start (s, start, f);
}
