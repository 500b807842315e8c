/* SPDX-License-Identifier: Apache-2.0 */
/* Both writers against the reader: what was set is what is read, every offset
   is where it was promised, refcounts and sizes by brute force. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "image/extent.h"
#include "image/layout.h"
#include "image/placer.h"
#include "image/qcow2.h"
#include "image/source.h"
#include "image/tables.h"
#include "tests/unit/unit.h"

#define MIB (UINT64_C (1) << 20)
#define TIB (UINT64_C (1) << 40)

enum state { ABSENT, ZERO, DATA };

/* Runs that cover a disk; the rest is absent. */
struct run {
  uint64_t cluster;
  uint64_t count;
  enum state state;
};

struct file {
  uint8_t *data;
  size_t size;
};

static uint64_t
random_next (uint64_t *seed)
{
  *seed = *seed * UINT64_C (6364136223846793005) + 1442695040888963407;
  return *seed >> 33;
}

static struct layout_params
params_of (uint64_t size, unsigned bits, unsigned version, const char *backing)
{
  struct layout_params p
      = { .virtual_size = size,
          .cluster_bits = bits,
          .version = version,
          .backing = backing,
          .backing_format = backing != NULL ? "qcow2" : NULL };

  return p;
}

/* RB and RT are enough, and one less is not. */
static void
test_fixed_point (void **state)
{
  static const unsigned bits[] = { 9, 10, 12, 16, 21 };

  (void)state;
  for (size_t b = 0; b < COUNT_OF (bits); b++) {
    struct layout_params p = params_of (MIB, bits[b], 3, NULL);
    uint64_t per_block = (UINT64_C (1) << bits[b]) / 2;
    struct fault f = FAULT_INIT;
    struct tables t;
    uint64_t seed = bits[b];

    assert_int_equal (tables_init (&t, &p, &f), 0);
    for (uint64_t i = 1; i < 60000; i++) {
      struct tables_place place = { .total = 0 };
      uint64_t m = i < 40000 ? i : random_next (&seed) % (1 << 22);

      assert_int_equal (tables_refcounts (&t, m, &place, &f), 0);
      assert_int_equal (place.total,
                        m + place.refblock_count + place.reftable_clusters);
      assert_true (place.refblock_count * per_block >= place.total);
      assert_true (place.reftable_clusters * t.entries >= place.refblock_count);
      assert_true ((place.refblock_count - 1) * per_block < place.total);
      assert_true ((place.reftable_clusters - 1) * t.entries
                   < place.refblock_count);
    }
    tables_reset (&t);
  }
}

/* The bytes that belong to a guest cluster, and are never zero. */
static void
fill (uint8_t *out, uint64_t cluster, uint64_t size)
{
  for (uint64_t i = 0; i < size; i += 8)
    put_be64 (out + i, cluster * 1000003 + i + 1);
}

static int
write_file (void *opaque, uint64_t offset, const void *data, size_t size,
            struct fault *f)
{
  struct file *file = opaque;

  (void)f;
  if (offset + size > file->size) {
    file->data = realloc (file->data, offset + size);
    assert_non_null (file->data);
    memset (file->data + file->size, 0, offset + size - file->size);
    file->size = offset + size;
  }
  memcpy (file->data + offset, data, size);
  return 0;
}

/* The state of each cluster as the reader sees it, and its data. */
struct seen {
  const struct file *file;
  uint8_t *states;
  unsigned bits;
};

static int
note (const struct extent *e, void *opaque, struct fault *f)
{
  struct seen *s = opaque;
  uint64_t size = UINT64_C (1) << s->bits;
  uint8_t *expect = malloc (size);

  (void)f;
  assert_non_null (expect);
  for (uint64_t at = e->start; at < e->start + e->length; at += size) {
    uint64_t cluster = at >> s->bits;
    uint64_t host = e->host + (at - e->start);

    s->states[cluster] = e->kind == EXTENT_DATA   ? DATA
                         : e->kind == EXTENT_ZERO ? ZERO
                                                  : ABSENT;
    if (e->kind != EXTENT_DATA)
      continue;
    fill (expect, cluster, size);
    assert_true (host + size <= s->file->size);
    assert_memory_equal (s->file->data + host, expect, size);
  }
  free (expect);
  return 0;
}

