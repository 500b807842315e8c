/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/imagefile.h"

#define COPIED (UINT64_C (1) << 63)
#define COMPRESSED (UINT64_C (1) << 62)
#define OFFSET_MASK UINT64_C (0x00fffffffffffe00)

const uint8_t imagefile_zlib[] = {
  0xed, 0xc7, 0xd9, 0x15, 0xc0, 0x10, 0x00, 0x00, 0x30, 0xa5, 0x6e,
  0x65, 0xff, 0x6d, 0xbb, 0x87, 0x97, 0xfc, 0x25, 0x3c, 0x31, 0xbd,
  0xb9, 0xd4, 0xd6, 0xc7, 0x5c, 0xdf, 0x3e, 0xc1, 0xdd, 0xdd, 0xdd,
  0xdd, 0xdd, 0xdd, 0xdd, 0xdd, 0xdd, 0xaf, 0xfb, 0x0f,
};
const size_t imagefile_zlib_size = sizeof imagefile_zlib;
const uint8_t imagefile_zstd[] = {
  0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00, 0x0f, 0xc5, 0x00, 0x00, 0x80, 0x00,
  0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c,
  0x0d, 0x0e, 0x0f, 0x01, 0x00, 0xda, 0x3f, 0xfe, 0x5c, 0x02,
};
const size_t imagefile_zstd_size = sizeof imagefile_zstd;

void
imagefile_put (struct imagefile *f, uint64_t offset, unsigned width,
               uint64_t value)
{
  assert (offset + width <= f->size);
  for (unsigned i = 0; i < width; i++)
    f->data[offset + i] = (uint8_t)(value >> 8 * (width - 1 - i));
}

uint64_t
imagefile_get (const struct imagefile *f, uint64_t offset, unsigned width)
{
  uint64_t v = 0;

  assert (offset + width <= f->size);
  for (unsigned i = 0; i < width; i++)
    v = v << 8 | f->data[offset + i];
  return v;
}

uint64_t
imagefile_alloc (struct imagefile *f, uint64_t count)
{
  uint64_t offset = f->size;
  uint64_t cluster = UINT64_C (1) << f->bits;

  f->data = realloc (f->data, f->size + count * cluster);
  assert (f->data != NULL);
  memset (f->data + f->size, 0, count * cluster);
  f->size += count * cluster;
  for (uint64_t i = offset >> f->bits; i < f->size >> f->bits; i++)
    if (i < cluster / 2) /* as far as the one refcount block goes */
      imagefile_put (f, 2 * cluster + 2 * i, 2, 1);
  return offset;
}

struct imagefile *
imagefile_new (unsigned version, unsigned bits, uint64_t virtual_size,
               bool extended)
{
  struct imagefile *f = calloc (1, sizeof *f);
  uint64_t cluster = UINT64_C (1) << bits;
  uint64_t span;
  uint64_t l1;

  assert (f != NULL);
  f->version = version;
  f->bits = bits;
  f->extended = extended;
  f->virtual_size = virtual_size;
  f->entries = cluster / (extended ? 16 : 8);
  span = f->entries << bits;
  l1 = (virtual_size + span - 1) / span;
  f->data = calloc (3, cluster);
  f->size = 3 * cluster;
  imagefile_alloc (f, (l1 * 8 + cluster - 1) / cluster + (l1 == 0));
  imagefile_put (f, 0, 4, 0x514649fb);
  imagefile_put (f, 4, 4, version);
  imagefile_put (f, 20, 4, bits);
  imagefile_put (f, 24, 8, virtual_size);
  imagefile_put (f, 36, 4, l1);
  imagefile_put (f, 40, 8, 3 * cluster);
  imagefile_put (f, 48, 8, cluster);
  imagefile_put (f, 56, 4, 1);
  imagefile_put (f, cluster, 8, 2 * cluster);
  for (unsigned i = 0; i < 3; i++)
    imagefile_put (f, 2 * cluster + 2 * i, 2, 1);
  if (version == 3) {
    imagefile_put (f, 72, 8, extended ? 16 : 0);
    imagefile_put (f, 96, 4, 4);
    imagefile_put (f, 100, 4, 112);
  }
  return f;
}

void
imagefile_free (struct imagefile *f)
{
  if (f == NULL)
    return;
  free (f->data);
  free (f);
}

uint64_t
imagefile_entry (struct imagefile *f, uint64_t cluster)
{
  uint64_t l1 = IMAGEFILE_L1 (f) + 8 * (cluster / f->entries);
  uint64_t table = imagefile_get (f, l1, 8) & OFFSET_MASK;

  if (table == 0) {
    table = imagefile_alloc (f, 1);
    imagefile_put (f, l1, 8, table | COPIED);
  }
  return table + cluster % f->entries * (f->extended ? 16 : 8);
}

void
imagefile_set (struct imagefile *f, uint64_t cluster, uint64_t entry)
{
  uint64_t at = imagefile_entry (f, cluster);

  imagefile_put (f, at, 8, entry);
}

void
imagefile_set2 (struct imagefile *f, uint64_t cluster, uint64_t entry,
                uint64_t bitmap)
{
  uint64_t at = imagefile_entry (f, cluster);

  imagefile_put (f, at, 8, entry);
  imagefile_put (f, at + 8, 8, bitmap);
}

uint64_t
imagefile_data (struct imagefile *f, uint64_t cluster, uint8_t byte)
{
  uint64_t at = imagefile_entry (f, cluster);
  uint64_t offset = imagefile_alloc (f, 1);

  memset (f->data + offset, byte, (size_t)1 << f->bits);
  imagefile_put (f, at, 8, offset | COPIED);
  if (f->extended)
    imagefile_put (f, at + 8, 8, UINT32_MAX);
  return offset;
}

void
imagefile_packed (struct imagefile *f, uint64_t cluster, uint64_t offset,
                  const uint8_t *blob, size_t size)
{
  unsigned x = 62 - (f->bits - 8);
  uint64_t sectors = (offset + size - 1) / 512 - offset / 512;

  memcpy (f->data + offset, blob, size);
  imagefile_set (f, cluster, offset | sectors << x | COMPRESSED);
}

void
imagefile_backing (struct imagefile *f, const char *name, const char *format)
{
  uint64_t at = f->version == 2 ? 72 : 112;

  if (format != NULL) {
    imagefile_put (f, at, 4, 0xe2792aca);
    imagefile_put (f, at + 4, 4, strlen (format));
    memcpy (f->data + at + 8, format, strlen (format));
    at += 8 + ((strlen (format) + 7) & ~(size_t)7);
  }
  imagefile_put (f, at, 8, 0);
  at += 8;
  memcpy (f->data + at, name, strlen (name));
  imagefile_put (f, 8, 8, at);
  imagefile_put (f, 16, 4, strlen (name));
}
