/* SPDX-License-Identifier: Apache-2.0 */
/* Refcounts of every width, and what check_image tells about wrong ones. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "image/check.h"
#include "image/qcow2.h"
#include "image/refcount.h"
#include "image/source.h"
#include "tests/unit/imagefile.h"
#include "tests/unit/unit.h"

#define KIB UINT64_C (1024)
#define COPIED (UINT64_C (1) << 63)
#define BLOCK_AT (8 * KIB) /* the refcount block of base_image */
#define L1_AT (12 * KIB)
#define L2_AT (16 * KIB)
#define DATA_AT (20 * KIB)

/* header | reftable | refblock | L1 | L2 | data (cluster 5) */
static struct imagefile *
base_image (void)
{
  struct imagefile *file = imagefile_new (3, 12, UINT64_C (4) << 20, false);

  imagefile_data (file, 5, 0x5a);
  return file;
}

static void
keep_last (const char *problem, void *opaque)
{
  char *last = opaque;

  snprintf (last, 200, "%s", problem);
}

static int
check (const struct imagefile *file, struct check_report *r, char *last,
       struct fault *f)
{
  CLEANUP (source_free)
  struct source *src = source_memory (file->data, file->size);
  struct qcow2_header h;

  last[0] = '\0';
  return check_image (src, keep_last, last, &h, r, f);
}

static void
test_widths (void **state)
{
  (void)state;
  for (unsigned order = 0; order <= 6; order++) {
    struct imagefile *file = base_image ();
    unsigned bits = 1u << order;
    uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C (1) << bits) - 1;
    struct refcount *r = NULL;
    struct fault f = FAULT_INIT;
    struct qcow2_header h;
    struct source *src;
    uint64_t none = 1;

    for (unsigned i = 0; i < 4096; i++)
      file->data[BLOCK_AT + i] = (uint8_t)(i * 37 + 11);
    imagefile_put (file, 96, 4, order);
    src = source_memory (file->data, file->size);
    assert_int_equal (qcow2_parse (file->data, file->size, file->size, &h, &f),
                      0);
    assert_int_equal (refcount_open (src, &h, &r, &f), 0);
    assert_int_equal (refcount_per_block (r), 4096 * 8 / bits);
    assert_int_equal (refcount_block (r, 0), BLOCK_AT);
    assert_int_equal (refcount_block (r, 1 << 20), 0);
    for (uint64_t i = 0; i < refcount_per_block (r); i++) {
      uint64_t value = 1;
      uint64_t want;

      if (bits < 8) /* the lowest bits of a byte are the first cluster's */
        want = file->data[BLOCK_AT + i * bits / 8] >> i * bits % 8;
      else
        want = imagefile_get (file, BLOCK_AT + i * bits / 8, bits / 8);
      assert_int_equal (refcount_get (r, i, &value, &f), 0);
      assert_true (value == (want & mask));
    }
    assert_int_equal (refcount_get (r, UINT64_C (1) << 40, &none, &f), 0);
    assert_int_equal (none, 0);
    refcount_free (r);
    source_free (src);
    imagefile_free (file);
  }
}

struct patch {
  uint64_t offset;
  unsigned width;
  uint64_t value;
  unsigned leaked;
  unsigned wrong;
  unsigned flags;
  const char *last; /* in the last problem */
};

static const struct patch patches[] = {
  { 0, 4, 0x514649fb, 0, 0, 0, "" },
  { BLOCK_AT + 2 * 5, 2, 0, 0, 1, 1, "cluster 5: the refcount is 0" },
  { BLOCK_AT + 2 * 5, 2, 2, 1, 0, 1, "cluster 5: the refcount is 2" },
  { BLOCK_AT + 2 * 4, 2, 0, 0, 1, 1, "cluster 4: the refcount is 0" },
  { BLOCK_AT + 2 * 3, 2, 7, 1, 0, 0, "references are 1 (leaked)" },
  { BLOCK_AT + 2 * 0, 2, 0, 0, 1, 0, "cluster 0: the refcount is 0" },
  { BLOCK_AT + 2 * 6, 2, 1, 0, 0, 0, "" }, /* beyond the container */
  { L1_AT, 8, L2_AT, 0, 0, 1, "L1 entry 0x0000000000004000" },
  { L2_AT + 40, 8, DATA_AT, 0, 0, 1, "L2 entry 0x0000000000005000" },
  { L2_AT + 40, 8, 0, 1, 0, 0, "cluster 5: the refcount is 1" },
  { L2_AT + 40, 8, DATA_AT | COPIED | 1, 0, 0, 0, "" },
  { 4 * KIB, 8, 0, 0, 5, 2, "references are 1" },
};

