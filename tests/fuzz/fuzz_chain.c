/* SPDX-License-Identifier: Apache-2.0 */
/* Up to four containers as one chain: u32 (big-endian) size and bytes of each,
   the last may be raw.  The map in blocks and the map of extents say the same,
   and reading in one piece and in odd pieces gives the same bytes. */
#include <config.h>

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "image/chain.h"
#include "image/qcow2.h"
#include "image/source.h"

#define LAYERS_MAX 4
#define READ_MAX (192u << 10)
#define BLOCK 65536

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static int
take (const struct extent *e, void *opaque, struct fault *f)
{
  uint64_t *at = opaque;

  (void)f;
  assert (e->start == *at && e->length > 0);
  *at += e->length;
  return 0;
}

struct blocks {
  struct chain *chain;
  uint64_t at;
};

static int
take_block (const struct extent *e, void *opaque, struct fault *f)
{
  struct blocks *b = opaque;

  assert (e->start % BLOCK == 0);
  if (e->kind == EXTENT_DATA) {
    uint64_t size = chain_source (b->chain, e->layer)->size;

    assert (e->host % SOURCE_ALIGN == 0 && e->host < size
            && e->length <= size - e->host);
  }
  return take (e, &b->at, f);
}

static void
maps (struct chain *c)
{
  uint64_t size = chain_size (c);

  for (unsigned stop = 1; stop <= chain_count (c); stop++) {
    struct blocks b = { .chain = c };
    struct fault f = FAULT_INIT;
    uint64_t at = 0;

    if (chain_map (c, 0, size, stop, take, &at, &f) < 0) {
      assert (f.code == FAULT_CORRUPT);
      return;
    }
    assert (at == size);
    b.at = 0;
    if (chain_map_blocks (c, 0, size, stop, BLOCK, take_block, &b, &f) < 0)
      assert (f.code == FAULT_CORRUPT);
    else
      assert (b.at == size);
  }
}

static void
reads (struct chain *c)
{
  uint64_t size = chain_size (c) < READ_MAX ? chain_size (c) : READ_MAX;
  uint8_t *whole = malloc (size + 1);
  uint8_t *parts = malloc (size + 1);
  struct fault f = FAULT_INIT;

  assert (whole != NULL && parts != NULL);
  if (chain_read (c, 0, whole, size, &f) == 0) {
    for (uint64_t at = 0; at < size; at += 7777) {
      uint64_t n = size - at < 7777 ? size - at : 7777;

      assert (chain_read (c, at, parts + at, n, &f) == 0);
    }
    assert (memcmp (whole, parts, size) == 0);
  }
  else {
    assert (f.code == FAULT_CORRUPT);
  }
  free (whole);
  free (parts);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static const struct qcow2_expect any = { .backing = QCOW2_BACKING_ANY };
  struct source *sources[LAYERS_MAX] = { NULL };
  struct chain *c = chain_new ();
  struct fault f = FAULT_INIT;

  for (unsigned i = 0; i < LAYERS_MAX && size >= 4; i++) {
    size_t n = get_be32 (data);
    int rc;

    data += 4;
    size -= 4;
    if (n > size)
      n = size;
    sources[i] = source_memory (data, n);
    sources[i]->align = i % 2 == 0 ? 1 : SOURCE_ALIGN;
    if (n >= 4 && get_be32 (data) == QCOW2_MAGIC)
      rc = chain_add_qcow2 (c, sources[i], &any, &f);
    else
      rc = chain_add_raw (c, sources[i], (n + 511) & ~(size_t)511, &f);
    if (rc < 0) {
      assert (f.code == FAULT_CORRUPT);
      break;
    }
    data += n;
    size -= n;
  }
  if (chain_count (c) > 0)
    maps (c);
  if (chain_complete (c))
    reads (c);
  chain_free (c);
  for (unsigned i = 0; i < LAYERS_MAX; i++)
    source_free (sources[i]);
  return 0;
}
