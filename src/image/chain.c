/* SPDX-License-Identifier: Apache-2.0 */
/* The merge of layers.  next_extent descends from the top until a layer has
   something to say, each layer limiting the range to the run that the one
   above it left open; as every layer keeps its last run, a walk over the whole
   disk looks once at each run of each layer. */
#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "image/chain.h"
#include "image/qcow2.h"
#include "image/source.h"

#define BOUNCE_SIZE (UINT64_C (256) << 10)
#define RAW_SPAN (UINT64_C (512) << 20)

struct layer {
  struct source *src;
  struct qcow2 *q;   /* NULL: raw */
  uint64_t size;     /* virtual */
  struct extent run; /* raw: where the last answer lay */
};

struct chain {
  struct layer *layers;
  unsigned count;
  bool keep_reserved;
  uint8_t *bounce;   /* BOUNCE_SIZE, aligned */
  uint8_t *unpacked; /* the cluster that was decompressed last */
  uint64_t unpacked_size;
  unsigned unpacked_layer;
  uint64_t unpacked_host;
  bool unpacked_valid;
};

struct chain *
chain_new (void)
{
  return xcalloc (1, sizeof (struct chain));
}

void
chain_free (struct chain *c)
{
  if (c == NULL)
    return;
  for (unsigned i = 0; i < c->count; i++)
    qcow2_close (c->layers[i].q);
  free (c->layers);
  free (c->bounce);
  free (c->unpacked);
  free (c);
}

static struct layer *
add_layer (struct chain *c, struct source *src, struct fault *f)
{
  struct layer *l;

  if (c->count == CHAIN_LAYERS_MAX) {
    fault_set (f, FAULT_CORRUPT, 0, "%s: the chain has more than %d layers",
               src->name, CHAIN_LAYERS_MAX);
    return NULL;
  }
  if (c->count > 0 && chain_complete (c)) {
    fault_set (f, FAULT_CORRUPT, 0,
               "%s: the layer above it (%s) has no "
               "backing file",
               src->name, c->layers[c->count - 1].src->name);
    return NULL;
  }
  c->layers = xreallocarray (c->layers, c->count + 1, sizeof c->layers[0]);
  l = &c->layers[c->count];
  memset (l, 0, sizeof *l);
  l->src = src;
  return l;
}

int
chain_add_qcow2 (struct chain *c, struct source *src,
                 const struct qcow2_expect *expect, struct fault *f)
{
  struct layer *l = add_layer (c, src, f);

  if (l == NULL || qcow2_open (src, expect, &l->q, f) < 0)
    return -1;
  l->size = qcow2_header (l->q)->virtual_size;
  c->count++;
  return 0;
}

int
chain_add_raw (struct chain *c, struct source *src, uint64_t virtual_size,
               struct fault *f)
{
  struct layer *l = add_layer (c, src, f);

  if (l == NULL)
    return -1;
  if (virtual_size > src->size && virtual_size - src->size >= 512)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: has %" PRIu64 " bytes, but must have %" PRIu64,
                      src->name, src->size, virtual_size);
  l->size = virtual_size;
  c->count++;
  return 0;
}

unsigned
chain_count (const struct chain *c)
{
  return c->count;
}

uint64_t
chain_size (const struct chain *c)
{
  return c->count > 0 ? c->layers[0].size : 0;
}

uint64_t
chain_layer_size (const struct chain *c, unsigned layer)
{
  return c->layers[layer].size;
}

struct source *
chain_source (const struct chain *c, unsigned layer)
{
  return c->layers[layer].src;
}

struct qcow2 *
chain_qcow2 (const struct chain *c, unsigned layer)
{
  return c->layers[layer].q;
}

bool
chain_complete (const struct chain *c)
{
  const struct qcow2 *q;

  if (c->count == 0)
    return false;
  q = c->layers[c->count - 1].q;
  return q == NULL || qcow2_header (q)->backing[0] == '\0';
}

uint64_t
chain_span (const struct chain *c)
{
  if (c->count == 0 || c->layers[0].q == NULL)
    return RAW_SPAN;
  return qcow2_span (c->layers[0].q);
}