/* Every cluster of the file has the refcount 1 and no other has. */
static void
check_refcounts (const struct file *file, const struct qcow2_header *h)
{
  uint64_t size = UINT64_C (1) << h->cluster_bits;
  uint64_t total = file->size / size;
  uint64_t n = 0;

  assert_int_equal (file->size % size, 0);
  for (uint64_t i = 0; i < h->reftable_clusters * size / 8; i++) {
    uint64_t block = get_be64 (file->data + h->reftable_offset + 8 * i);

    if (block == 0)
      continue;
    assert_int_equal (n, i * size / 2);
    for (uint64_t k = 0; k < size / 2; k++, n++)
      assert_int_equal (get_be16 (file->data + block + 2 * k),
                        n < total ? 1 : 0);
  }
  assert_true (n >= total);
}

static void
check_file (const struct file *file, const struct layout_params *p,
            const uint8_t *states, uint64_t clusters)
{
  struct qcow2_expect expect = { .backing = QCOW2_BACKING_EXACT,
                                 .parent = p->backing,
                                 .parent_format = p->backing_format,
                                 .virtual_size = p->virtual_size };
  CLEANUP (source_free)
  struct source *src = source_memory (file->data, file->size);
  CLEANUP (qcow2_close) struct qcow2 *q = NULL;
  struct fault f = FAULT_INIT;
  struct seen seen = { .file = file, .bits = p->cluster_bits };

  seen.states = calloc (clusters + 1, 1);
  assert_non_null (seen.states);
  if (qcow2_open (src, &expect, &q, &f) < 0
      || qcow2_map (q, 0, p->virtual_size, note, &seen, &f) < 0)
    fail_msg ("%s", f.text);
  for (uint64_t i = 0; i < clusters; i++) {
    enum state want = states[i];

    if (want == ZERO && p->backing == NULL)
      want = ABSENT;
    if (want == ZERO && p->version == 2)
      want = DATA;
    assert_int_equal (seen.states[i], want);
  }
  assert_int_equal (qcow2_header (q)->version, p->version);
  assert_true (qcow2_end (q) <= file->size);
  check_refcounts (file, qcow2_header (q));
  free (seen.states);
}

static void
make_laid_out (const struct layout_params *p, const uint8_t *states,
               uint64_t clusters, struct file *file)
{
  CLEANUP (layout_free) struct layout *l = NULL;
  struct fault f = FAULT_INIT;
  uint64_t size = UINT64_C (1) << p->cluster_bits;
  uint64_t count = 0;
  uint64_t data = 0;

  assert_int_equal (layout_new (p, &l, &f), 0);
  assert_int_equal (layout_set_data (l, clusters, 1, &f), -1);
  fault_reset (&f);
  for (uint64_t i = 0; i < clusters; i++) {
    int rc = 0;

    if (states[i] == DATA)
      rc = layout_set_data (l, i, 1, &f);
    if (states[i] == ZERO)
      rc = layout_set_zero (l, i, 1, &f);
    assert_int_equal (rc, 0);
  }
  assert_int_equal (layout_seal (l, &f), 0);
  file->size = layout_file_size (l);
  file->data = calloc (1, file->size);
  assert_non_null (file->data);
  layout_meta_read (l, 0, file->data, layout_data_offset (l));
  for (uint64_t at = layout_next_data (l, 0, &count); count > 0;
       at = layout_next_data (l, at + count, &count))
    for (uint64_t i = at; i < at + count; i++) {
      uint64_t offset = layout_cluster_offset (l, i);

      assert_true (layout_is_data (l, i));
      assert_int_equal (offset, layout_data_offset (l) + data * size);
      assert_int_equal (layout_guest_of (l, offset / size), i);
      fill (file->data + offset, i, size);
      data++;
    }
  assert_int_equal (data, layout_data_count (l));
  assert_int_equal (file->size, layout_data_offset (l) + data * size);
  assert_int_equal (layout_guest_of (l, file->size / size), UINT64_MAX);
  assert_int_equal (layout_guest_of (l, 0), UINT64_MAX);
}

