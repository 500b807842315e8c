/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a qcow2 container: cluster 0 in, checked fields out.

   Where QEMU is laxer (it does not ask whether the L1 table lies in the file,
   or cuts an odd size to sectors) this is stricter: such an image reads
   differently than it claims. */
#include <config.h>

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "image/qcow2.h"

#define V2_HEADER_SIZE 72
#define V3_HEADER_SIZE 104
#define REFCOUNT_ORDER_MAX 6
#define SNAPSHOT_ENTRY_MIN 40

enum extension_type {
  EXTENSION_END = 0,
  EXTENSION_BACKING_FORMAT = 0xe2792aca,
  EXTENSION_BITMAPS = 0x23852875,
  EXTENSION_CRYPTO = 0x0537be77,
  EXTENSION_DATA_FILE = 0x44415441,
};

/* Cluster 0; what lies behind the end of the container reads as zeros. */
struct view {
  const uint8_t *data;
  size_t size;
  uint64_t container_size;
};

static void
view_get (const struct view *v, uint64_t offset, void *out, size_t size)
{
  memset (out, 0, size);
  if (offset >= v->size)
    return;
  if (size > v->size - offset)
    size = v->size - (size_t)offset;
  memcpy (out, v->data + offset, size);
}

static uint32_t
view_u32 (const struct view *v, uint64_t offset)
{
  uint8_t raw[4];

  view_get (v, offset, raw, sizeof raw);
  return get_be32 (raw);
}

static uint64_t
view_u64 (const struct view *v, uint64_t offset)
{
  uint8_t raw[8];

  view_get (v, offset, raw, sizeof raw);
  return get_be64 (raw);
}

static int
parse_version (const struct view *v, struct qcow2_header *h, struct fault *f)
{
  if (v->container_size < V2_HEADER_SIZE || v->size < V2_HEADER_SIZE)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "not a qcow2 image: %" PRIu64
                      " bytes are less than a header",
                      v->container_size);
  if (view_u32 (v, 0) != QCOW2_MAGIC)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "not a qcow2 image: it does not begin with QFI\\xfb; "
                      "is its format raw?");
  h->version = view_u32 (v, 4);
  if (h->version != 2 && h->version != 3)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "qcow version %u is not supported, only 2 and 3",
                      h->version);
  h->cluster_bits = view_u32 (v, 20);
  if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN
      || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "cluster_bits is %u, must be %d to %d", h->cluster_bits,
                      QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
  if (v->container_size >> h->cluster_bits >= QCOW2_CLUSTERS_MAX)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "a container of %" PRIu64
                      " bytes has too many clusters of %u bytes",
                      v->container_size, 1u << h->cluster_bits);
  return 0;
}

/* Bits, refcount order, header length and compression type of version 3. */
static int
parse_version3 (const struct view *v, struct qcow2_header *h, struct fault *f)
{
  h->header_size = V2_HEADER_SIZE;
  h->refcount_order = 4;
  if (h->version == 2)
    return 0;
  h->incompatible = view_u64 (v, 72);
  h->compatible = view_u64 (v, 80);
  h->autoclear = view_u64 (v, 88);
  h->refcount_order = view_u32 (v, 96);
  h->header_size = view_u32 (v, 100);
  if (h->header_size < V3_HEADER_SIZE || h->header_size % 8 != 0
      || h->header_size > 1u << h->cluster_bits)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "header length is %" PRIu32
                      ", must be a multiple of 8 from %d to the cluster size",
                      h->header_size, V3_HEADER_SIZE);
  if (h->refcount_order > REFCOUNT_ORDER_MAX)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "refcount order is %u, must be 0 to %d",
                      h->refcount_order, REFCOUNT_ORDER_MAX);
  if (h->header_size > V3_HEADER_SIZE) {
    uint8_t type;

    view_get (v, V3_HEADER_SIZE, &type, 1);
    if (type > QCOW2_COMPRESSION_ZSTD)
      return fault_set (f, FAULT_CORRUPT, 0, "compression type %u is not known",
                        type);
    h->compression = type;
  }
  return 0;
}

static int
check_features (struct qcow2_header *h, struct fault *f)
{
  const uint64_t known = QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT
                         | QCOW2_INCOMPATIBLE_DATA_FILE
                         | QCOW2_INCOMPATIBLE_COMPRESSION
                         | QCOW2_INCOMPATIBLE_EXTENDED_L2;
  bool typed = (h->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION) != 0;

  if ((h->incompatible & ~known) != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "needs unknown features (incompatible bits 0x%" PRIx64
                      "); a newer chainlift may know them",
                      h->incompatible & ~known);
  if ((h->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "is marked as corrupt; repair it with qemu-img check -r");
  if ((h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE) != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "has its data in another file, which is never opened");
  if (typed != (h->compression != QCOW2_COMPRESSION_ZLIB))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "compression type %d does not fit its feature bit",
                      (int)h->compression);
  h->extended_l2 = (h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0;
  if (h->extended_l2 && h->cluster_bits < QCOW2_EXTENDED_BITS_MIN)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "extended L2 entries need clusters of 16 KiB, not %u",
                      1u << h->cluster_bits);
  return 0;
}

