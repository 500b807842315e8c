/* SPDX-License-Identifier: Apache-2.0 */
/* The merge against a model that knows each sector: random chains of layers
   with different cluster sizes and lengths, maps with and without a stop, maps
   in blocks, and reads in odd pieces. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "image/chain.h"
#include "image/qcow2.h"
#include "image/source.h"
#include "tests/unit/imagefile.h"
#include "tests/unit/unit.h"

#define KIB UINT64_C (1024)
#define SECTOR 512
#define SECTORS_MAX 4096 /* 2 MiB */
#define LAYERS_MAX 5
#define BLOCK (16 * KIB)

enum { M_ABSENT, M_ZERO, M_DATA };

struct model_layer {
  uint64_t sectors;
  bool raw;
  uint8_t kind[SECTORS_MAX];
  uint8_t byte[SECTORS_MAX];
};

struct model {
  struct model_layer layers[LAYERS_MAX];
  struct imagefile *files[LAYERS_MAX];
  struct source *sources[LAYERS_MAX];
  unsigned count;
  struct chain *chain;
};

static uint64_t
random_next (uint64_t *seed)
{
  *seed = *seed * UINT64_C (6364136223846793005) + 1442695040888963407;
  return *seed >> 33;
}

static void
set_sectors (struct model_layer *m, uint64_t start, uint64_t count, int kind,
             uint8_t byte)
{
  for (uint64_t i = start; i < start + count && i < SECTORS_MAX; i++) {
    m->kind[i] = (uint8_t)kind;
    m->byte[i] = byte;
  }
}

static void
add_extended (struct imagefile *file, struct model_layer *m, uint64_t cluster,
              uint64_t per_cluster, uint64_t *seed)
{
  uint64_t data = random_next (seed) << 31 ^ random_next (seed);
  uint32_t allocated = (uint32_t)data;
  uint32_t zero = (uint32_t)(random_next (seed) & ~allocated);
  uint8_t byte = (uint8_t)(random_next (seed) % 255 + 1);
  uint64_t entry;

  if (allocated == 0)
    return;
  imagefile_data (file, cluster, byte);
  entry = imagefile_get (file, imagefile_entry (file, cluster), 8);
  imagefile_set2 (file, cluster, entry, (uint64_t)zero << 32 | allocated);
  for (unsigned i = 0; i < 32; i++) {
    uint64_t sub = per_cluster / 32;
    int kind = allocated >> i & 1 ? M_DATA : zero >> i & 1 ? M_ZERO : M_ABSENT;

    set_sectors (m, cluster * per_cluster + i * sub, sub, kind, byte);
  }
}

static void
make_qcow2 (struct imagefile *file, struct model_layer *m, uint64_t *seed)
{
  uint64_t cluster_size = UINT64_C (1) << file->bits;
  uint64_t per_cluster = cluster_size / SECTOR;
  uint64_t clusters = (m->sectors * SECTOR + cluster_size - 1) / cluster_size;

  for (uint64_t i = 0; i < clusters; i++) {
    uint64_t r = random_next (seed) % 8;

    if (r < 3) {
      uint8_t byte = (uint8_t)(random_next (seed) % 255 + 1);

      if (file->extended) {
        add_extended (file, m, i, per_cluster, seed);
        continue;
      }
      imagefile_data (file, i, byte);
      set_sectors (m, i * per_cluster, per_cluster, M_DATA, byte);
    }
    else if (r == 3) {
      if (file->extended)
        imagefile_set2 (file, i, 0, UINT64_C (0xffffffff00000000));
      else
        imagefile_set (file, i, 1);
      set_sectors (m, i * per_cluster, per_cluster, M_ZERO, 0);
    }
  }
}

