/* SPDX-License-Identifier: Apache-2.0 */
/* The map of a chain as text.  Numbers are formatted by hand: a large map has
   millions of lines, and printf would be most of the work. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "cli/image_map.h"
#include "image/chain.h"
#include "image/qcow2.h"
#include "image/refcount.h"
#include "image/source.h"

#define OUT_SIZE ((size_t)64 << 10)
#define LINE_MAX_SIZE 512

/* One line: what `qemu-img map` distinguishes. */
struct entry {
  uint64_t start;
  uint64_t length; /* 0: none */
  uint64_t offset;
  unsigned depth;
  bool present;
  bool zero;
  bool data;
  bool has_offset;
};

struct printer {
  struct chain *chain;
  bool *preallocated; /* for each layer: ask the file what is a hole */
  bool json;
  bool first;
  struct entry last;
  size_t used;
  char out[OUT_SIZE];
};

static int
flush (struct printer *p, struct fault *f)
{
  size_t n = p->used;

  p->used = 0;
  return fdio_write_full (STDOUT_FILENO, p->out, n, "standard output", f);
}

static void
put (struct printer *p, const char *s, size_t n)
{
  memcpy (p->out + p->used, s, n);
  p->used += n;
}

#define PUT(p, literal) put (p, literal, sizeof (literal) - 1)

static void
put_number (struct printer *p, uint64_t v)
{
  char digits[20];
  size_t n = sizeof digits;

  do
    digits[--n] = (char)('0' + v % 10);
  while ((v /= 10) != 0);
  put (p, digits + n, sizeof digits - n);
}

static void
put_bool (struct printer *p, bool v)
{
  if (v)
    PUT (p, "true");
  else
    PUT (p, "false");
}

static void
put_json (struct printer *p, const struct entry *e)
{
  if (p->first)
    PUT (p, "[{ \"start\": ");
  else
    PUT (p, ",\n{ \"start\": ");
  put_number (p, e->start);
  PUT (p, ", \"length\": ");
  put_number (p, e->length);
  PUT (p, ", \"depth\": ");
  put_number (p, e->depth);
  PUT (p, ", \"present\": ");
  put_bool (p, e->present);
  PUT (p, ", \"zero\": ");
  put_bool (p, e->zero);
  PUT (p, ", \"data\": ");
  put_bool (p, e->data);
  if (e->has_offset) {
    PUT (p, ", \"offset\": ");
    put_number (p, e->offset);
  }
  PUT (p, "}");
}

/* Only what is data, as `qemu-img map` does: the rest reads as zeros. */
static void
put_text (struct printer *p, const struct entry *e)
{
  const char *name = chain_source (p->chain, e->depth)->name;
  char line[LINE_MAX_SIZE];
  char offset[32] = "compressed";
  int n;

  if (p->first)
    PUT (p, "Start           Length          Offset          File\n");
  if (!e->data || e->zero)
    return;
  if (e->has_offset)
    snprintf (offset, sizeof offset, "%#" PRIx64, e->offset);
  n = snprintf (line, sizeof line, "%#-15" PRIx64 " %#-15" PRIx64 " %-15s %s\n",
                e->start, e->length, offset, name);
  if (n >= (int)sizeof line) {
    n = sizeof line - 1;
    line[n - 1] = '\n';
  }
  put (p, line, (size_t)n);
}

static int
put_last (struct printer *p, struct fault *f)
{
  if (p->last.length == 0)
    return 0;
  if (p->used > OUT_SIZE - 2 * LINE_MAX_SIZE
      && (cancel_check (f) < 0 || flush (p, f) < 0))
    return -1;
  if (p->json)
    put_json (p, &p->last);
  else
    put_text (p, &p->last);
  p->first = false;
  return 0;
}

static bool
continues (const struct entry *a, const struct entry *b)
{
  return a->length != 0 && a->depth == b->depth && a->present == b->present
         && a->zero == b->zero && a->data == b->data
         && a->has_offset == b->has_offset
         && (!a->has_offset || a->offset + a->length == b->offset);
}

static int
put_entry (struct printer *p, const struct entry *e, struct fault *f)
{
  if (continues (&p->last, e)) {
    p->last.length += e->length;
    return 0;
  }
  if (put_last (p, f) < 0)
    return -1;
  p->last = *e;
  return 0;
}

/* Data of a preallocated image: what is a hole of the file reads as zeros. */
static int
put_data (struct printer *p, struct source *src, const struct entry *whole,
          struct fault *f)
{
  struct entry e = *whole;
  uint64_t end = e.offset + e.length;

