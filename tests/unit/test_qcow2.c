/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of one qcow2 container: every limit with its message, every kind
   of entry with its extent. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "image/extent.h"
#include "image/qcow2.h"
#include "image/source.h"
#include "tests/unit/imagefile.h"
#include "tests/unit/unit.h"

#define KIB UINT64_C (1024)
#define EXTENTS_MAX 64
#define VOLUME "11111111-2222-4333-8444-555555555555"
#define IMAGE "aaaaaaaa-2222-4333-8444-555555555555"

struct extents {
  struct extent e[EXTENTS_MAX];
  size_t count;
};

static int
collect (const struct extent *e, void *opaque, struct fault *f)
{
  struct extents *x = opaque;

  (void)f;
  assert_true (x->count < EXTENTS_MAX);
  x->e[x->count++] = *e;
  return 0;
}

/* Open and walk all of FILE. */
static int
walk (const struct imagefile *file, const struct qcow2_expect *expect,
      struct extents *x, struct fault *f)
{
  CLEANUP (source_free)
  struct source *src = source_memory (file->data, file->size);
  CLEANUP (qcow2_close) struct qcow2 *q = NULL;

  x->count = 0;
  if (qcow2_open (src, expect, &q, f) < 0)
    return -1;
  return qcow2_map (q, 0, qcow2_header (q)->virtual_size, collect, x, f);
}

static void
refuse (const struct imagefile *file, const struct qcow2_expect *expect,
        const char *message)
{
  struct fault f = FAULT_INIT;
  struct extents x;

  assert_int_equal (walk (file, expect, &x, &f), -1);
  if (strstr (f.text, message) == NULL)
    fail_msg ("\"%s\" is not in \"%s\"", message, f.text);
  assert_int_equal (f.code, FAULT_CORRUPT);
  assert_non_null (strstr (f.text, "memory: "));
}

static void
accept (const struct imagefile *file, const struct qcow2_expect *expect,
        struct extents *x)
{
  struct fault f = FAULT_INIT;

  if (walk (file, expect, x, &f) < 0)
    fail_msg ("refused: %s", f.text);
}

static void
assert_extent (const struct extent *e, enum extent_kind kind, uint64_t start,
               uint64_t length, uint64_t host)
{
  assert_int_equal (e->kind, kind);
  assert_int_equal (e->start, start);
  assert_int_equal (e->length, length);
  assert_int_equal (e->host, host);
  assert_int_equal (e->layer, 0);
}

/* 64 MiB, clusters of 4 KiB (an L2 table maps 2 MiB, 32 L1 entries), data in
   cluster 5: header | reftable | refblock | L1 | L2 at 16 KiB | data at 20. */
static struct imagefile *
base_image (void)
{
  struct imagefile *file = imagefile_new (3, 12, UINT64_C (64) << 20, false);

  imagefile_data (file, 5, 0x5a);
  assert_int_equal (file->size, 24 * KIB);
  return file;
}

#define L1_AT (12 * KIB)
#define L2_AT (16 * KIB)
#define DATA_AT (20 * KIB)
#define COPIED (UINT64_C (1) << 63)

struct patch {
  uint64_t offset;
  unsigned width;
  uint64_t value;
  const char *message; /* NULL: accepted */
};