static struct model *
make_model (uint64_t seed, bool open_ended)
{
  static const unsigned sizes[] = { 9, 10, 12, 14, 16 };
  struct model *model = calloc (1, sizeof *model);
  struct fault f = FAULT_INIT;

  assert_non_null (model);
  model->chain = chain_new ();
  model->count = 1 + (unsigned)(random_next (&seed) % LAYERS_MAX);
  for (unsigned i = 0; i < model->count; i++) {
    struct qcow2_expect expect = { .backing = QCOW2_BACKING_ANY };
    struct model_layer *m = &model->layers[i];
    bool last = i + 1 == model->count;
    unsigned bits = sizes[random_next (&seed) % COUNT_OF (sizes)];

    m->sectors = 1 + random_next (&seed) % SECTORS_MAX;
    m->raw = last && !open_ended && random_next (&seed) % 3 == 0;
    model->files[i]
        = imagefile_new (3, bits, m->sectors * SECTOR,
                         bits >= 14 && random_next (&seed) % 2 == 0);
    if (m->raw) {
      struct imagefile *file = model->files[i];

      file->data = realloc (file->data, m->sectors * SECTOR);
      file->size = m->sectors * SECTOR;
      for (uint64_t s = 0; s < m->sectors; s++) {
        set_sectors (m, s, 1, M_DATA, (uint8_t)random_next (&seed));
        memset (file->data + s * SECTOR, m->byte[s], SECTOR);
      }
    }
    else {
      make_qcow2 (model->files[i], m, &seed);
      if (!last || open_ended)
        imagefile_backing (model->files[i], "below", "qcow2");
    }
    model->sources[i]
        = source_memory (model->files[i]->data, model->files[i]->size);
    model->sources[i]->align = random_next (&seed) % 2 == 0 ? 1 : SOURCE_ALIGN;
    if ((m->raw
             ? chain_add_raw (model->chain, model->sources[i],
                              m->sectors * SECTOR, &f)
             : chain_add_qcow2 (model->chain, model->sources[i], &expect, &f))
        < 0)
      fail_msg ("%s", f.text);
  }
  return model;
}

static void
free_model (struct model *model)
{
  chain_free (model->chain);
  for (unsigned i = 0; i < model->count; i++) {
    source_free (model->sources[i]);
    imagefile_free (model->files[i]);
  }
  free (model);
}

/* What the layers 0..STOP-1 say about a sector, and which of them. */
static int
model_kind (const struct model *model, uint64_t sector, unsigned stop,
            bool whole, unsigned *layer)
{
  for (unsigned i = 0; i < stop; i++) {
    const struct model_layer *m = &model->layers[i];

    *layer = i;
    if (sector >= m->sectors) {
      *layer = i - 1;
      return whole ? M_ABSENT : M_ZERO;
    }
    if (m->kind[sector] != M_ABSENT)
      return m->kind[sector];
  }
  return M_ABSENT;
}

static uint8_t
model_byte (const struct model *model, uint64_t sector)
{
  unsigned layer;

  return model_kind (model, sector, model->count, true, &layer) == M_DATA
             ? model->layers[layer].byte[sector]
             : 0;
}

struct checked {
  const struct model *model;
  uint64_t at;
  uint64_t end;
  unsigned stop;
  bool whole;
  bool blocks;
  struct extent last;
};

static void
check_sector (const struct checked *c, const struct extent *e, uint64_t at)
{
  unsigned layer = 0;
  int kind = model_kind (c->model, at / SECTOR, c->stop, c->whole, &layer);
  const struct source *src;

  if (e->kind == EXTENT_MIXED)
    return;
  if (c->blocks && c->whole && kind == M_ABSENT && e->kind == EXTENT_ZERO)
    kind = M_ZERO;
  assert_int_equal (kind, e->kind == EXTENT_DATA   ? M_DATA
                          : e->kind == EXTENT_ZERO ? M_ZERO
                                                   : M_ABSENT);
  if (e->kind != EXTENT_DATA)
    return;
  assert_int_equal (layer, e->layer);
  src = c->model->sources[layer];
  assert_true (e->host + (at - e->start) < src->size);
  assert_int_equal (c->model->files[layer]->data[e->host + (at - e->start)],
                    c->model->layers[layer].byte[at / SECTOR]);
}