  while (e.offset < end) {
    uint64_t data = src->size;
    uint64_t hole = src->size;
    uint64_t stop;

    if (e.offset < src->size && src->next_data != NULL
        && src->next_data (src->opaque, e.offset, &data, &hole, f) < 0)
      return -1;
    if (src->next_data == NULL)
      data = e.offset;
    e.zero = data > e.offset || e.offset >= src->size;
    stop = e.offset >= src->size ? end : e.zero ? data : hole;
    if (stop > end || (e.zero && data >= src->size))
      stop = end;
    e.length = stop - e.offset;
    if (put_entry (p, &e, f) < 0)
      return -1;
    e.start += e.length;
    e.offset = stop;
  }
  return 0;
}

static int
print_extent (const struct extent *x, void *opaque, struct fault *f)
{
  struct printer *p = opaque;
  bool raw = chain_qcow2 (p->chain, x->layer) == NULL;
  bool data = x->kind == EXTENT_DATA || x->kind == EXTENT_PACKED;
  struct entry e = { .start = x->start,
                     .length = x->length,
                     .offset = x->host,
                     .depth = x->layer,
                     .present = x->kind != EXTENT_ABSENT,
                     .zero = !data,
                     .data = data };

  e.has_offset = x->kind == EXTENT_DATA
                 || (x->kind != EXTENT_PACKED && (raw || x->host != 0));
  if (x->kind == EXTENT_DATA && p->preallocated[x->layer])
    return put_data (p, chain_source (p->chain, x->layer), &e, f);
  return put_entry (p, &e, f);
}

/* The rule by which QEMU decides to look for holes below the data clusters of
   an image: it records a tenth more clusters than its file has. */
static int
is_preallocated (struct chain *c, unsigned layer, bool *out, struct fault *f)
{
  struct source *src = chain_source (c, layer);
  const struct qcow2_header *h;
  CLEANUP (refcount_free) struct refcount *r = NULL;
  struct stat st;
  uint64_t per_block;
  uint64_t wanted;
  uint64_t used = 0;

  *out = false;
  if (chain_qcow2 (c, layer) == NULL)
    return 0;
  h = qcow2_header (chain_qcow2 (c, layer));
  if (fstat (source_fd (src), &st) < 0)
    return fault_set (f, FAULT_IO, errno, "stat %s", src->name);
  if (refcount_open (src, h, &r, f) < 0)
    return -1;
  wanted = (uint64_t)st.st_blocks * 512 >> h->cluster_bits;
  wanted = wanted * 10 / 9 > wanted + 2 ? wanted * 10 / 9 : wanted + 2;
  per_block = refcount_per_block (r);
  for (uint64_t i = 0; i <= (src->size - 1) >> h->cluster_bits; i++) {
    uint64_t value;

    if (i % per_block == 0 && refcount_block (r, i / per_block) == 0) {
      i += per_block - 1;
      continue;
    }
    if (refcount_get (r, i, &value, NULL) < 0)
      return 0; /* QEMU gives up likewise */
    used += value != 0;
    if (used >= wanted)
      break;
  }
  *out = used >= wanted;
  return 0;
}

int
image_map (struct chain *c, bool json, struct fault *f)
{
  CLEANUP_FREE struct printer *p = xcalloc (1, sizeof *p);
  CLEANUP_FREE bool *preallocated
      = xcalloc (chain_count (c), sizeof preallocated[0]);
  uint64_t size = chain_size (c);
  uint64_t step = chain_span (c);
  unsigned stop = chain_complete (c) ? CHAIN_WHOLE : chain_count (c);

  p->chain = c;
  p->preallocated = preallocated;
  p->json = json;
  p->first = true;
  chain_keep_reserved (c);
  for (unsigned i = 0; i < chain_count (c); i++)
    if (is_preallocated (c, i, &preallocated[i], f) < 0)
      return -1;
  for (uint64_t at = 0; at < size; at += step) {
    uint64_t n = step < size - at ? step : size - at;

    if (chain_map (c, at, n, stop, print_extent, p, f) < 0)
      return -1;
  }
  if (put_last (p, f) < 0)
    return -1;
  if (json && p->first) /* a disk of 0 bytes: one empty entry, as QEMU */
    put_json (p, &p->last);
  if (json)
    PUT (p, "]\n");
  return flush (p, f);
}
