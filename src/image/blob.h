/* SPDX-License-Identifier: Apache-2.0 */
/* The contents of compressed clusters.  One file for each library. */
#ifndef BLOB_H
#define BLOB_H

#include <stddef.h>
#include <stdint.h>

struct fault;

/* Fill OUT with exactly OUT_SIZE bytes from the raw deflate stream (window of
   12 bits, as QEMU writes it) or the zstd frames at IN.  The length of a blob
   is only known in sectors, so what follows the stream in IN is ignored.  -1
   with FAULT_CORRUPT: it gives less, or is damaged. */
int blob_zlib (const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
               struct fault *f);
int blob_zstd (const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
               struct fault *f);

#endif /* BLOB_H */