static int
check_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct checked *c = opaque;

  (void)f;
  assert_int_equal (e->start, c->at);
  assert_true (e->length > 0 && e->length <= c->end - c->at);
  for (uint64_t at = e->start; at < e->start + e->length; at += SECTOR)
    check_sector (c, e, at);
  if (c->blocks) {
    assert_int_equal (e->start % BLOCK, 0);
    assert_true ((e->start + e->length) % BLOCK == 0
                 || e->start + e->length == c->end);
    if (e->kind == EXTENT_DATA) {
      assert_int_equal (e->host % SOURCE_ALIGN, 0);
      assert_true (e->host + e->length <= c->model->sources[e->layer]->size);
    }
  }
  /* nothing is left that could have been joined */
  if (c->last.length != 0 && c->last.kind == e->kind
      && c->last.layer == e->layer)
    assert_true (e->kind == EXTENT_DATA
                 && c->last.host + c->last.length != e->host);
  c->last = *e;
  c->at += e->length;
  return 0;
}

static void
check_map (struct model *model, unsigned stop, bool blocks)
{
  uint64_t size = chain_size (model->chain);
  struct checked c = { .model = model,
                       .end = size,
                       .stop = stop == CHAIN_WHOLE ? model->count : stop,
                       .blocks = blocks };
  struct fault f = FAULT_INIT;
  int rc;

  c.whole = c.stop == model->count && chain_complete (model->chain);
  if (blocks)
    rc = chain_map_blocks (model->chain, 0, size, stop, BLOCK, check_extent, &c,
                           &f);
  else
    rc = chain_map (model->chain, 0, size, stop, check_extent, &c, &f);
  if (rc < 0)
    fail_msg ("%s", f.text);
  assert_int_equal (c.at, size);
}

static void
check_reads (struct model *model, uint64_t seed)
{
  uint64_t size = chain_size (model->chain);
  uint8_t *all = malloc (size);
  struct fault f = FAULT_INIT;

  assert_non_null (all);
  assert_int_equal (chain_read (model->chain, 0, all, size, &f), 0);
  for (uint64_t i = 0; i < size; i++)
    assert_int_equal (all[i], model_byte (model, i / SECTOR));
  for (unsigned i = 0; i < 200; i++) {
    uint64_t at = random_next (&seed) % size;
    uint64_t n = random_next (&seed) % (size - at) % 100000;
    uint8_t *part = malloc (n + 1);

    assert_non_null (part);
    assert_int_equal (chain_read (model->chain, at, part, n, &f), 0);
    assert_memory_equal (part, all + at, n);
    free (part);
  }
  assert_int_equal (chain_read (model->chain, size - 1, all, 2, &f), -1);
  free (all);
}

static void
test_random_chains (void **state)
{
  (void)state;
  for (uint64_t seed = 1; seed <= 120; seed++) {
    struct model *model = make_model (seed, false);

    assert_true (chain_complete (model->chain));
    check_map (model, CHAIN_WHOLE, false);
    check_map (model, CHAIN_WHOLE, true);
    for (unsigned stop = 1; stop <= model->count; stop++) {
      check_map (model, stop, false);
      check_map (model, stop, true);
    }
    check_reads (model, seed);
    free_model (model);
  }
}

static int
ignore (const struct extent *e, void *opaque, struct fault *f)
{
  (void)e;
  (void)opaque;
  (void)f;
  return 0;
}

/* Read the first byte of an extent: there, or refused. */
static int
read_first (const struct extent *e, void *opaque, struct fault *f)
{
  struct chain *c = opaque;
  struct fault why = FAULT_INIT;
  bool absent = e->kind == EXTENT_ABSENT;
  uint8_t byte;

  (void)f;
  assert_int_equal (chain_read (c, e->start, &byte, 1, &why), absent ? -1 : 0);
  assert_int_equal (why.code, absent ? FAULT_CORRUPT : FAULT_NONE);
  return 0;
}