static const struct patch header_patches[] = {
  { 0, 4, 0x514649fa, "does not begin with QFI" },
  { 4, 4, 1, "qcow version 1 is not supported" },
  { 4, 4, 4, "qcow version 4 is not supported" },
  { 20, 4, 0, "cluster_bits is 0" },
  { 20, 4, 8, "cluster_bits is 8" },
  { 20, 4, 22, "cluster_bits is 22" },
  { 20, 4, 31, "cluster_bits is 31" },
  { 20, 4, 63, "cluster_bits is 63" },
  { 20, 4, 64, "cluster_bits is 64" },
  { 20, 4, UINT32_MAX, "cluster_bits is 4294967295" },
  { 24, 8, (UINT64_C (64) << 20) + 1, "not a multiple of 512" },
  { 24, 8, (UINT64_C (1) << 61) + 512, "up to 2^61" },
  { 24, 8, UINT64_MAX - 511, "up to 2^61" },
  { 24, 8, UINT64_C (66) << 20, "needs 33" },
  { 24, 8, UINT64_C (1) << 56, "L1 table has 32 entries" },
  { 24, 8, 0, NULL },
  { 24, 8, UINT64_C (1) << 20, NULL },
  { 32, 4, 1, "encrypted (method 1)" },
  { 32, 4, 2, "encrypted (method 2)" },
  { 32, 4, 3, "encrypted (method 3)" },
  { 36, 4, 0, "has 0 entries" },
  { 36, 4, 31, "has 31 entries" },
  { 36, 4, 33, NULL },
  { 36, 4, 1 << 22, "ends beyond the container" },
  { 36, 4, (1 << 22) + 1, "larger than 32 MiB" },
  { 36, 4, UINT32_MAX, "larger than 32 MiB" },
  { 40, 8, 0, "L1 table overlaps the header" },
  { 40, 8, 12 * KIB + 8, "L1 table offset 0x3008 is not cluster aligned" },
  { 40, 8, 24 * KIB, "L1 table (256 bytes at 0x6000) ends beyond" },
  { 40, 8, UINT64_C (1) << 50, "ends beyond the container" },
  { 40, 8, UINT64_C (1) << 63, "ends beyond the container" },
  { 40, 8, 4 * KIB, "L1 table and refcount table overlap" },
  { 48, 8, 0, "refcount table overlaps the header" },
  { 48, 8, 4 * KIB + 512, "refcount table offset 0x1200 is not" },
  { 48, 8, 24 * KIB, "refcount table (4096 bytes at 0x6000) ends beyond" },
  { 48, 8, 12 * KIB, "L1 table and refcount table overlap" },
  { 56, 4, 0, "has no refcount table" },
  { 56, 4, 6, "ends beyond the container" },
  { 56, 4, 2049, "larger than 8 MiB" },
  { 56, 4, UINT32_MAX, "larger than 8 MiB" },
  { 60, 4, 65537, "has 65537 internal snapshots" },
  { 60, 4, UINT32_MAX, "internal snapshots" },
  { 60, 4, 1, "snapshot table overlaps the header" },
  { 64, 8, 512, "snapshot table offset 0x200 is not cluster aligned" },
  { 64, 8, UINT64_C (1) << 63, "snapshot table offset" },
  { 64, 8, 1 << 20, NULL }, /* there are none */
  { 72, 8, 1, NULL },       /* dirty */
  { 72, 8, 2, "is marked as corrupt" },
  { 72, 8, 4, "has its data in another file" },
  { 72, 8, 8, "compression type 0 does not fit" },
  { 72, 8, 16, "extended L2 entries need clusters of 16 KiB" },
  { 72, 8, 32, "incompatible bits 0x20" },
  { 72, 8, UINT64_C (1) << 63, "incompatible bits 0x8000000000000000" },
  { 80, 8, UINT64_MAX, NULL }, /* may be ignored */
  { 88, 8, UINT64_MAX, NULL },
  { 96, 4, 7, "refcount order is 7" },
  { 96, 4, 6, NULL },
  { 96, 4, UINT32_MAX, "refcount order" },
  { 100, 4, 0, "header length is 0" },
  { 100, 4, 96, "header length is 96" },
  { 100, 4, 104, NULL },
  { 100, 4, 108, "header length is 108" },
  { 100, 4, 4096, NULL },
  { 100, 4, 4104, "header length is 4104" },
  { 100, 4, UINT32_MAX - 7, "header length" },
  { 104, 1, 1, "compression type 1 does not fit" },
  { 104, 1, 2, "compression type 2 is not known" },
  { 112, 4, 0x0537be77, "has an encryption header" },
  { 112, 4, 0x44415441, "names a data file" },
  { 112, 4, 0x12345678, NULL }, /* unknown, length 0 */
  { 112, 8, UINT64_C (0x2385287500000018), NULL },
  { 112, 8, UINT64_C (0x2385287500000017), "bitmaps extension of 23 bytes" },
  { 112, 8, UINT64_C (0x12345678ffffffff), "header extension 0x12345678" },
  { 112, 8, UINT64_C (0x1234567800000f89), "header extension 0x12345678" },
  { 112, 8, UINT64_C (0x1234567800000f88), NULL },
  { 112, 8, UINT64_C (0xe2792aca00000010), "backing format of 16 bytes" },
  { 8, 8, 104, "backing file name at 0x68" },
  { 8, 8, 4097, "backing file name at 0x1001" },
  { 8, 8, UINT64_C (1) << 63, "backing file name at 0x8000000000000000" },
  { 8, 8, 120, NULL }, /* length 0: `qemu-img rebase -b ""` */
};

