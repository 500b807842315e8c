/* SPDX-License-Identifier: Apache-2.0 */
/* In the layout data stand in guest order, so that a run of the guest is a run
   of the file. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "image/extent.h"
#include "image/layout.h"
#include "job/flat.h"
#include "repo/reader.h"
#include "wire/digest.h"

struct flat {
  struct reader *reader;
  struct layout *layout; /* NULL: raw */
  uint64_t size;
  uint64_t data;
};

static int
mark_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct flat *flat = opaque;
  uint64_t first = e->start / DIGEST_BLOCK;

  if (cancel_check (f) < 0)
    return -1;
  flat->data += e->length;
  if (flat->layout == NULL)
    return 0;
  return layout_set_data (flat->layout, first,
                          DIGEST_BLOCKS (e->start + e->length) - first, f);
}

static int
check_size (const struct reader *reader, uint64_t virtual_size, struct fault *f)
{
  if (virtual_size >= reader_size (reader))
    return 0;
  return fault_set (f, FAULT_INTERNAL, 0,
                    "%llu bytes do not fit into a file of %llu",
                    (unsigned long long)reader_size (reader),
                    (unsigned long long)virtual_size);
}

int
flat_new (struct reader *reader, const struct flat_params *params,
          struct flat **out, struct fault *f)
{
  CLEANUP (flat_free) struct flat *flat = xcalloc (1, sizeof *flat);
  uint64_t guest = reader_size (reader);
  struct layout_params layout
      = { .virtual_size = params->virtual_size, .version = params->version };

  if (layout.virtual_size == 0)
    layout.virtual_size = guest;
  if (check_size (reader, layout.virtual_size, f) < 0)
    return -1;
  flat->reader = reader;
  flat->size = layout.virtual_size;
  if ((params->cow && layout_new (&layout, &flat->layout, f) < 0)
      || reader_map (reader, 0, guest, mark_extent, flat, f) < 0
      || (params->cow && layout_seal (flat->layout, f) < 0))
    return -1;
  if (params->cow)
    flat->size = layout_file_size (flat->layout);
  *out = steal_ptr (&flat);
  return 0;
}

void
flat_free (struct flat *flat)
{
  if (flat == NULL)
    return;
  layout_free (flat->layout);
  free (flat);
}

int
flat_resize (struct flat *flat, uint64_t virtual_size, struct fault *f)
{
  if (check_size (flat->reader, virtual_size, f) < 0)
    return -1;
  if (flat->layout != NULL)
    return layout_set_size (flat->layout, virtual_size, f);
  flat->size = virtual_size;
  return 0;
}

uint64_t
flat_size (const struct flat *flat)
{
  return flat->size;
}

uint64_t
flat_data (const struct flat *flat)
{
  return flat->data;
}

struct walk {
  const struct flat *flat;
  flat_fn fn;
  void *opaque;
  uint64_t at; /* all before it has been told */
};

/* Tell [w->at, END) in pieces of KIND, at most STEP bytes each. */
static int
tell (struct walk *w, enum flat_kind kind, uint64_t end, uint64_t step,
      struct fault *f)
{
  while (w->at < end) {
    struct flat_piece piece = { .kind = kind, .at = w->at };

    piece.size = end - w->at < step ? end - w->at : step;
    if (w->fn (&piece, w->opaque, f) < 0)
      return -1;
    w->at += piece.size;
  }
  return 0;
}

static int
tell_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct walk *w = opaque;
  const struct flat *flat = w->flat;
  uint64_t end = e->start + e->length;

  if (flat->layout == NULL
      && tell (w, FLAT_HOLE_RAW, e->start, FLAT_HOLE, f) < 0)
    return -1;
  for (uint64_t guest = e->start; guest < end;) {
    struct flat_piece piece = { .kind = FLAT_DATA, .guest = guest };

    piece.length = end - guest < FLAT_PIECE ? end - guest : FLAT_PIECE;
    piece.at = flat->layout != NULL
                   ? layout_cluster_offset (flat->layout, guest / DIGEST_BLOCK)
                   : guest;
    piece.size = DIGEST_BLOCKS (piece.length) * DIGEST_BLOCK;
    if (piece.size > flat->size - piece.at)
      piece.size = flat->size - piece.at;
    if (w->fn (&piece, w->opaque, f) < 0)
      return -1;
    w->at = piece.at + piece.size;
    guest += piece.length;
  }
  return 0;
}

int
flat_walk (const struct flat *flat, uint64_t from, flat_fn fn, void *opaque,
           struct fault *f)
{
  struct walk w = { .flat = flat, .fn = fn, .opaque = opaque, .at = from };

  if (flat->layout != NULL
      && tell (&w, FLAT_TABLE, layout_data_offset (flat->layout), FLAT_PIECE, f)
             < 0)
    return -1;
  if (reader_map (flat->reader, 0, reader_size (flat->reader), tell_extent, &w,
                  f)
      < 0)
    return -1;
  return flat->layout != NULL
             ? 0
             : tell (&w, FLAT_HOLE_RAW, flat->size, FLAT_HOLE, f);
}

int
flat_read (const struct flat *flat, const struct flat_piece *piece, void *data,
           struct fault *f)
{
  if (piece->kind == FLAT_TABLE) {
    layout_meta_read (flat->layout, piece->at, data, (size_t)piece->size);
    return 0;
  }
  /* The last cluster of a qcow2 file is written whole. */
  memset ((uint8_t *)data + piece->length, 0,
          (size_t)(piece->size - piece->length));
  return reader_read (flat->reader, piece->guest, data, (size_t)piece->length,
                      f);
}

int
flat_digests (const struct flat *flat, const struct flat_piece *piece,
              void *data, uint8_t *digests, struct fault *f)
{
  uint64_t first = piece->guest / DIGEST_BLOCK;

  if (piece->kind == FLAT_TABLE) {
    if (flat_read (flat, piece, data, f) < 0)
      return -1;
    digest_table (data, (size_t)piece->size, digests);
    return 0;
  }
  for (uint64_t i = 0; i < DIGEST_BLOCKS (piece->size); i++) {
    uint8_t *out = digests + i * DIGEST_SIZE;
    int rc = 0;

    if (piece->kind == FLAT_DATA)
      rc = reader_digest (flat->reader, first + i, out, f);
    if (rc < 0)
      return -1;
    if (rc == 0)
      memcpy (out, digest_zero (), DIGEST_SIZE);
  }
  return 0;
}
