/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xmem.h"

void
buf_init (struct buf *b, size_t limit)
{
  *b = (struct buf){ .limit = limit };
}

void
buf_view (struct buf *b, const void *data, size_t size)
{
  *b = (struct buf){ .data = (uint8_t *)data, .size = size, .limit = size };
}

void
buf_reset (struct buf *b)
{
  size_t limit = b->limit;

  if (b->capacity > 0)
    free (b->data);
  *b = (struct buf){ .limit = limit };
}

void
buf_clear (struct buf *b)
{
  b->size = 0;
  b->pos = 0;
  b->bad = false;
}

bool
buf_bad (const struct buf *b)
{
  return b->bad;
}

size_t
buf_left (const struct buf *b)
{
  return b->size - b->pos;
}

/* Room for SIZE more bytes, or NULL when the limit forbids it. */
static uint8_t *
reserve (struct buf *b, size_t size)
{
  size_t capacity;

  if (b->bad || size > b->limit - b->size) {
    b->bad = true;
    return NULL;
  }
  if (b->size + size > b->capacity) {
    capacity = b->capacity < 256 ? 256 : b->capacity;
    while (capacity < b->size + size)
      capacity *= 2;
    b->data = xreallocarray (b->data, capacity, 1);
    b->capacity = capacity;
  }
  b->size += size;
  return b->data + b->size - size;
}

void
buf_put (struct buf *b, const void *data, size_t size)
{
  uint8_t *p = reserve (b, size);

  if (p != NULL && size > 0)
    memcpy (p, data, size);
}

void
buf_put_u8 (struct buf *b, uint8_t v)
{
  buf_put (b, &v, 1);
}

void
buf_put_str (struct buf *b, const char *s)
{
  size_t len = strlen (s);

  if (len > UINT16_MAX) {
    b->bad = true;
    return;
  }
  buf_put_le16 (b, (uint16_t)len);
  buf_put (b, s, len);
}

void
buf_printf (struct buf *b, const char *format, ...)
{
  char *text = NULL;
  va_list ap;
  int n;

  va_start (ap, format);
  n = vasprintf (&text, format, ap);
  va_end (ap);
  if (n < 0) {
    b->bad = true;
    return;
  }
  buf_put (b, text, (size_t)n);
  free (text);
}

void
buf_get (struct buf *b, void *out, size_t size)
{
  if (b->bad || size > b->size - b->pos) {
    b->bad = true;
    memset (out, 0, size);
    return;
  }
  if (size > 0)
    memcpy (out, b->data + b->pos, size);
  b->pos += size;
}

uint8_t
buf_get_u8 (struct buf *b)
{
  uint8_t v;

  buf_get (b, &v, 1);
  return v;
}

void
buf_get_str (struct buf *b, char *out, size_t out_size)
{
  size_t len = buf_get_le16 (b);

  out[0] = '\0';
  if (b->bad)
    return;
  if (len >= out_size || len > b->size - b->pos
      || memchr (b->data + b->pos, 0, len) != NULL) {
    b->bad = true;
    return;
  }
  memcpy (out, b->data + b->pos, len);
  out[len] = '\0';
  b->pos += len;
}

void
buf_put_le16 (struct buf *b, uint16_t v)
{
  v = htole16 (v);
  buf_put (b, &v, sizeof v);
}

uint16_t
buf_get_le16 (struct buf *b)
{
  uint16_t v;

  buf_get (b, &v, sizeof v);
  return le16toh (v);
}

void
buf_put_le32 (struct buf *b, uint32_t v)
{
  v = htole32 (v);
  buf_put (b, &v, sizeof v);
}

uint32_t
buf_get_le32 (struct buf *b)
{
  uint32_t v;

  buf_get (b, &v, sizeof v);
  return le32toh (v);
}

void
buf_put_le64 (struct buf *b, uint64_t v)
{
  v = htole64 (v);
  buf_put (b, &v, sizeof v);
}

uint64_t
buf_get_le64 (struct buf *b)
{
  uint64_t v;

  buf_get (b, &v, sizeof v);
  return le64toh (v);
}

uint16_t
get_be16 (const void *p)
{
  uint16_t v;

  memcpy (&v, p, sizeof v);
  return be16toh (v);
}

void
put_be16 (void *p, uint16_t v)
{
  v = htobe16 (v);
  memcpy (p, &v, sizeof v);
}

uint32_t
get_be32 (const void *p)
{
  uint32_t v;

  memcpy (&v, p, sizeof v);
  return be32toh (v);
}

void
put_be32 (void *p, uint32_t v)
{
  v = htobe32 (v);
  memcpy (p, &v, sizeof v);
}

uint64_t
get_be64 (const void *p)
{
  uint64_t v;

  memcpy (&v, p, sizeof v);
  return be64toh (v);
}

void
put_be64 (void *p, uint64_t v)
{
  v = htobe64 (v);
  memcpy (p, &v, sizeof v);
}

uint16_t
get_le16 (const void *p)
{
  uint16_t v;

  memcpy (&v, p, sizeof v);
  return le16toh (v);
}

void
put_le16 (void *p, uint16_t v)
{
  v = htole16 (v);
  memcpy (p, &v, sizeof v);
}

uint32_t
get_le32 (const void *p)
{
  uint32_t v;

  memcpy (&v, p, sizeof v);
  return le32toh (v);
}

void
put_le32 (void *p, uint32_t v)
{
  v = htole32 (v);
  memcpy (p, &v, sizeof v);
}

uint64_t
get_le64 (const void *p)
{
  uint64_t v;

  memcpy (&v, p, sizeof v);
  return le64toh (v);
}

void
put_le64 (void *p, uint64_t v)
{
  v = htole64 (v);
  memcpy (p, &v, sizeof v);
}