static void
test_header (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (header_patches); i++) {
    const struct patch *p = &header_patches[i];
    struct imagefile *file = base_image ();
    struct extents x;

    imagefile_put (file, p->offset, p->width, p->value);
    if (p->message != NULL)
      refuse (file, NULL, p->message);
    else
      accept (file, NULL, &x);
    imagefile_free (file);
  }
}

static void
test_header_sizes (void **state)
{
  struct imagefile *file = base_image ();

  (void)state;
  for (size_t size = 0; size < 12 * KIB + 256; size++) {
    file->size = size;
    refuse (file, NULL,
            size < 72        ? "are less than a header"
            : size < 104     ? "header length is"
            : size < 8 * KIB ? ""
                             : "ends beyond the container");
  }
  imagefile_free (file);
}

static void
test_names (void **state)
{
  static const struct {
    uint64_t at;
    uint64_t size;
    const char *message;
  } table[] = {
    { 120, 1024, "backing file name of 1024 bytes is too long" },
    { 4000, 97, "backing file name of 97 bytes is too long" },
    { 4000, 96, "has the backing file" },
    { 120, 5, "has a zero byte in it" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct imagefile *file = base_image ();

    memset (file->data + 120, 'b', 4);
    memset (file->data + 4000, 'b', 96);
    imagefile_put (file, 8, 8, table[i].at);
    imagefile_put (file, 16, 4, table[i].size);
    refuse (file, NULL, table[i].message);
    imagefile_free (file);
  }
}

static const struct patch entry_patches[] = {
  /* L1 */
  { L1_AT, 8, 0, NULL },
  { L1_AT, 8, COPIED, NULL },
  { L1_AT, 8, L2_AT, NULL }, /* COPIED tells a reader nothing */
  { L1_AT, 8, L2_AT | 1, "L1 entry 0 (0x0000000000004001) has reserved" },
  { L1_AT, 8, L2_AT | UINT64_C (1) << 56, "has reserved bits" },
  { L1_AT, 8, L2_AT + 512, "L1 entry 0 (0x0000000000004200) is not cluster" },
  { L1_AT, 8, 24 * KIB, "L1 entry 0 (0x0000000000006000) lies beyond" },
  { L1_AT, 8, UINT64_C (1) << 55, "lies beyond the container" },
  { L1_AT, 8, 12 * KIB, "L1 entry 0 (0x0000000000003000) names a cluster" },
  { L1_AT, 8, 4 * KIB, "names a cluster that is in use" },
  { L1_AT + 8, 8, L2_AT, "L1 entry 1 (0x0000000000004000) names a cluster" },
  /* L2; entry 5 has the data at 20 KiB */
  { L2_AT, 8, COPIED, NULL },
  { L2_AT, 8, DATA_AT, "names a cluster that is in use" },
  { L2_AT, 8, L2_AT, "names a cluster that is in use" },
  { L2_AT, 8, L1_AT, "L2 entry 0x0000000000003000 of guest offset 0 names" },
  { L2_AT, 8, 4 * KIB, "names a cluster that is in use" },
  { L2_AT, 8, DATA_AT + 512, "is not cluster aligned" },
  { L2_AT, 8, 24 * KIB, "lies beyond the container" },
  { L2_AT, 8, UINT64_C (1) << 55, "lies beyond the container" },
  { L2_AT, 8, 8 * KIB | 2, "has reserved bits" },
  { L2_AT, 8, 8 * KIB | UINT64_C (1) << 61, "has reserved bits" },
  { L2_AT, 8, 8 * KIB | UINT64_C (1) << 56, "has reserved bits" },
  { L2_AT + 8, 8, 1, NULL },
  { L2_AT + 8, 8, DATA_AT | 1, NULL }, /* preallocation is never read */
  { L2_AT + 8, 8, UINT64_C (1) << 50 | 1, NULL },
  { L2_AT + 8, 8, (DATA_AT + 512) | 1, "is not cluster aligned" },
  /* the last entry of the table */
  { L2_AT + 511 * 8, 8, 24 * KIB, "of guest offset 2093056 lies beyond" },
  /* compressed: x = 58 */
  { L2_AT, 8, UINT64_C (1) << 62 | 100, "compressed data in the header" },
  { L2_AT, 8, UINT64_C (1) << 62 | (24 * KIB), "lies beyond the container" },
  { L2_AT, 8, UINT64_C (1) << 62 | DATA_AT, "in use" },
  { L2_AT, 8, UINT64_C (1) << 62 | L1_AT, "in a cluster that is in use" },
};

static void
test_entries (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (entry_patches); i++) {
    const struct patch *p = &entry_patches[i];
    struct imagefile *file = base_image ();
    struct extents x;

    imagefile_put (file, p->offset, p->width, p->value);
    if (p->message != NULL)
      refuse (file, NULL, p->message);
    else
      accept (file, NULL, &x);
    imagefile_free (file);
  }
}

