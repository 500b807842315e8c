/* SPDX-License-Identifier: Apache-2.0 */
/* The map of a chain as text.  Numbers are formatted by hand: a large map has
   millions of lines, and printf would be most of the work. */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "cli/image_map.h"
#include "image/chain.h"
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
  const struct chain *chain;
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
                 || (x->kind == EXTENT_ZERO && (raw || x->host != 0));
  if (continues (&p->last, &e)) {
    p->last.length += e.length;
    return 0;
  }
  if (put_last (p, f) < 0)
    return -1;
  p->last = e;
  return 0;
}

int
image_map (struct chain *c, bool json, struct fault *f)
{
  CLEANUP_FREE struct printer *p = xcalloc (1, sizeof *p);
  uint64_t size = chain_size (c);
  uint64_t step = chain_span (c);
  unsigned stop = chain_complete (c) ? CHAIN_WHOLE : chain_count (c);

  p->chain = c;
  p->json = json;
  p->first = true;
  chain_keep_zero_host (c);
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
