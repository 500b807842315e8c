/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/xmem.h"
#include "wire/digest.h"

struct digest_stream {
  XXH3_state_t *state;
};

static uint8_t zero_digest[DIGEST_SIZE];
static pthread_once_t zero_once = PTHREAD_ONCE_INIT;

static void
store (XXH128_hash_t h, uint8_t *out)
{
  XXH128_canonical_t c;

  XXH128_canonicalFromHash (&c, h);
  static_assert (sizeof c.digest == DIGEST_SIZE, "digest size");
  memcpy (out, c.digest, DIGEST_SIZE);
}

void
digest_of (const void *data, size_t size, uint8_t out[static DIGEST_SIZE])
{
  uint8_t padded[DIGEST_BLOCK];

  assert (size <= DIGEST_BLOCK);
  if (size == DIGEST_BLOCK) {
    store (XXH3_128bits (data, DIGEST_BLOCK), out);
    return;
  }
  if (size > 0)
    memcpy (padded, data, size);
  memset (padded + size, 0, DIGEST_BLOCK - size);
  store (XXH3_128bits (padded, DIGEST_BLOCK), out);
}

void
digest_table (const void *data, size_t size, uint8_t *out)
{
  const uint8_t *p = data;

  while (size > 0) {
    size_t part = size < DIGEST_BLOCK ? size : DIGEST_BLOCK;

    digest_of (p, part, out);
    p += part;
    size -= part;
    out += DIGEST_SIZE;
  }
}

static void
make_zero (void)
{
  digest_of (NULL, 0, zero_digest);
}

const uint8_t *
digest_zero (void)
{
  pthread_once (&zero_once, make_zero);
  return zero_digest;
}

void
digest_bytes (const void *data, size_t size, uint8_t out[static DIGEST_SIZE])
{
  store (XXH3_128bits (data, size), out);
}

bool
digest_equal (const uint8_t *a, const uint8_t *b)
{
  return memcmp (a, b, DIGEST_SIZE) == 0;
}

void
digest_format (const uint8_t digest[static DIGEST_SIZE],
               char out[static 2 * DIGEST_SIZE + 1])
{
  static const char hex[] = "0123456789abcdef";

  for (unsigned i = 0; i < DIGEST_SIZE; i++) {
    out[2 * i] = hex[digest[i] >> 4];
    out[2 * i + 1] = hex[digest[i] & 15];
  }
  out[2 * DIGEST_SIZE] = '\0';
}

uint32_t
digest_check (const void *head, size_t head_size, const void *body,
              size_t body_size)
{
  return (uint32_t)XXH3_64bits_withSeed (body, body_size,
                                         XXH3_64bits (head, head_size));
}

struct digest_stream *
digest_stream_new (void)
{
  struct digest_stream *s = xmalloc (sizeof *s);

  /* The state has an alignment of its own. */
  s->state = XXH3_createState ();
  assert (s->state != NULL);
  XXH3_128bits_reset (s->state);
  return s;
}

void
digest_stream_add (struct digest_stream *s, const void *data, size_t size)
{
  XXH3_128bits_update (s->state, data, size);
}

void
digest_stream_get (const struct digest_stream *s,
                   uint8_t out[static DIGEST_SIZE])
{
  store (XXH3_128bits_digest (s->state), out);
}

void
digest_stream_free (struct digest_stream *s)
{
  if (s == NULL)
    return;
  XXH3_freeState (s->state);
  free (s);
}