static void
test_refcounts (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (patches); i++) {
    const struct patch *p = &patches[i];
    struct imagefile *file = base_image ();
    struct fault f = FAULT_INIT;
    struct check_report r;
    char last[200];

    imagefile_put (file, p->offset, p->width, p->value);
    if (check (file, &r, last, &f) < 0)
      fail_msg ("%zu: %s", i, f.text);
    if (r.leaked != p->leaked || r.wrong != p->wrong || r.flags != p->flags
        || strstr (last, p->last) == NULL)
      fail_msg ("%zu: leaked %d wrong %d flags %d: %s", i, (int)r.leaked,
                (int)r.wrong, (int)r.flags, last);
    imagefile_put (file, 72, 8, 1); /* dirty: nothing is compared */
    assert_int_equal (check (file, &r, last, &f), 0);
    assert_true (r.dirty && r.leaked + r.wrong + r.flags == 0);
    imagefile_free (file);
  }
}

/* A snapshot that shares the L2 table and the data with the active tree. */
static struct imagefile *
snapshot_image (void)
{
  struct imagefile *file = base_image ();
  uint64_t l1 = imagefile_alloc (file, 1);
  uint64_t table = imagefile_alloc (file, 1);

  imagefile_put (file, l1, 8, L2_AT);
  imagefile_put (file, 60, 4, 1);
  imagefile_put (file, 64, 8, table);
  imagefile_put (file, table, 8, l1);
  imagefile_put (file, table + 8, 4, 2);
  imagefile_put (file, table + 12, 2, 1);
  imagefile_put (file, table + 14, 2, 4);
  imagefile_put (file, table + 36, 4, 16);
  imagefile_put (file, BLOCK_AT + 2 * 4, 2, 2);
  imagefile_put (file, BLOCK_AT + 2 * 5, 2, 2);
  imagefile_put (file, L1_AT, 8, L2_AT);
  imagefile_put (file, L2_AT + 40, 8, DATA_AT);
  return file;
}

static void
test_snapshot (void **state)
{
  static const struct {
    uint64_t offset;
    unsigned width;
    uint64_t value;
    const char *message; /* NULL: sound */
  } table[] = {
    { 0, 4, 0x514649fb, NULL },
    { 28 * KIB, 8, 24 * KIB + 8, "is not cluster aligned" },
    { 28 * KIB, 8, 64 * KIB, "L1 table at 0x10000 lies beyond" },
    { 28 * KIB + 8, 4, 1 << 20, "larger than the container" },
    { 28 * KIB + 8, 4, (1 << 22) + 1, "entry 0 of the snapshot table is too" },
    { 28 * KIB + 36, 4, 1025, "entry 0 of the snapshot table is too" },
    { 24 * KIB + 8, 8, 64 * KIB, "L2 table at 0x10000 lies beyond" },
    { 24 * KIB + 8, 8, L2_AT + 512, "L2 table at 0x4200 is not" },
    { 60, 4, 2, NULL }, /* the second is all zero: header as an L1 of 0 */
    { 60, 4, 102, "ends beyond the container" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct imagefile *file = snapshot_image ();
    struct fault f = FAULT_INIT;
    struct check_report r;
    char last[200];
    int rc;

    imagefile_put (file, table[i].offset, table[i].width, table[i].value);
    rc = check (file, &r, last, &f);
    if (table[i].message == NULL) {
      if (rc < 0 || r.leaked + r.wrong + r.flags != 0)
        fail_msg ("%zu: %s %s", i, f.text, last);
    }
    else {
      assert_int_equal (rc, -1);
      assert_int_equal (f.code, FAULT_CORRUPT);
      if (strstr (f.text, table[i].message) == NULL)
        fail_msg ("%zu: %s", i, f.text);
    }
    imagefile_free (file);
  }
}

static void
test_bitmaps (void **state)
{
  struct imagefile *file = base_image ();
  uint64_t directory = imagefile_alloc (file, 1);
  uint64_t table = imagefile_alloc (file, 1);
  uint64_t bits = imagefile_alloc (file, 1);
  struct fault f = FAULT_INIT;
  struct check_report r;
  char last[200];

  (void)state;
  imagefile_put (file, 112, 4, 0x23852875);
  imagefile_put (file, 116, 4, 24);
  imagefile_put (file, 120, 4, 1);
  imagefile_put (file, 128, 8, 32);
  imagefile_put (file, 136, 8, directory);
  imagefile_put (file, directory, 8, table);
  imagefile_put (file, directory + 8, 4, 2);
  imagefile_put (file, directory + 18, 2, 1);
  imagefile_put (file, table, 8, bits);
  imagefile_put (file, table + 8, 8, 1); /* all ones, no cluster */
  assert_int_equal (check (file, &r, last, &f), 0);
  assert_int_equal (r.leaked, 3); /* stale: the bit says so */
  imagefile_put (file, 88, 8, 1);
  assert_int_equal (check (file, &r, last, &f), 0);
  assert_int_equal (r.leaked + r.wrong + r.flags, 0);
  imagefile_put (file, directory + 8, 4, UINT32_MAX);
  assert_int_equal (check (file, &r, last, &f), -1);
  assert_non_null (strstr (f.text, "larger than the container"));
  imagefile_free (file);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_widths),
    cmocka_unit_test (test_refcounts),
    cmocka_unit_test (test_snapshot),
    cmocka_unit_test (test_bitmaps),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