/* A table that lies across the end of the container. */
static void
test_cut (void **state)
{
  struct imagefile *file = base_image ();
  struct extents x;

  (void)state;
  file->size = DATA_AT + 1; /* only the last data cluster may be cut */
  accept (file, NULL, &x);
  file->size = DATA_AT;
  refuse (file, NULL, "lies beyond the container");
  file->size = DATA_AT - 1;
  refuse (file, NULL, "L1 entry 0 (0x8000000000004000) lies beyond");
  imagefile_free (file);
}

static void
test_kinds (void **state)
{
  struct imagefile *file = imagefile_new (3, 12, 64 * KIB, false);
  uint64_t a = imagefile_data (file, 1, 1);
  uint64_t b = imagefile_data (file, 2, 2);
  struct extents x;

  (void)state;
  imagefile_set (file, 4, 1);
  imagefile_set (file, 5, 1 | imagefile_alloc (file, 1));
  imagefile_data (file, 6, 3);
  imagefile_set (file, 0, COPIED);
  accept (file, NULL, &x);
  assert_int_equal (x.count, 6);
  assert_extent (&x.e[0], EXTENT_ABSENT, 0, 4 * KIB, 0);
  assert_extent (&x.e[1], EXTENT_DATA, 4 * KIB, 8 * KIB, a);
  assert_int_equal (b, a + 4 * KIB);
  assert_extent (&x.e[2], EXTENT_ABSENT, 12 * KIB, 4 * KIB, 0);
  assert_extent (&x.e[3], EXTENT_ZERO, 16 * KIB, 8 * KIB, 0);
  assert_extent (&x.e[4], EXTENT_DATA, 24 * KIB, 4 * KIB, b + 8 * KIB);
  assert_extent (&x.e[5], EXTENT_ABSENT, 28 * KIB, 36 * KIB, 0);
  imagefile_free (file);

  file = imagefile_new (2, 12, 64 * KIB, false);
  imagefile_set (file, 4, 1);
  refuse (file, NULL, "is a zero cluster in version 2");
  imagefile_free (file);
}

static void
test_packed (void **state)
{
  struct imagefile *file = imagefile_new (3, 12, 64 * KIB, false);
  struct extents x;
  uint64_t at;

  (void)state;
  imagefile_entry (file, 0);
  at = imagefile_alloc (file, 2) + 4 * KIB - 1;
  imagefile_packed (file, 3, at, imagefile_zlib, imagefile_zlib_size);
  imagefile_packed (file, 4, at + 41, imagefile_zlib, imagefile_zlib_size);
  accept (file, NULL, &x);
  assert_int_equal (x.count, 4);
  assert_extent (&x.e[1], EXTENT_PACKED, 12 * KIB, 4 * KIB, at);
  assert_int_equal (x.e[1].packed_size, 513);
  assert_extent (&x.e[2], EXTENT_PACKED, 16 * KIB, 4 * KIB, at + 41);
  assert_int_equal (x.e[2].packed_size, 512 - 40);
  imagefile_set (file, 5, imagefile_get (file, imagefile_entry (file, 4), 8));
  refuse (file, NULL, "has the compressed data of another cluster");
  imagefile_set (file, 5, at / 4096 * 4096);
  refuse (file, NULL, "names a cluster that is in use");
  imagefile_set (file, 5, 0);
  /* many blobs that say to be long */
  for (unsigned i = 5; i < 16; i++)
    imagefile_set (file, i,
                   UINT64_C (1) << 62 | UINT64_C (7) << 58 | (at + 100 + i));
  refuse (file, NULL, "makes the compressed data larger than the container");
  imagefile_free (file);
}