void
chain_keep_reserved (struct chain *c)
{
  c->keep_reserved = true;
}

/* Data or hole of a raw layer; what its last sector has behind the end of the
   container is a hole. */
static int
raw_next (struct layer *l, uint64_t offset, uint64_t limit, struct extent *e,
          struct fault *f)
{
  struct extent *run = &l->run;
  uint64_t file_end = l->src->size < l->size ? l->src->size : l->size;
  uint64_t data = offset < file_end ? offset : l->size;
  uint64_t hole = file_end;

  if (offset < run->start || offset - run->start >= run->length) {
    memset (run, 0, sizeof *run);
    if (l->src->next_data != NULL && offset < file_end
        && l->src->next_data (l->src->opaque, offset, &data, &hole, f) < 0)
      return -1;
    if (data < offset)
      return fault_set (f, FAULT_INTERNAL, 0, "%s: impossible hole at %" PRIu64,
                        l->src->name, offset);
    if (data >= file_end)
      data = l->size;
    if (hole > file_end || hole <= offset)
      hole = file_end;
    run->kind = data > offset ? EXTENT_ZERO : EXTENT_DATA;
    run->start = offset;
    run->host = offset;
    run->length = (data > offset ? data : hole) - offset;
  }
  *e = *run;
  e->length -= offset - e->start;
  e->start = offset;
  e->host = offset;
  if (e->length > limit - offset)
    e->length = limit - offset;
  return 0;
}

/* The extent at OFFSET, by the layers 0..STOP-1.  WHOLE: what no layer has is
   absent, also behind the end of a short layer. */
static int
next_extent (struct chain *c, uint64_t offset, uint64_t limit, unsigned stop,
             bool whole, struct extent *e, struct fault *f)
{
  for (unsigned i = 0;; i++) {
    struct layer *l = &c->layers[i];
    uint64_t end = limit < l->size ? limit : l->size;
    int rc;

    if (offset >= l->size) {
      /* E is what the layer above left open. */
      e->kind = whole ? EXTENT_ABSENT : EXTENT_ZERO;
      break;
    }
    rc = l->q != NULL ? qcow2_next (l->q, offset, end, e, f)
                      : raw_next (l, offset, end, e, f);
    if (rc < 0)
      return -1;
    e->layer = i;
    if (e->kind != EXTENT_ABSENT || i + 1 >= stop)
      break;
    limit = offset + e->length;
  }
  if ((e->kind == EXTENT_ZERO || e->kind == EXTENT_ABSENT) && !c->keep_reserved)
    e->host = 0;
  return 0;
}

/* Check the arguments of a map and tell whether it is one of the whole
   chain. */
static int
check_range (const struct chain *c, uint64_t start, uint64_t length,
             unsigned *stop, bool *whole, struct fault *f)
{
  uint64_t size = chain_size (c);

  if (c->count == 0 || start > size || length > size - start)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "%" PRIu64 " bytes at %" PRIu64
                      " are outside of the disk of %" PRIu64 " bytes",
                      length, start, size);
  if (*stop == CHAIN_WHOLE && !chain_complete (c))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: its backing file \"%s\" is not in the chain",
                      c->layers[c->count - 1].src->name,
                      qcow2_header (c->layers[c->count - 1].q)->backing);
  if (*stop != CHAIN_WHOLE && (*stop > c->count || *stop == 0))
    return fault_set (f, FAULT_INTERNAL, 0, "map of %u layers of a chain of %u",
                      *stop, c->count);
  *whole = *stop >= c->count && chain_complete (c);
  if (*stop == CHAIN_WHOLE)
    *stop = c->count;
  return 0;
}

int
chain_map (struct chain *c, uint64_t start, uint64_t length, unsigned stop,
           extent_fn fn, void *opaque, struct fault *f)
{
  struct extent_joiner j = { .fn = fn, .opaque = opaque };
  uint64_t end = start + length;
  bool whole;

  if (check_range (c, start, length, &stop, &whole, f) < 0)
    return -1;
  while (start < end) {
    struct extent e;

    if (next_extent (c, start, end, stop, whole, &e, f) < 0
        || extent_join (&j, &e, f) < 0)
      return -1;
    start += e.length;
  }
  return extent_join_end (&j, f);
}

