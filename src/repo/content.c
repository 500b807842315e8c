/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder cuts its output as it likes: blocks are put together here.  A
   bitmap of one window of the disk says which blocks hold data, so that large
   holes cost next to nothing. */
#include <config.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "image/extent.h"
#include "repo/content.h"
#include "repo/reader.h"
#include "wire/digest.h"

#define BLOCK DIGEST_BLOCK
#define WINDOW_BLOCKS 8192u
#define WINDOW ((uint64_t)WINDOW_BLOCKS * BLOCK)

struct content {
  struct reader *reader;
  char *decoder;
  uint64_t size;
  uint64_t position;
  uint64_t window; /* start of the one in memory, UINT64_MAX none */
  uint8_t data_map[WINDOW_BLOCKS / 8];
  bool window_empty;
  size_t used; /* bytes of the block that is being put together */
  uint8_t block[BLOCK];
};

struct content *
content_new (struct reader *reader, const char *decoder)
{
  struct content *c = xcalloc (1, sizeof *c);

  c->reader = reader;
  c->decoder = xstrdup (decoder);
  c->size = reader_size (reader);
  c->window = UINT64_MAX;
  return c;
}

void
content_free (struct content *c)
{
  if (c == NULL)
    return;
  free (c->decoder);
  free (c);
}

uint64_t
content_position (const struct content *c)
{
  return c->position;
}

static int
mark_data (const struct extent *e, void *opaque, struct fault *f)
{
  struct content *c = opaque;
  uint64_t first = (e->start - c->window) / BLOCK;
  uint64_t count = DIGEST_BLOCKS (e->length);

  (void)f;
  for (uint64_t i = first; i < first + count && i < WINDOW_BLOCKS; i++)
    c->data_map[i / 8] |= (uint8_t)(1u << (i % 8));
  c->window_empty = false;
  return 0;
}

static int
load_window (struct content *c, uint64_t offset, struct fault *f)
{
  uint64_t start = offset - offset % WINDOW;
  uint64_t length = c->size - start < WINDOW ? c->size - start : WINDOW;

  if (c->window == start)
    return 0;
  memset (c->data_map, 0, sizeof c->data_map);
  c->window = start;
  c->window_empty = true;
  return reader_map (c->reader, start, length, mark_data, c, f);
}

static int
differs (const struct content *c, uint64_t offset, struct fault *f)
{
  return fault_set (f, FAULT_CORRUPT, 0,
                    "%s decodes the 64 KiB at %llu to other bytes than were "
                    "backed up",
                    c->decoder, (unsigned long long)offset);
}

/* One block at OFFSET whose digest is IS. */
static int
check_block (struct content *c, uint64_t offset, const uint8_t *is,
             struct fault *f)
{
  uint8_t want[DIGEST_SIZE];
  uint64_t i;
  int rc = 0;

  if (load_window (c, offset, f) < 0)
    return -1;
  i = (offset - c->window) / BLOCK;
  if ((c->data_map[i / 8] & 1u << (i % 8)) != 0)
    rc = reader_digest (c->reader, offset / BLOCK, want, f);
  if (rc < 0)
    return -1;
  if (!digest_equal (is, rc == 1 ? want : digest_zero ()))
    return differs (c, offset, f);
  return 0;
}

static int
check_bytes (struct content *c, uint64_t offset, const void *data, size_t size,
             struct fault *f)
{
  uint8_t digest[DIGEST_SIZE];

  digest_of (data, size, digest);
  return check_block (c, offset, digest, f);
}

/* Whole blocks of zeros from the position on: SIZE is a multiple of BLOCK or
   ends the disk. */
static int
zero_blocks (struct content *c, uint64_t size, struct fault *f)
{
  uint64_t end = c->position + size;

  while (c->position < end) {
    uint64_t step;

    if (load_window (c, c->position, f) < 0)
      return -1;
    step = c->window_empty ? c->window + WINDOW - c->position : BLOCK;
    if (!c->window_empty && check_block (c, c->position, digest_zero (), f) < 0)
      return -1;
    c->position = end - c->position < step ? end : c->position + step;
  }
  return 0;
}

static int
feed_part (struct content *c, const uint8_t *data, size_t size, struct fault *f)
{
  uint64_t offset = c->position - c->used;

  c->position += size;
  if (data != NULL && size == BLOCK)
    return check_bytes (c, offset, data, size, f);
  if (data == NULL)
    memset (c->block + c->used, 0, size);
  else
    memcpy (c->block + c->used, data, size);
  c->used += size;
  if (c->used < BLOCK && c->position < c->size)
    return 0;
  size = c->used;
  c->used = 0;
  return check_bytes (c, offset, c->block, size, f);
}

int
content_feed (struct content *c, const void *data, uint64_t size,
              struct fault *f)
{
  const uint8_t *bytes = data;

  if (size > c->size - c->position)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s gives more than the %llu bytes of the disk",
                      c->decoder, (unsigned long long)c->size);
  while (size > 0) {
    uint64_t part = BLOCK - c->used;

    if (bytes == NULL && c->used == 0
        && (size >= BLOCK || c->position + size == c->size)) {
      part = c->position + size == c->size ? size : size - size % BLOCK;
      if (zero_blocks (c, part, f) < 0)
        return -1;
    }
    else {
      part = size < part ? size : part;
      if (feed_part (c, bytes, (size_t)part, f) < 0)
        return -1;
    }
    if (bytes != NULL)
      bytes += part;
    size -= part;
  }
  return 0;
}

int
content_end (struct content *c, struct fault *f)
{
  if (c->position != c->size)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s gives %llu of the %llu bytes of the disk", c->decoder,
                      (unsigned long long)c->position,
                      (unsigned long long)c->size);
  return 0;
}