static void
test_unpack (void **state)
{
  (void)state;
  for (unsigned zstd = 0; zstd < 2; zstd++) {
    struct imagefile *file = imagefile_new (3, 12, 64 * KIB, false);
    struct fault f = FAULT_INIT;
    struct qcow2 *q = NULL;
    struct source *src;
    struct extent e;
    uint8_t out[4096];
    uint64_t at;

    imagefile_entry (file, 0);
    at = imagefile_alloc (file, 1) + 7;
    imagefile_packed (file, 3, at, zstd ? imagefile_zstd : imagefile_zlib,
                      zstd ? imagefile_zstd_size : imagefile_zlib_size);
    imagefile_put (file, 72, 8, zstd ? 8 : 0);
    imagefile_put (file, 104, 1, zstd);
    src = source_memory (file->data, file->size);
    assert_int_equal (qcow2_open (src, NULL, &q, &f), 0);
    assert_int_equal (qcow2_next (q, 12 * KIB + 512, 64 * KIB, &e, &f), 0);
    assert_int_equal (e.kind, EXTENT_PACKED);
    assert_int_equal (e.packed_skip, 512);
    assert_int_equal (e.length, 4096 - 512);
    assert_int_equal (qcow2_unpack (q, &e, out, &f), 0);
    for (unsigned i = 0; i < sizeof out; i++)
      assert_int_equal (out[i], i % 16);
    file->data[at + 10] ^= 0x55;
    file->data[at] ^= 0x07;
    assert_int_equal (qcow2_unpack (q, &e, out, &f), -1);
    assert_int_equal (f.code, FAULT_CORRUPT);
    assert_non_null (strstr (f.text, "compressed cluster of guest offset "
                                     "12288: "));
    qcow2_close (q);
    source_free (src);
    imagefile_free (file);
  }
}

static void
test_extended (void **state)
{
  struct imagefile *file = imagefile_new (3, 14, 128 * KIB, true);
  uint64_t sub = 512;
  struct extents x;
  uint64_t at;

  (void)state;
  imagefile_entry (file, 0);
  at = imagefile_alloc (file, 1);
  /* subclusters 0..3 data, 4..7 zero, 8 data, the rest absent */
  imagefile_set2 (file, 1, at | COPIED, UINT64_C (0x000000f00000010f));
  imagefile_set2 (file, 2, 0, UINT64_C (0xffffffff00000000));
  imagefile_set2 (file, 3, imagefile_alloc (file, 1), 0);
  accept (file, NULL, &x);
  assert_int_equal (x.count, 7);
  assert_extent (&x.e[0], EXTENT_ABSENT, 0, 16 * KIB, 0);
  assert_extent (&x.e[1], EXTENT_DATA, 16 * KIB, 4 * sub, at);
  assert_extent (&x.e[2], EXTENT_ZERO, 16 * KIB + 4 * sub, 4 * sub, 0);
  assert_extent (&x.e[3], EXTENT_DATA, 16 * KIB + 8 * sub, sub, at + 8 * sub);
  assert_extent (&x.e[4], EXTENT_ABSENT, 16 * KIB + 9 * sub, 23 * sub, 0);
  assert_extent (&x.e[5], EXTENT_ZERO, 32 * KIB, 16 * KIB, 0);
  assert_extent (&x.e[6], EXTENT_ABSENT, 48 * KIB, 80 * KIB, 0);
  imagefile_set2 (file, 4, at, UINT64_C (0x0000000100000001));
  refuse (file, NULL, "has subclusters that are both data and zero");
  imagefile_set2 (file, 4, 0, 1);
  refuse (file, NULL, "has subclusters but no cluster");
  imagefile_set2 (file, 4, 1, 0);
  refuse (file, NULL, "has reserved bits");
  imagefile_set2 (file, 4, at, 1);
  refuse (file, NULL, "names a cluster that is in use");
  imagefile_set2 (file, 4, at + 512, 0);
  refuse (file, NULL, "is not cluster aligned");
  imagefile_free (file);
}

