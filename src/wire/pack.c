/* SPDX-License-Identifier: Apache-2.0 */
/* Most incompressible data betray themselves early: a sample from the middle
   decides before a whole block is tried in vain. */
#include <config.h>

#include <assert.h>
#include <stdint.h>

#include <lz4.h>

#include "base/fault.h"
#include "wire/frame.h"
#include "wire/pack.h"

enum {
  PACK_SAMPLE = 16384,
  PACK_ACCELERATION = 2,
};

/* Less than 1/8 saved costs more on both ends than it spares the link. */
static size_t
pack_worth (size_t size)
{
  return size - size / 8;
}

size_t
pack_bound (size_t size)
{
  return (size_t)LZ4_compressBound ((int)size);
}

size_t
pack (const void *data, size_t size, void *out, size_t out_size)
{
  const char *p = data;
  int coded;

  assert (size <= FRAME_RAW_MAX && out_size >= pack_bound (size));
  if (size >= 4 * PACK_SAMPLE) {
    size_t middle = size / 2 - PACK_SAMPLE / 2;

    coded = LZ4_compress_fast (p + middle, out, PACK_SAMPLE, (int)out_size,
                               PACK_ACCELERATION);
    if (coded <= 0 || (size_t)coded > pack_worth (PACK_SAMPLE))
      return 0;
  }
  coded
      = LZ4_compress_fast (p, out, (int)size, (int)out_size, PACK_ACCELERATION);
  if (coded <= 0 || (size_t)coded > pack_worth (size))
    return 0;
  return (size_t)coded;
}

int
pack_expand (const void *packed, size_t packed_size, void *out, size_t size,
             struct fault *f)
{
  int n;

  if (packed_size > FRAME_RAW_MAX || size > FRAME_RAW_MAX)
    return fault_set (f, FAULT_PROTO, 0,
                      "LZ4 block of %zu bytes for %zu: over the maximum of %u",
                      packed_size, size, FRAME_RAW_MAX);
  n = LZ4_decompress_safe (packed, out, (int)packed_size, (int)size);
  if (n < 0 || (size_t)n != size)
    return fault_set (f, FAULT_PROTO, 0,
                      "LZ4 block of %zu bytes does not decode to %zu bytes",
                      packed_size, size);
  return 0;
}
