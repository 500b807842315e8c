/* SPDX-License-Identifier: Apache-2.0 */
/* The data of a chain in pieces, by several threads. */
#ifndef IMAGE_COPY_H
#define IMAGE_COPY_H

#include <stdint.h>

struct chain;
struct fault;
struct image_open;

/* The unit of data and holes. */
#define IMAGE_COPY_BLOCK (UINT64_C (64) << 10)
/* A piece is at most this long. */
#define IMAGE_COPY_PIECE (UINT64_C (512) << 10)

/* LENGTH bytes of the guest at START, which begin at a block; behind them
   zeros fill the last block. */
typedef int (*image_copy_fn) (void *opaque, uint64_t start, const uint8_t *data,
                              uint64_t length, struct fault *f);
/* A range of the guest that holds data, made of blocks (but for the disk's
   end); two ranges are never adjacent within 4 GiB. */
typedef int (*image_copy_range_fn) (void *opaque, uint64_t start, uint64_t end,
                                    struct fault *f);

/* Read what the disk of O holds and give it to FN, by THREADS threads (1: in
   ascending order).  Stops at the first fault, and when the user wants it. */
int image_copy (struct image_open *o, unsigned threads, image_copy_fn fn,
                void *opaque, struct fault *f);
/* The ranges that image_copy reads, ascending; nothing is read. */
int image_copy_ranges (struct chain *c, image_copy_range_fn fn, void *opaque,
                       struct fault *f);

#endif /* IMAGE_COPY_H */