static void
test_expect (void **state)
{
  static const struct {
    const char *name;   /* in the header */
    const char *format; /* in the header */
    struct qcow2_expect expect;
    const char *message;
  } table[] = {
    { NULL, NULL, { .backing = QCOW2_BACKING_NONE }, NULL },
    { NULL, NULL, { .backing = QCOW2_BACKING_VOLUME }, NULL },
    { NULL, NULL, { QCOW2_BACKING_VOLUME, UUID_BLANK, IMAGE, NULL, 0 }, NULL },
    { NULL,
      NULL,
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, NULL, 0 },
      "has no backing file" },
    { VOLUME, NULL, { .backing = QCOW2_BACKING_NONE }, "must have none" },
    { VOLUME, NULL, { .backing = QCOW2_BACKING_ANY }, NULL },
    { VOLUME,
      "qcow2",
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "qcow2", 0 },
      NULL },
    { VOLUME, NULL, { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "qcow2", 0 }, NULL },
    { VOLUME,
      "raw",
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "qcow2", 0 },
      "says that its backing file is raw, but that is qcow2" },
    { "../" IMAGE "/" VOLUME,
      "raw",
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "raw", 0 },
      NULL },
    { "../" VOLUME "/" VOLUME,
      "raw",
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "raw", 0 },
      "but must have \"" VOLUME "\"" },
    { "../" IMAGE "/../" IMAGE "/" VOLUME,
      "raw",
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "raw", 0 },
      "but must have" },
    { "./" VOLUME,
      "raw",
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "raw", 0 },
      "but must have" },
    { "/rhev/" VOLUME,
      "raw",
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "raw", 0 },
      "but must have" },
    { "json:{\"file\":\"/etc/shadow\"}",
      "raw",
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "raw", 0 },
      "but must have" },
    { "nbd://127.0.0.1:1/" VOLUME,
      "raw",
      { QCOW2_BACKING_VOLUME, VOLUME, IMAGE, "raw", 0 },
      "but must have" },
    { "../20261120T010000Z/d.qcow2",
      "qcow2",
      { QCOW2_BACKING_EXACT, "../20261120T010000Z/d.qcow2", NULL, "qcow2", 0 },
      NULL },
    { "../20261120T010000Z/d.qcow2 ",
      "qcow2",
      { QCOW2_BACKING_EXACT, "../20261120T010000Z/d.qcow2", NULL, "qcow2", 0 },
      "but must have" },
    { NULL, NULL, { .virtual_size = UINT64_C (64) << 20 }, NULL },
    { NULL,
      NULL,
      { .virtual_size = UINT64_C (65) << 20 },
      "virtual size of 67108864 bytes, but must have 68157440" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct imagefile *file = base_image ();
    struct extents x;

    if (table[i].name != NULL)
      imagefile_backing (file, table[i].name, table[i].format);
    if (table[i].message != NULL)
      refuse (file, &table[i].expect, table[i].message);
    else
      accept (file, &table[i].expect, &x);
    imagefile_free (file);
  }
}

/* 2 PiB in 33 MiB: every L1 entry has the same table. */
static void
test_amplification (void **state)
{
  struct imagefile *file = imagefile_new (3, 16, UINT64_C (1) << 51, false);
  struct extents x;
  uint64_t table;

  (void)state;
  table = imagefile_alloc (file, 1);
  accept (file, NULL, &x);
  assert_int_equal (x.count, 1);
  for (uint64_t i = 0; i < UINT64_C (1) << 22; i++)
    imagefile_put (file, IMAGEFILE_L1 (file) + 8 * i, 8, table);
  refuse (file, NULL, "L1 entry 1 (0x0000000002030000) names a cluster that");
  imagefile_free (file);
}

/* Small steps see the same as one walk, in any order. */
static void
test_steps (void **state)
{
  struct imagefile *file = base_image ();
  struct fault f = FAULT_INIT;
  struct qcow2 *q = NULL;
  struct source *src;
  struct extent e;

  (void)state;
  imagefile_data (file, 1000, 7);
  src = source_memory (file->data, file->size);
  assert_int_equal (qcow2_open (src, NULL, &q, &f), 0);
  for (uint64_t at = 8 * 1024 * KIB; at > 0; at -= 512) {
    uint64_t cluster = (at - 512) / 4096;

    assert_int_equal (qcow2_next (q, at - 512, at, &e, &f), 0);
    assert_int_equal (e.start, at - 512);
    assert_int_equal (e.length, 512);
    assert_int_equal (e.kind, cluster == 5 || cluster == 1000 ? EXTENT_DATA
                                                              : EXTENT_ABSENT);
    if (cluster == 5)
      assert_int_equal (e.host, DATA_AT + (at - 512) % 4096);
  }
  assert_int_equal (qcow2_end (q), file->size);
  assert_int_equal (qcow2_next (q, 5, 5, &e, &f), -1);
  assert_int_equal (f.code, FAULT_INTERNAL);
  qcow2_close (q);
  source_free (src);
  imagefile_free (file);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_header),        cmocka_unit_test (test_header_sizes),
    cmocka_unit_test (test_names),         cmocka_unit_test (test_entries),
    cmocka_unit_test (test_cut),           cmocka_unit_test (test_kinds),
    cmocka_unit_test (test_packed),        cmocka_unit_test (test_unpack),
    cmocka_unit_test (test_extended),      cmocka_unit_test (test_expect),
    cmocka_unit_test (test_amplification), cmocka_unit_test (test_steps),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