/* A table of SIZE bytes at OFFSET must be aligned, behind cluster 0 and
   wholly in the container. */
static int
check_table (const struct qcow2_header *h, uint64_t container_size,
             const char *what, uint64_t offset, uint64_t size, struct fault *f)
{
  uint64_t cluster_size = UINT64_C (1) << h->cluster_bits;

  if (offset % cluster_size != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s offset 0x%" PRIx64 " is not cluster aligned", what,
                      offset);
  if (size == 0)
    return 0;
  if (offset < cluster_size)
    return fault_set (f, FAULT_CORRUPT, 0, "%s overlaps the header", what);
  if (offset > container_size || size > container_size - offset)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s (%" PRIu64 " bytes at 0x%" PRIx64
                      ") ends beyond the container of %" PRIu64 " bytes",
                      what, size, offset, container_size);
  return 0;
}

static int
parse_l1 (const struct view *v, struct qcow2_header *h, struct fault *f)
{
  unsigned entry_bits = h->extended_l2 ? 4 : 3;
  unsigned span_bits = 2 * h->cluster_bits - entry_bits;
  uint64_t needed;

  h->virtual_size = view_u64 (v, 24);
  h->l1_entries = view_u32 (v, 36);
  h->l1_offset = view_u64 (v, 40);
  if (h->virtual_size > QCOW2_VIRTUAL_SIZE_MAX || h->virtual_size % 512 != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "virtual size %" PRIu64
                      " is not a multiple of 512 up to 2^61",
                      h->virtual_size);
  if (h->l1_entries > QCOW2_L1_SIZE_MAX / 8)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "L1 table of %" PRIu32 " entries is larger than 32 MiB",
                      h->l1_entries);
  needed = h->virtual_size >> span_bits;
  if ((h->virtual_size & ((UINT64_C (1) << span_bits) - 1)) != 0)
    needed++;
  if (needed > h->l1_entries)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "L1 table has %" PRIu32 " entries, a virtual size of "
                      "%" PRIu64 " needs %" PRIu64,
                      h->l1_entries, h->virtual_size, needed);
  h->l1_needed = (uint32_t)needed;
  return check_table (h, v->container_size, "L1 table", h->l1_offset,
                      UINT64_C (8) * h->l1_entries, f);
}

static int
parse_refcounts (const struct view *v, struct qcow2_header *h, struct fault *f)
{
  uint64_t size;

  h->reftable_offset = view_u64 (v, 48);
  h->reftable_clusters = view_u32 (v, 56);
  size = (uint64_t)h->reftable_clusters << h->cluster_bits;
  if (h->reftable_clusters == 0)
    return fault_set (f, FAULT_CORRUPT, 0, "has no refcount table");
  if (size > QCOW2_REFTABLE_SIZE_MAX)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "refcount table of %" PRIu32
                      " clusters is larger than 8 MiB",
                      h->reftable_clusters);
  return check_table (h, v->container_size, "refcount table",
                      h->reftable_offset, size, f);
}

/* The offset is checked even when there are none: QEMU does. */
static int
parse_snapshots (const struct view *v, struct qcow2_header *h, struct fault *f)
{
  h->snapshot_count = view_u32 (v, 60);
  h->snapshots_offset = view_u64 (v, 64);
  if (h->snapshot_count > QCOW2_SNAPSHOTS_MAX)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "has %" PRIu32 " internal snapshots, more than %d",
                      h->snapshot_count, QCOW2_SNAPSHOTS_MAX);
  if (h->snapshots_offset > INT64_MAX)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "snapshot table offset 0x%" PRIx64 " is too large",
                      h->snapshots_offset);
  return check_table (h, v->container_size, "snapshot table",
                      h->snapshots_offset,
                      (uint64_t)h->snapshot_count * SNAPSHOT_ENTRY_MIN, f);
}

static int
parse_extension (const struct view *v, struct qcow2_header *h, uint32_t type,
                 uint64_t offset, uint32_t size, struct fault *f)
{
  switch (type) {
  case EXTENSION_BACKING_FORMAT:
    if (size > QCOW2_FORMAT_MAX)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "backing format of %" PRIu32 " bytes is longer than %d",
                        size, QCOW2_FORMAT_MAX);
    memset (h->backing_format, 0, sizeof h->backing_format);
    view_get (v, offset, h->backing_format, size);
    return 0;
  case EXTENSION_DATA_FILE:
    return fault_set (f, FAULT_CORRUPT, 0,
                      "names a data file, which is never opened");
  case EXTENSION_CRYPTO:
    return fault_set (f, FAULT_CORRUPT, 0,
                      "has an encryption header, but is not encrypted");
  case EXTENSION_BITMAPS:
    if (size < 24)
      return fault_set (
          f, FAULT_CORRUPT, 0,
          "bitmaps extension of %" PRIu32 " bytes is shorter than 24", size);
    h->bitmap_count = view_u32 (v, offset);
    h->bitmaps_size = view_u64 (v, offset + 8);
    h->bitmaps_offset = view_u64 (v, offset + 16);
    return 0;
  default:
    return 0; /* extensions that a reader does not know may be ignored */
  }
}