/* State of chain_map_blocks: the block that is only known in part. */
struct blocks {
  struct extent_joiner out;
  const struct chain *chain;
  uint64_t block;
  uint64_t end;     /* of the disk */
  uint64_t partial; /* start of the unfinished block */
  bool whole;
  bool has_partial;
  bool has_absent;
  bool has_zero;
  bool has_bytes;
};

static void
note_part (struct blocks *b, const struct extent *e)
{
  if (e->kind == EXTENT_ABSENT)
    b->has_absent = true;
  else if (e->kind == EXTENT_ZERO)
    b->has_zero = true;
  else
    b->has_bytes = true;
}

static int
end_partial (struct blocks *b, uint64_t end, struct fault *f)
{
  struct extent e = { .start = b->partial, .length = end - b->partial };

  b->has_partial = false;
  if (b->has_bytes)
    e.kind = EXTENT_MIXED;
  else if (b->has_absent && b->has_zero)
    e.kind = b->whole ? EXTENT_ZERO : EXTENT_MIXED;
  else
    e.kind = b->has_zero ? EXTENT_ZERO : EXTENT_ABSENT;
  if (e.kind == EXTENT_MIXED && b->has_absent && !chain_complete (b->chain))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: only a part of the block of %" PRIu64
                      " bytes at guest offset %" PRIu64
                      " was changed, and the layers below it are not here; "
                      "take a full backup",
                      b->chain->layers[0].src->name, e.length, e.start);
  return extent_join (&b->out, &e, f);
}

static int
put_mixed (struct blocks *b, uint64_t pos, uint64_t end, struct fault *f)
{
  struct extent out
      = { .start = pos, .length = end - pos, .kind = EXTENT_MIXED };

  return pos < end ? extent_join (&b->out, &out, f) : 0;
}

/* The part of E from POS to END, whole blocks.  Data that is not aligned, or
   whose cluster is cut by the end of the container, is for chain_read. */
static int
put_blocks (struct blocks *b, const struct extent *e, uint64_t pos,
            uint64_t end, struct fault *f)
{
  struct extent out = {
    .start = pos, .length = end - pos, .layer = e->layer, .kind = e->kind
  };
  uint64_t size;

  if (e->kind == EXTENT_PACKED)
    return put_mixed (b, pos, end, f);
  if (e->kind != EXTENT_DATA)
    return extent_join (&b->out, &out, f);
  out.host = e->host + (pos - e->start);
  size = b->chain->layers[e->layer].src->size;
  if (out.host % SOURCE_ALIGN != 0 || out.host >= size)
    return put_mixed (b, pos, end, f);
  if (out.length > size - out.host)
    out.length = (size - out.host) & ~(b->block - 1);
  if (out.length > 0 && extent_join (&b->out, &out, f) < 0)
    return -1;
  return put_mixed (b, pos + out.length, end, f);
}

static int
block_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct blocks *b = opaque;
  uint64_t pos = e->start;
  uint64_t end = e->start + e->length;
  uint64_t last;

  if (b->has_partial) {
    uint64_t stop = b->partial + b->block;

    if (stop > b->end)
      stop = b->end;
    note_part (b, e);
    if (end < stop)
      return 0;
    if (end_partial (b, stop, f) < 0)
      return -1;
    pos = stop;
  }
  last = end == b->end ? end : end & ~(b->block - 1);
  if (pos < last) {
    if (put_blocks (b, e, pos, last, f) < 0)
      return -1;
    pos = last;
  }
  if (pos < end) {
    b->has_partial = true;
    b->partial = pos;
    b->has_absent = false;
    b->has_zero = false;
    b->has_bytes = false;
    note_part (b, e);
  }
  return 0;
}

int
chain_map_blocks (struct chain *c, uint64_t start, uint64_t length,
                  unsigned stop, uint64_t block, extent_fn fn, void *opaque,
                  struct fault *f)
{
  struct blocks b = { .out = { .fn = fn, .opaque = opaque },
                      .chain = c,
                      .block = block,
                      .end = chain_size (c) };
  unsigned resolved = stop;