static void
make_placed (const struct layout_params *p, const uint8_t *states,
             uint64_t clusters, struct file *file)
{
  CLEANUP (placer_free) struct placer *l = NULL;
  struct fault f = FAULT_INIT;
  uint64_t size = UINT64_C (1) << p->cluster_bits;
  uint8_t *bytes = malloc (size);
  uint64_t file_size = 0;
  uint64_t offset;

  assert_non_null (bytes);
  assert_int_equal (placer_new (p, &l, &f), 0);
  /* backwards, as an order that is not the guest's */
  for (uint64_t i = clusters; i-- > 0;) {
    int rc = states[i] == ZERO ? placer_set_zero (l, i, 1, &f) : 0;

    assert_int_equal (rc, states[i] == ZERO && p->version == 2
                              && p->backing != NULL);
    if (states[i] != DATA && rc == 0)
      continue;
    assert_int_equal (placer_take (l, i, 1, &offset, &f), 0);
    assert_int_equal (placer_cluster_offset (l, i), offset);
    fill (bytes, i, size);
    write_file (file, offset, bytes, size, &f);
    assert_int_equal (placer_take (l, i, 1, &offset, &f), -1);
    assert_non_null (strstr (f.text, "is placed twice"));
    fault_reset (&f);
  }
  assert_int_equal (placer_write_header (l, write_file, file, &f), -1);
  fault_reset (&f);
  assert_int_equal (placer_write_tables (l, write_file, file, &file_size, &f),
                    0);
  assert_int_equal (file_size, file->size);
  assert_int_equal (placer_write_header (l, write_file, file, &f), 0);
  assert_int_equal (file_size, file->size);
  free (bytes);
}

static void
round_trip (uint64_t virtual_size, unsigned bits, unsigned version,
            const char *backing, const uint8_t *states)
{
  struct layout_params p = params_of (virtual_size, bits, version, backing);
  uint64_t clusters = (virtual_size + (UINT64_C (1) << bits) - 1) >> bits;

  for (int placed = 0; placed < 2; placed++) {
    struct file file = { NULL, 0 };

    if (placed)
      make_placed (&p, states, clusters, &file);
    else
      make_laid_out (&p, states, clusters, &file);
    check_file (&file, &p, states, clusters);
    free (file.data);
  }
}

static void
test_round_trip (void **state)
{
  static const unsigned bits[] = { 9, 10, 12, 14, 16 };
  uint64_t seed = 1;
  uint8_t states[3000];

  (void)state;
  for (size_t b = 0; b < COUNT_OF (bits); b++)
    for (unsigned variant = 0; variant < 8; variant++) {
      uint64_t clusters = bits[b] < 14 ? 2777 : 100;
      uint64_t size = (clusters << bits[b]) - (variant % 2 != 0 ? 512 : 0);

      for (uint64_t i = 0; i < clusters; i++) {
        uint64_t r = random_next (&seed) % 8;

        states[i] = r < 3 ? DATA : r < 5 ? ZERO : ABSENT;
        if (i % 700 > 500) /* spans without anything */
          states[i] = ABSENT;
      }
      round_trip (size, bits[b], variant % 4 < 2 ? 3 : 2,
                  variant < 4 ? NULL : "../20261120T010000Z/x.qcow2", states);
    }
}

static void
test_sizes (void **state)
{
  static const uint64_t sizes[] = { 0, 512, 1024, 65536, 65536 + 512 };
  uint8_t none[200] = { 0 };
  uint8_t all[200];

  (void)state;
  memset (all, DATA, sizeof all);
  for (size_t i = 0; i < COUNT_OF (sizes); i++)
    for (unsigned bits = 9; bits <= 16; bits += 7) {
      round_trip (sizes[i], bits, 3, NULL, none);
      round_trip (sizes[i], bits, 2, NULL, all);
    }
}

