/* SPDX-License-Identifier: Apache-2.0 */
/* Layers on top of each other: which layer decides each guest byte, and the
   bytes.  Layers may have different cluster sizes and lengths; beyond the end
   of a layer that is shorter than the one above, zeros are read and nothing
   below shows through.

   Not thread-safe: one struct chain for each thread. */
#ifndef CHAIN_H
#define CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <limits.h>

#include "base/cleanup.h"
#include "image/extent.h"

struct fault;
struct source;
struct qcow2;
struct qcow2_expect;
struct chain;

#define CHAIN_LAYERS_MAX 256
/* STOP of a map of the whole chain. */
#define CHAIN_WHOLE UINT_MAX

struct chain *chain_new (void);
/* The layers, the top one first.  SRC is borrowed and must outlive the chain.
   Nothing can be added below a raw layer. */
int chain_add_qcow2 (struct chain *c, struct source *src,
                     const struct qcow2_expect *expect, struct fault *f);
/* VIRTUAL_SIZE is at most the container's size rounded up to 512. */
int chain_add_raw (struct chain *c, struct source *src, uint64_t virtual_size,
                   struct fault *f);
void chain_free (struct chain *c);
CLEANUP_DEFINE (chain_free, struct chain);

unsigned chain_count (const struct chain *c);
/* Virtual size of the top layer: the guest's disk. */
uint64_t chain_size (const struct chain *c);
uint64_t chain_layer_size (const struct chain *c, unsigned layer);
struct source *chain_source (const struct chain *c, unsigned layer);
/* NULL for a raw layer. */
struct qcow2 *chain_qcow2 (const struct chain *c, unsigned layer);
/* The last layer has no backing file: everything that the guest sees is in
   this chain. */
bool chain_complete (const struct chain *c);
/* Guest bytes of one L1 entry of the top layer: a good step for maps (a raw
   top: 512 MiB). */
uint64_t chain_span (const struct chain *c);

/* Extents of [START, START + LENGTH), ascending, without a gap, adjacent ones
   joined.  The last cluster of a container may be cut by its end: what a DATA
   extent has behind it reads as zeros.

   STOP = CHAIN_WHOLE: the guest's disk; the chain must be complete (else
   FAULT_CORRUPT); ABSENT reads as zeros.
   STOP <= chain_count: what the layers 0..STOP-1 changed; ABSENT means
   unchanged since the state that layer STOP shows (its layer is STOP - 1 or
   above), ZERO must be kept as such.  Beyond the end of a layer below STOP
   things are ABSENT only when it is layer STOP itself. */
int chain_map (struct chain *c, uint64_t start, uint64_t length, unsigned stop,
               extent_fn fn, void *opaque, struct fault *f);

/* As chain_map, but every extent begins and ends at a multiple of BLOCK (a
   power of two, at least SOURCE_ALIGN; START too) or at the disk's end.
   DATA has a host offset that is a multiple of SOURCE_ALIGN, lies wholly in the
   container and may be read from the source directly.  A block that is not of one kind, or is not in one
   piece, or is compressed, comes as MIXED (adjacent ones joined): chain_read
   it.  With a STOP, a block of which a part is ABSENT is MIXED and its bytes
   are those of the whole chain: the chain must be complete, else -1 with
   FAULT_CORRUPT: such a block cannot be expressed and is never guessed. */
int chain_map_blocks (struct chain *c, uint64_t start, uint64_t length,
                      unsigned stop, uint64_t block, extent_fn fn, void *opaque,
                      struct fault *f);

/* The guest's bytes, through all layers.  What a chain that is not complete
   does not have is FAULT_CORRUPT.  Beyond chain_size: FAULT_INTERNAL. */
int chain_read (struct chain *c, uint64_t offset, void *data, size_t size,
                struct fault *f);

/* From now on ZERO and ABSENT extents carry the host offset of a cluster that
   is reserved for them, and are joined only when it continues: `qemu-img map`
   prints it. */
void chain_keep_reserved (struct chain *c);

#endif /* CHAIN_H */
