/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's bytes of one disk at one point, through the chain of images of
   the repository.  The chain is what the manifests say; the string in each
   image's header must agree and is never opened.  Every block is checked
   against the digest that was recorded when it was backed up. */
#ifndef READER_H
#define READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "image/extent.h"
#include "wire/digest.h"

/* Images in one chain. */
#define READER_DEPTH_MAX 256u /* CHAIN_LAYERS_MAX */
/* Most bytes in one reader_read. */
#define READER_READ_MAX (16u << 20)

struct fault;
struct place;
struct point;
struct reader;

/* Open disk DISK_ID of POINT (or of a template's base).  One thread at a time; several may each have
   their own.  FAULT_NOTFOUND: the point has no such disk; FAULT_CORRUPT: a
   parent is missing or the structure is wrong.  The caller closes *OUT. */
int reader_open (const struct place *place, const struct point *point,
                 const char *disk_id, struct reader **out, struct fault *f);
void reader_close (struct reader *r);
CLEANUP_DEFINE (reader_close, struct reader);

/* Virtual size of the image (the guest's bytes). */
uint64_t reader_size (const struct reader *r);
/* Images in the chain: 1 for a full, 2 for one over a template's base. */
unsigned reader_depth (const struct reader *r);
/* Tell FN the ranges between START and START + LENGTH that hold data, ascending
   and joined (kind EXTENT_DATA; layer and host are 0); all else reads as
   zeros.  FN's -1 ends the walk. */
int reader_map (struct reader *r, uint64_t start, uint64_t length, extent_fn fn,
                void *opaque, struct fault *f);
/* SIZE bytes at OFFSET (multiples of 64 KiB, or up to the end).  FAULT_CORRUPT
   names point, disk and offset of a block that is not what was backed up. */
int reader_read (struct reader *r, uint64_t offset, void *data, size_t size,
                 struct fault *f);
/* The digest of the 64 KiB that begin at CLUSTER * 64 KiB: 1 = data, OUT is
   filled; 0 = zeros; -1 = a fault. */
int reader_digest (struct reader *r, uint64_t cluster,
                   uint8_t out[static DIGEST_SIZE], struct fault *f);

/* The descriptor of image LAYER (0 is the point's own), borrowed: for the
   decoder of verify. */
int reader_layer_fd (const struct reader *r, unsigned layer);

#endif /* READER_H */
