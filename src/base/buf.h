/* SPDX-License-Identifier: Apache-2.0 */
/* A byte buffer with a limit, and typed puts and gets.  Our own formats are
   little-endian (le), qcow2 is big-endian (be).

   Puts grow the buffer up to its limit; gets consume from its front.  Errors
   stick: after a put over the limit or a get past the end, buf_bad is true,
   further puts do nothing and gets return zeros, so that a decoder checks
   once at its end. */
#ifndef BUF_H
#define BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
  uint8_t *data;
  size_t size;     /* bytes in use */
  size_t pos;      /* bytes consumed by gets */
  size_t capacity; /* bytes allocated; 0 when borrowed */
  size_t limit;    /* most bytes it may hold */
  bool bad;
};

/* An empty buffer that may grow to LIMIT bytes. */
void buf_init (struct buf *b, size_t limit);
/* A buffer over SIZE bytes at DATA, borrowed, for gets. */
void buf_view (struct buf *b, const void *data, size_t size);
/* Free what it owns; the buffer is empty and usable after it. */
void buf_reset (struct buf *b);
/* Forget the contents, keep the memory. */
void buf_clear (struct buf *b);
bool buf_bad (const struct buf *b);
/* Bytes that gets have not consumed. */
size_t buf_left (const struct buf *b);

void buf_put (struct buf *b, const void *data, size_t size);
void buf_put_u8 (struct buf *b, uint8_t v);
void buf_put_le16 (struct buf *b, uint16_t v);
void buf_put_le32 (struct buf *b, uint32_t v);
void buf_put_le64 (struct buf *b, uint64_t v);
/* u16 length, then the bytes without a NUL.  Longer than 65535: bad. */
void buf_put_str (struct buf *b, const char *s);
void buf_printf (struct buf *b, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));

void buf_get (struct buf *b, void *out, size_t size);
uint8_t buf_get_u8 (struct buf *b);
uint16_t buf_get_le16 (struct buf *b);
uint32_t buf_get_le32 (struct buf *b);
uint64_t buf_get_le64 (struct buf *b);
/* Read a buf_put_str into OUT (NUL-terminated).  Longer than OUT_SIZE - 1 or
   with a NUL inside: bad, OUT is "". */
void buf_get_str (struct buf *b, char *out, size_t out_size);

/* Plain loads and stores, any alignment. */
uint16_t get_be16 (const void *p);
uint32_t get_be32 (const void *p);
uint64_t get_be64 (const void *p);
uint16_t get_le16 (const void *p);
uint32_t get_le32 (const void *p);
uint64_t get_le64 (const void *p);
void put_be16 (void *p, uint16_t v);
void put_be32 (void *p, uint32_t v);
void put_be64 (void *p, uint64_t v);
void put_le16 (void *p, uint16_t v);
void put_le32 (void *p, uint32_t v);
void put_le64 (void *p, uint64_t v);

#endif /* BUF_H */