static int
parse_extensions (const struct view *v, struct qcow2_header *h, uint64_t end,
                  struct fault *f)
{
  uint64_t offset = h->header_size;

  while (end - offset >= 8) {
    uint32_t type = view_u32 (v, offset);
    uint32_t size = view_u32 (v, offset + 4);
    uint64_t padded = ((uint64_t)size + 7) & ~UINT64_C (7);

    offset += 8;
    if (type == EXTENSION_END)
      return 0;
    if (size > end - offset)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "header extension 0x%08" PRIx32 " of %" PRIu32
                        " bytes is larger than its room",
                        type, size);
    if (parse_extension (v, h, type, offset, size, f) < 0)
      return -1;
    if (padded >= end - offset)
      return 0;
    offset += padded;
  }
  return 0;
}

/* `qemu-img rebase -b ""` leaves an offset and the length 0: no backing. */
static int
parse_backing (const struct view *v, struct qcow2_header *h, struct fault *f)
{
  uint64_t offset = view_u64 (v, 8);
  uint32_t size = view_u32 (v, 16);
  uint64_t cluster_size = UINT64_C (1) << h->cluster_bits;

  if (offset == 0)
    return parse_extensions (v, h, cluster_size, f);
  if (offset < h->header_size || offset > cluster_size)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "backing file name at 0x%" PRIx64
                      " is outside of the rest of cluster 0",
                      offset);
  if (size > QCOW2_BACKING_MAX || size > cluster_size - offset)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "backing file name of %" PRIu32 " bytes is too long",
                      size);
  if (size > 0 && (offset > v->size || size > v->size - offset))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "backing file name ends beyond the container");
  view_get (v, offset, h->backing, size);
  if (memchr (h->backing, '\0', size) != NULL)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "backing file name has a zero byte in it");
  return parse_extensions (v, h, offset, f);
}

int
qcow2_parse (const uint8_t *data, size_t size, uint64_t container_size,
             struct qcow2_header *h, struct fault *f)
{
  struct view v = { data, size, container_size };
  uint32_t crypt;

  memset (h, 0, sizeof *h);
  if (parse_version (&v, h, f) < 0)
    return -1;
  if (v.size > UINT64_C (1) << h->cluster_bits)
    v.size = (size_t)1 << h->cluster_bits;
  if (parse_version3 (&v, h, f) < 0 || check_features (h, f) < 0)
    return -1;
  crypt = view_u32 (&v, 32);
  if (crypt != 0)
    return fault_set (
        f, FAULT_CORRUPT, 0,
        "is encrypted (method %" PRIu32 "), which is not supported", crypt);
  if (parse_l1 (&v, h, f) < 0 || parse_refcounts (&v, h, f) < 0
      || parse_snapshots (&v, h, f) < 0)
    return -1;
  return parse_backing (&v, h, f);
}

static bool
is_volume_name (const struct qcow2_header *h, const struct qcow2_expect *expect)
{
  const char *s = h->backing;
  size_t len;

  if (strcmp (s, expect->parent) == 0)
    return true;
  if (expect->image == NULL || strncmp (s, "../", 3) != 0)
    return false;
  s += 3;
  len = strlen (expect->image);
  return strncmp (s, expect->image, len) == 0 && s[len] == '/'
         && strcmp (s + len + 1, expect->parent) == 0;
}

static int
check_backing (const struct qcow2_header *h, const struct qcow2_expect *expect,
               struct fault *f)
{
  bool none = expect->backing == QCOW2_BACKING_NONE || expect->parent == NULL
              || expect->parent[0] == '\0'
              || strcmp (expect->parent, UUID_BLANK) == 0;
  bool ok;

  if (expect->backing == QCOW2_BACKING_ANY)
    return 0;
  if (none && h->backing[0] != '\0')
    return fault_set (f, FAULT_CORRUPT, 0,
                      "has the backing file \"%s\", but must have none",
                      h->backing);
  if (none)
    return 0;
  if (h->backing[0] == '\0')
    return fault_set (f, FAULT_CORRUPT, 0,
                      "has no backing file, but must have \"%s\"",
                      expect->parent);
  ok = expect->backing == QCOW2_BACKING_VOLUME
           ? is_volume_name (h, expect)
           : strcmp (h->backing, expect->parent) == 0;
  if (!ok)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "has the backing file \"%s\", but must have \"%s\"",
                      h->backing, expect->parent);
  return 0;
}

int
qcow2_expect_check (const struct qcow2_header *h,
                    const struct qcow2_expect *expect, struct fault *f)
{
  if (check_backing (h, expect, f) < 0)
    return -1;
  if (expect->parent_format != NULL && h->backing[0] != '\0'
      && h->backing_format[0] != '\0'
      && strcmp (h->backing_format, expect->parent_format) != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "says that its backing file is %s, but that is %s",
                      h->backing_format, expect->parent_format);
  if (expect->virtual_size != 0 && expect->virtual_size != h->virtual_size)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "has a virtual size of %" PRIu64
                      " bytes, but must have %" PRIu64,
                      h->virtual_size, expect->virtual_size);
  return 0;
}
