/* SPDX-License-Identifier: Apache-2.0 */
/* Compression on the wire: raw LZ4 blocks, no frame, no dictionary.  The one
   place that knows lz4. */
#ifndef PACK_H
#define PACK_H

#include <stddef.h>

struct fault;

/* Bytes that OUT of pack must have room for. */
size_t pack_bound (size_t size);
/* Compress SIZE bytes (at most FRAME_RAW_MAX).  Returns the coded size, or 0
   when it does not pay (a sample hardly shrinks, or less than 1/8 is saved):
   then the data travel plain. */
size_t pack (const void *data, size_t size, void *out, size_t out_size);
/* Decompress PACKED_SIZE bytes to exactly SIZE; -1 with FAULT_PROTO when they
   are not an LZ4 block of that size.  Writes nothing outside OUT. */
int pack_expand (const void *packed, size_t packed_size, void *out, size_t size,
                 struct fault *f);

#endif /* PACK_H */