  if (check_range (c, start, length, &resolved, &b.whole, f) < 0)
    return -1;
  if (block < SOURCE_ALIGN || (block & (block - 1)) != 0 || start % block != 0
      || (length % block != 0 && start + length != b.end))
    return fault_set (f, FAULT_INTERNAL, 0,
                      "map of %" PRIu64 " bytes at %" PRIu64
                      " in blocks of %" PRIu64,
                      length, start, block);
  if (chain_map (c, start, length, stop, block_extent, &b, f) < 0)
    return -1;
  return extent_join_end (&b.out, f);
}

/* Any range of a container, by aligned reads where the source needs them. */
static int
read_container (struct chain *c, struct source *src, uint64_t offset,
                uint8_t *out, size_t size, struct fault *f)
{
  uint64_t align = src->align == 0 ? SOURCE_ALIGN : src->align;

  if (offset < src->size
      && ((offset | size | (uintptr_t)out) & (align - 1)) == 0)
    return src->read_at (src->opaque, offset, out, size, f);
  if (c->bounce == NULL) {
    c->bounce = try_aligned (SOURCE_ALIGN, BOUNCE_SIZE, "a read buffer", f);
    if (c->bounce == NULL)
      return -1;
  }
  while (size > 0 && offset < src->size) {
    uint64_t before = offset % SOURCE_ALIGN;
    uint64_t n = BOUNCE_SIZE - before;
    uint64_t whole;

    if (n > size)
      n = size;
    whole = (before + n + SOURCE_ALIGN - 1) & ~(uint64_t)(SOURCE_ALIGN - 1);
    if (src->read_at (src->opaque, offset - before, c->bounce, whole, f) < 0)
      return -1;
    memcpy (out, c->bounce + before, n);
    out += n;
    offset += n;
    size -= n;
  }
  memset (out, 0, size); /* the last cluster may be cut by the end */
  return 0;
}

static int
read_packed (struct chain *c, const struct extent *e, uint8_t *out,
             struct fault *f)
{
  struct qcow2 *q = c->layers[e->layer].q;
  uint64_t cluster_size = UINT64_C (1) << qcow2_header (q)->cluster_bits;

  if (!c->unpacked_valid || c->unpacked_layer != e->layer
      || c->unpacked_host != e->host) {
    c->unpacked_valid = false;
    if (c->unpacked_size < cluster_size) {
      free (c->unpacked);
      c->unpacked_size = 0;
      c->unpacked = try_aligned (SOURCE_ALIGN, cluster_size,
                                 "a decompressed cluster", f);
      if (c->unpacked == NULL)
        return -1;
      c->unpacked_size = cluster_size;
    }
    if (qcow2_unpack (q, e, c->unpacked, f) < 0)
      return -1;
    c->unpacked_layer = e->layer;
    c->unpacked_host = e->host;
    c->unpacked_valid = true;
  }
  memcpy (out, c->unpacked + e->packed_skip, e->length);
  return 0;
}

int
chain_read (struct chain *c, uint64_t offset, void *data, size_t size,
            struct fault *f)
{
  uint8_t *out = data;
  uint64_t end = offset + size;
  unsigned stop = c->count;
  bool whole;

  if (check_range (c, offset, size, &stop, &whole, f) < 0)
    return -1;
  while (offset < end) {
    struct extent e;
    int rc = 0;

    if (next_extent (c, offset, end, stop, whole, &e, f) < 0)
      return -1;
    if (e.kind == EXTENT_ABSENT && !whole)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "%s: guest offset %" PRIu64
                        " is in the layers below, which are not here",
                        c->layers[0].src->name, offset);
    if (e.kind == EXTENT_DATA)
      rc = read_container (c, c->layers[e.layer].src, e.host, out, e.length, f);
    else if (e.kind == EXTENT_PACKED)
      rc = read_packed (c, &e, out, f);
    else
      memset (out, 0, e.length);
    if (rc < 0)
      return -1;
    out += e.length;
    offset += e.length;
  }
  return 0;
}
