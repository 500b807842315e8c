/* SPDX-License-Identifier: Apache-2.0 */
/* The fixed parts of a qcow2 file that we write: 16-bit refcounts that are
   all 1, no feature bits, header length 112 (72 in version 2). */
#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "image/layout.h"
#include "image/qcow2.h"
#include "image/tables.h"

#define V2_HEADER_SIZE 72
#define V3_HEADER_SIZE 112
#define REFCOUNT_ORDER 4
#define BACKING_FORMAT_TYPE 0xe2792acau
#define FILE_SIZE_MAX (UINT64_C (1) << 56)

/* Bytes of cluster 0 in use: header, format extension, end, name. */
static uint64_t
header_bytes (const struct tables *t)
{
  uint64_t n = (t->version == 2 ? V2_HEADER_SIZE : V3_HEADER_SIZE) + 8;

  if (t->backing != NULL)
    n += 8 + ((strlen (t->backing_format) + 7) & ~UINT64_C (7))
         + strlen (t->backing);
  return n;
}

static int
check_backing (const struct layout_params *p, struct fault *f)
{
  if (p->backing == NULL)
    return 0;
  if (p->backing[0] == '\0' || strlen (p->backing) > QCOW2_BACKING_MAX)
    return fault_set (f, FAULT_USAGE, 0,
                      "backing file name of %zu bytes, must be 1 to %d",
                      strlen (p->backing), QCOW2_BACKING_MAX);
  if (p->backing_format == NULL
      || (strcmp (p->backing_format, "raw") != 0
          && strcmp (p->backing_format, "qcow2") != 0))
    return fault_set (f, FAULT_USAGE, 0, "backing format must be raw or qcow2");
  return 0;
}

static int
check_params (const struct layout_params *p, struct fault *f)
{
  if (p->version != 0 && p->version != 2 && p->version != 3)
    return fault_set (f, FAULT_USAGE, 0, "qcow2 version %u, must be 2 or 3",
                      p->version);
  if (p->cluster_bits != 0
      && (p->cluster_bits < QCOW2_CLUSTER_BITS_MIN
          || p->cluster_bits > QCOW2_CLUSTER_BITS_MAX))
    return fault_set (f, FAULT_USAGE, 0, "cluster bits %u, must be %d to %d",
                      p->cluster_bits, QCOW2_CLUSTER_BITS_MIN,
                      QCOW2_CLUSTER_BITS_MAX);
  if (p->virtual_size % 512 != 0 || p->virtual_size > TABLES_SIZE_MAX)
    return fault_set (f, FAULT_USAGE, 0,
                      "virtual size %" PRIu64
                      ", must be a multiple of 512 up to 2^53",
                      p->virtual_size);
  return check_backing (p, f);
}

int
tables_init (struct tables *t, const struct layout_params *params,
             struct fault *f)
{
  memset (t, 0, sizeof *t);
  if (check_params (params, f) < 0)
    return -1;
  t->virtual_size = params->virtual_size;
  t->cluster_bits = params->cluster_bits != 0 ? params->cluster_bits : 16;
  t->version = params->version != 0 ? params->version : 3;
  t->cluster_size = UINT64_C (1) << t->cluster_bits;
  t->clusters = (t->virtual_size + t->cluster_size - 1) >> t->cluster_bits;
  t->entries = t->cluster_size / 8;
  t->l1_entries = (t->clusters + t->entries - 1) / t->entries;
  if (t->l1_entries == 0)
    t->l1_entries = 1;
  t->l1_clusters = (t->l1_entries * 8 + t->cluster_size - 1) >> t->cluster_bits;
  if (t->l1_entries > QCOW2_L1_SIZE_MAX / 8)
    return fault_set (f, FAULT_USAGE, 0,
                      "a disk of %" PRIu64
                      " bytes is too large for clusters of %" PRIu64,
                      t->virtual_size, t->cluster_size);
  if (params->backing != NULL) {
    t->backing = xstrdup (params->backing);
    t->backing_format = xstrdup (params->backing_format);
  }
  if (header_bytes (t) > t->cluster_size) {
    tables_reset (t);
    return fault_set (f, FAULT_USAGE, 0,
                      "backing file name does not fit into a cluster");
  }
  return 0;
}

void
tables_reset (struct tables *t)
{
  free (t->backing);
  free (t->backing_format);
  t->backing = NULL;
  t->backing_format = NULL;
}

int
tables_zero_is_data (const struct tables *t)
{
  return t->backing != NULL && t->version == 2;
}

int
tables_refcounts (const struct tables *t, uint64_t m,
                  struct tables_place *place, struct fault *f)
{
  uint64_t per_block = t->cluster_size / 2;
  uint64_t blocks = 0;
  uint64_t table = 0;
  uint64_t before;

  if (m > FILE_SIZE_MAX >> t->cluster_bits)
    return fault_set (f, FAULT_SPACE, 0, "qcow2 file would be too large");
  /* Blocks and table count themselves: grow until nothing changes. */
  do {
    before = blocks + table;
    blocks = (m + before + per_block - 1) / per_block;
    table = (blocks + t->entries - 1) / t->entries;
  } while (blocks + table != before);
  if (table > QCOW2_REFTABLE_SIZE_MAX >> t->cluster_bits
      || m + blocks + table >= FILE_SIZE_MAX >> t->cluster_bits)
    return fault_set (f, FAULT_SPACE, 0,
                      "qcow2 file of %" PRIu64 " clusters of %" PRIu64
                      " bytes is too large; use larger clusters",
                      m, t->cluster_size);
  place->refblock_count = blocks;
  place->reftable_clusters = table;
  place->total = m + blocks + table;
  return 0;
}

uint64_t
tables_reftable_word (const struct tables *t, const struct tables_place *place,
                      uint64_t n)
{
  if (n >= place->refblock_count)
    return 0;
  return place->refblocks + n * t->cluster_size;
}

uint64_t
tables_refblock_word (const struct tables_place *place, uint64_t n)
{
  const uint64_t ones = UINT64_C (0x0001000100010001);
  uint64_t first = n * 4;

  if (first + 4 <= place->total)
    return ones;
  if (first >= place->total)
    return 0;
  return ones << (64 - 16 * (place->total - first));
}

void
tables_header (const struct tables *t, const struct tables_place *place,
               uint8_t *out)
{
  size_t at = t->version == 2 ? V2_HEADER_SIZE : V3_HEADER_SIZE;

  memset (out, 0, t->cluster_size);
  put_be32 (out, QCOW2_MAGIC);
  put_be32 (out + 4, t->version);
  put_be32 (out + 20, t->cluster_bits);
  put_be64 (out + 24, t->virtual_size);
  put_be32 (out + 36, (uint32_t)t->l1_entries);
  put_be64 (out + 40, place->l1);
  put_be64 (out + 48, place->reftable);
  put_be32 (out + 56, (uint32_t)place->reftable_clusters);
  if (t->version == 3) {
    put_be32 (out + 96, REFCOUNT_ORDER);
    put_be32 (out + 100, V3_HEADER_SIZE);
  }
  if (t->backing != NULL) {
    size_t format_size = strlen (t->backing_format);
    size_t name_size = strlen (t->backing);

    put_be32 (out + at, BACKING_FORMAT_TYPE);
    put_be32 (out + at + 4, (uint32_t)format_size);
    memcpy (out + at + 8, t->backing_format, format_size);
    at += 8 + ((format_size + 7) & ~(size_t)7) + 8;
    put_be64 (out + 8, at);
    put_be32 (out + 16, (uint32_t)name_size);
    memcpy (out + at, t->backing, name_size);
  }
}