/* A chain that ends above a backing file gives maps, and the bytes that it
   has. */
static void
test_open_ended (void **state)
{
  (void)state;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    struct model *model = make_model (seed, true);
    struct fault f = FAULT_INIT;

    assert_false (chain_complete (model->chain));
    check_map (model, model->count, false);
    assert_int_equal (
        chain_map (model->chain, 0, SECTOR, CHAIN_WHOLE, ignore, NULL, &f), -1);
    assert_non_null (strstr (f.text, "backing file \"below\" is not in the"));
    fault_reset (&f);
    assert_int_equal (chain_map (model->chain, 0, chain_size (model->chain),
                                 model->count, read_first, model->chain, &f),
                      0);
    free_model (model);
  }
}

/* One changed part of a block, and what lies below is not there. */
static void
test_partial (void **state)
{
  struct imagefile *file = imagefile_new (3, 12, 256 * KIB, false);
  struct qcow2_expect expect = { .backing = QCOW2_BACKING_ANY };
  struct chain *c = chain_new ();
  struct fault f = FAULT_INIT;
  struct source *src;

  (void)state;
  imagefile_backing (file, "below", "raw");
  for (unsigned i = 16; i < 32; i++)
    imagefile_data (file, i, 1);
  imagefile_set (file, 33, 1);
  src = source_memory (file->data, file->size);
  assert_int_equal (chain_add_qcow2 (c, src, &expect, &f), 0);
  assert_int_equal (
      chain_map_blocks (c, 0, 128 * KIB, 1, 64 * KIB, ignore, NULL, &f), 0);
  assert_int_equal (
      chain_map_blocks (c, 128 * KIB, 128 * KIB, 1, 64 * KIB, ignore, NULL, &f),
      -1);
  assert_non_null (strstr (f.text, "guest offset 131072 was changed"));
  chain_free (c);
  source_free (src);
  imagefile_free (file);
}

static int
collect_kinds (const struct extent *e, void *opaque, struct fault *f)
{
  char *kinds = opaque;
  size_t n = strlen (kinds);

  (void)f;
  assert_true (n < 15);
  kinds[n] = "AZDPM"[e->kind];
  return 0;
}

/* The last cluster is cut by the end of the container: read as zeros. */
static void
test_cut (void **state)
{
  struct imagefile *file = imagefile_new (3, 17, 512 * KIB, false);
  struct chain *c = chain_new ();
  struct fault f = FAULT_INIT;
  char kinds[16] = "";
  uint8_t out[512];
  struct source *src;

  (void)state;
  imagefile_entry (file, 0);
  imagefile_data (file, 1, 7);
  file->size -= 70 * KIB;
  src = source_memory (file->data, file->size);
  src->align = SOURCE_ALIGN;
  assert_int_equal (chain_add_qcow2 (c, src, NULL, &f), 0);
  assert_int_equal (chain_map_blocks (c, 0, 512 * KIB, CHAIN_WHOLE, 16 * KIB,
                                      collect_kinds, kinds, &f),
                    0);
  assert_string_equal (kinds, "ADMA");
  assert_int_equal (
      chain_read (c, 128 * KIB + 58 * KIB - 256, out, sizeof out, &f), 0);
  for (unsigned i = 0; i < sizeof out; i++)
    assert_int_equal (out[i], i < 256 ? 7 : 0);
  assert_int_equal (chain_read (c, 255 * KIB, out, sizeof out, &f), 0);
  assert_int_equal (out[0], 0);
  chain_free (c);
  source_free (src);
  imagefile_free (file);
}