/* A worked example, and a disk whose tables are large. */
static void
test_known_offsets (void **state)
{
  struct layout_params p = params_of (1024 * MIB, 16, 3, NULL);
  CLEANUP (layout_free) struct layout *l = NULL;
  CLEANUP (layout_free) struct layout *big = NULL;
  struct fault f = FAULT_INIT;
  uint8_t word[8];

  (void)state;
  assert_int_equal (layout_new (&p, &l, &f), 0);
  assert_int_equal (layout_set_data (l, 100, 600, &f), 0);
  assert_int_equal (layout_set_data (l, 16359, 25, &f), 0);
  assert_int_equal (layout_seal (l, &f), 0);
  assert_int_equal (layout_file_size (l), 41353216);
  assert_int_equal (layout_data_offset (l), 0x60000);
  layout_meta_read (l, 40, word, 8);
  assert_int_equal (get_be64 (word), 0x30000);
  layout_meta_read (l, 48, word, 8);
  assert_int_equal (get_be64 (word), 0x10000);
  layout_meta_read (l, 0x10003, word, 5); /* unaligned */
  assert_memory_equal (word, "\0\0\2\0\0", 5);
  layout_meta_read (l, 0x30008, word, 8);
  assert_true (get_be64 (word) == UINT64_C (0x8000000000050000));

  p.virtual_size = 8 * TIB;
  assert_int_equal (layout_new (&p, &big, &f), 0);
  for (uint64_t i = 0; i < 41; i++)
    assert_int_equal (layout_set_data (big, i * 3000000, 1, &f), 0);
  assert_int_equal (layout_seal (big, &f), 0);
  assert_int_equal (layout_file_size (big), 87 * 65536);
  assert_int_equal (layout_cluster_offset (big, 120000000),
                    layout_data_offset (big) + 40 * 65536);
  assert_int_equal (
      layout_guest_of (big, layout_data_offset (big) / 65536 + 40), 120000000);
}

static void
test_refused (void **state)
{
  static const struct {
    struct layout_params params;
    const char *message;
  } table[] = {
    { { .virtual_size = 513 }, "multiple of 512" },
    { { .virtual_size = (UINT64_C (1) << 53) + 512 }, "up to 2^53" },
    { { .virtual_size = UINT64_C (1) << 52 }, "too large for clusters of" },
    { { .virtual_size = TIB, .cluster_bits = 9 }, "too large for clusters" },
    { { .virtual_size = MIB, .cluster_bits = 8 }, "cluster bits 8" },
    { { .virtual_size = MIB, .cluster_bits = 22 }, "cluster bits 22" },
    { { .virtual_size = MIB, .version = 1 }, "qcow2 version 1" },
    { { .virtual_size = MIB, .backing = "b" }, "backing format must be" },
    { { .virtual_size = MIB, .backing = "b", .backing_format = "qed" },
      "backing format must be" },
    { { .virtual_size = MIB, .backing = "", .backing_format = "raw" },
      "backing file name of 0 bytes" },
  };
  char name[1025];
  struct layout_params p
      = { .virtual_size = MIB, .backing = name, .backing_format = "raw" };
  struct layout *l = NULL;
  struct placer *placer = NULL;
  struct fault f = FAULT_INIT;

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    assert_int_equal (layout_new (&table[i].params, &l, &f), -1);
    assert_int_equal (f.code, FAULT_USAGE);
    assert_non_null (strstr (f.text, table[i].message));
    fault_reset (&f);
    assert_int_equal (placer_new (&table[i].params, &placer, &f), -1);
    fault_reset (&f);
  }
  memset (name, 'n', sizeof name - 1);
  name[1024] = '\0';
  assert_int_equal (layout_new (&p, &l, &f), -1);
  fault_reset (&f);
  name[1023] = '\0';
  assert_int_equal (layout_new (&p, &l, &f), 0);
  layout_free (l);
  p.cluster_bits = 10;
  l = NULL;
  assert_int_equal (layout_new (&p, &l, &f), -1);
  assert_non_null (strstr (f.text, "does not fit into a cluster"));
  assert_null (l);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_fixed_point), cmocka_unit_test (test_round_trip),
    cmocka_unit_test (test_sizes),       cmocka_unit_test (test_known_offsets),
    cmocka_unit_test (test_refused),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
