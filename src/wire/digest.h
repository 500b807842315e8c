/* SPDX-License-Identifier: Apache-2.0 */
/* The digest that follows each 64 KiB of guest bytes from the hypervisor into
   the repository and back: XXH3-128 in its canonical (big-endian) form.  It
   finds damage, it is no signature.  The one place that knows xxhash. */
#ifndef DIGEST_H
#define DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_SIZE 16
#define DIGEST_BLOCK 65536u
/* Blocks that SIZE bytes are, the last one maybe short. */
#define DIGEST_BLOCKS(size)                                                    \
  (((uint64_t)(size) + DIGEST_BLOCK - 1) / DIGEST_BLOCK)

/* Digest of one block.  SIZE <= DIGEST_BLOCK; a shorter block counts as if
   zeros followed it up to DIGEST_BLOCK. */
void digest_of (const void *data, size_t size, uint8_t out[static DIGEST_SIZE]);
/* The digests of all blocks of SIZE bytes, one after another; OUT holds
   DIGEST_BLOCKS (SIZE) * DIGEST_SIZE bytes. */
void digest_table (const void *data, size_t size, uint8_t *out);
/* The digest of a block of zeros; never freed. */
const uint8_t *digest_zero (void);
/* XXH3-128 of exactly SIZE bytes, no padding (files of text, records). */
void digest_bytes (const void *data, size_t size,
                   uint8_t out[static DIGEST_SIZE]);
bool digest_equal (const uint8_t *a, const uint8_t *b);
/* 32 lower-case hexadecimal digits and a NUL. */
void digest_format (const uint8_t digest[static DIGEST_SIZE],
                    char out[static 2 * DIGEST_SIZE + 1]);

/* The check of a frame: the low 32 bits of XXH3-64 over BODY, with XXH3-64
   (seed 0) over HEAD as its seed.  BODY may be NULL when BODY_SIZE is 0. */
uint32_t digest_check (const void *head, size_t head_size, const void *body,
                       size_t body_size);

/* XXH3-128 over data that comes in pieces. */
struct digest_stream;
struct digest_stream *digest_stream_new (void);
void digest_stream_add (struct digest_stream *s, const void *data, size_t size);
void digest_stream_get (const struct digest_stream *s,
                        uint8_t out[static DIGEST_SIZE]);
void digest_stream_free (struct digest_stream *s);

#endif /* DIGEST_H */