static void
test_refused (void **state)
{
  struct imagefile *file = imagefile_new (3, 12, 256 * KIB, false);
  struct source *src = source_memory (file->data, file->size);
  struct chain *c = chain_new ();
  struct fault f = FAULT_INIT;

  (void)state;
  assert_int_equal (chain_size (c), 0);
  assert_int_equal (chain_read (c, 0, NULL, 0, &f), -1);
  fault_reset (&f);
  assert_int_equal (chain_add_raw (c, src, file->size + 512, &f), -1);
  assert_non_null (strstr (f.text, "but must have"));
  fault_reset (&f);
  assert_int_equal (chain_add_qcow2 (c, src, NULL, &f), 0);
  assert_int_equal (chain_add_qcow2 (c, src, NULL, &f), -1);
  assert_non_null (strstr (f.text, "has no backing file"));
  fault_reset (&f);
  assert_int_equal (chain_map (c, 0, 512, 2, ignore, NULL, &f), -1);
  fault_reset (&f);
  assert_int_equal (chain_map (c, 0, 512, 0, ignore, NULL, &f), -1);
  fault_reset (&f);
  assert_int_equal (chain_map (c, 256 * KIB, 512, 1, ignore, NULL, &f), -1);
  fault_reset (&f);
  assert_int_equal (
      chain_map_blocks (c, 512, 64 * KIB, 1, 64 * KIB, ignore, NULL, &f), -1);
  assert_int_equal (f.code, FAULT_INTERNAL);
  chain_free (c);
  source_free (src);
  imagefile_free (file);
}

/* A compressed cluster that is seen through the holes of smaller ones. */
static void
test_packed (void **state)
{
  struct imagefile *top = imagefile_new (3, 9, 64 * KIB, false);
  struct imagefile *low = imagefile_new (3, 12, 64 * KIB, false);
  struct qcow2_expect expect = { .backing = QCOW2_BACKING_ANY };
  struct chain *c = chain_new ();
  struct fault f = FAULT_INIT;
  struct source *src[2];
  uint8_t stored[5 + 4096] = { 0x01, 0x00, 0x10, 0xff, 0xef };
  uint8_t out[12 * 1024];
  uint64_t at;

  (void)state;
  memset (stored + 5, 0x77, 4096);
  imagefile_backing (top, "low", "qcow2");
  imagefile_data (top, 9, 0xaa);
  imagefile_set (top, 11, 1);
  imagefile_entry (low, 0);
  at = imagefile_alloc (low, 3) + 3;
  imagefile_packed (low, 1, at, imagefile_zlib, imagefile_zlib_size);
  imagefile_packed (low, 2, at + 4096, stored, sizeof stored);
  src[0] = source_memory (top->data, top->size);
  src[1] = source_memory (low->data, low->size);
  assert_int_equal (chain_add_qcow2 (c, src[0], &expect, &f), 0);
  assert_int_equal (chain_add_qcow2 (c, src[1], &expect, &f), 0);
  assert_int_equal (chain_read (c, 0, out, sizeof out, &f), 0);
  for (unsigned i = 0; i < sizeof out; i++) {
    unsigned sector = i / 512;

    assert_int_equal (out[i], sector == 9                  ? 0xaa
                              : sector == 11 || sector < 8 ? 0
                              : sector >= 16               ? 0x77
                                                           : i % 16);
  }
  assert_int_equal (chain_read (c, 4096 + 1537, out, 100, &f), 0);
  assert_int_equal (chain_read (c, 6145, out, 100, &f), 0);
  assert_int_equal (out[5], 6150 % 16);
  chain_free (c);
  for (unsigned i = 0; i < 2; i++)
    source_free (src[i]);
  imagefile_free (top);
  imagefile_free (low);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_random_chains), cmocka_unit_test (test_open_ended),
    cmocka_unit_test (test_partial),       cmocka_unit_test (test_refused),
    cmocka_unit_test (test_packed),        cmocka_unit_test (test_cut),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
