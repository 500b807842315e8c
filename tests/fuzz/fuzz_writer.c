/* SPDX-License-Identifier: Apache-2.0 */
/* Both writers by a program: byte 0 cluster bits, 1 flags, 2..5 size of the
   disk in sectors, then (u16 cluster, u8 count, u8 kind) again and again.  What
   the reader finds is what was set, and the refcounts are right. */
#include <config.h>

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "image/check.h"
#include "image/extent.h"
#include "image/layout.h"
#include "image/placer.h"
#include "image/qcow2.h"
#include "image/source.h"

#define CLUSTERS_MAX UINT64_C (2048)
#define DISK_MAX (UINT64_C (2) << 20)
#define FILE_MAX (4u << 20)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

struct program {
  struct layout_params params;
  uint64_t clusters;
  uint8_t *kinds; /* of each cluster */
};

struct file {
  uint8_t *data;
  size_t size;
};

struct look {
  const struct program *p;
  const struct file *file;
};

static int
write_file (void *opaque, uint64_t offset, const void *data, size_t size,
            struct fault *f)
{
  struct file *file = opaque;

  (void)f;
  if (offset + size > file->size) {
    file->data = realloc (file->data, offset + size);
    assert (file->data != NULL);
    memset (file->data + file->size, 0, offset + size - file->size);
    file->size = offset + size;
  }
  memcpy (file->data + offset, data, size);
  return 0;
}

static enum extent_kind
expected (const struct program *p, uint64_t cluster)
{
  enum extent_kind kind = p->kinds[cluster];

  if (kind == EXTENT_ZERO && p->params.backing == NULL)
    return EXTENT_ABSENT;
  if (kind == EXTENT_ZERO && p->params.version == 2)
    return EXTENT_DATA;
  return kind;
}

static int
look (const struct extent *e, void *opaque, struct fault *f)
{
  const struct look *l = opaque;
  unsigned bits = l->p->params.cluster_bits;

  (void)f;
  for (uint64_t at = e->start; at < e->start + e->length;
       at += UINT64_C (1) << bits) {
    assert (e->kind == expected (l->p, at >> bits));
    if (e->kind == EXTENT_DATA)
      assert (get_be32 (l->file->data + e->host + (at - e->start))
              == (uint32_t)(at >> bits));
  }
  return 0;
}

static void
verify (const struct program *p, const struct file *file)
{
  struct qcow2_expect expect = { .backing = QCOW2_BACKING_EXACT,
                                 .parent = p->params.backing,
                                 .virtual_size = p->params.virtual_size };
  struct look l = { p, file };
  struct source *src = source_memory (file->data, file->size);
  struct check_report report;
  struct qcow2_header h;
  struct qcow2 *q = NULL;
  struct fault f = FAULT_INIT;

  assert (qcow2_open (src, &expect, &q, &f) == 0);
  assert (qcow2_map (q, 0, p->params.virtual_size, look, &l, &f) == 0);
  assert (check_image (src, NULL, NULL, &h, &report, &f) == 0);
  assert (report.leaked == 0 && report.wrong == 0 && report.flags == 0);
  assert (h.version == p->params.version);
  qcow2_close (q);
  source_free (src);
}

static void
put_cluster (const struct program *p, struct file *file, uint64_t offset,
             uint64_t cluster)
{
  uint8_t number[4];

  put_be32 (number, (uint32_t)cluster);
  write_file (file, offset, number, sizeof number, NULL);
  write_file (file, offset + (UINT64_C (1) << p->params.cluster_bits) - 1, "",
              1, NULL);
}

static void
by_layout (const struct program *p)
{
  struct layout *l = NULL;
  struct file file = { NULL, 0 };
  struct fault f = FAULT_INIT;
  size_t meta;

  assert (layout_new (&p->params, &l, &f) == 0);
  for (uint64_t i = 0; i < p->clusters; i++)
    if (p->kinds[i] == EXTENT_DATA)
      assert (layout_set_data (l, i, 1, &f) == 0);
    else if (p->kinds[i] == EXTENT_ZERO)
      assert (layout_set_zero (l, i, 1, &f) == 0);
  assert (layout_seal (l, &f) == 0);
  if (layout_file_size (l) <= FILE_MAX) {
    meta = layout_data_offset (l);
    file.size = layout_file_size (l);
    file.data = calloc (1, file.size);
    assert (file.data != NULL);
    layout_meta_read (l, 0, file.data, meta / 2 + 3);
    layout_meta_read (l, meta / 2 + 3, file.data + meta / 2 + 3,
                      meta - meta / 2 - 3);
    for (uint64_t i = 0; i < p->clusters; i++)
      if (layout_is_data (l, i)) {
        uint64_t offset = layout_cluster_offset (l, i);

        assert (layout_guest_of (l, offset >> p->params.cluster_bits) == i);
        put_cluster (p, &file, offset, i);
      }
    verify (p, &file);
  }
  free (file.data);
  layout_free (l);
}

static void
by_placer (const struct program *p)
{
  struct placer *l = NULL;
  struct file file = { NULL, 0 };
  struct fault f = FAULT_INIT;
  uint64_t size = 0;
  uint64_t offset;

  assert (placer_new (&p->params, &l, &f) == 0);
  for (uint64_t k = 0; k < p->clusters; k++) {
    uint64_t i = p->clusters - 1 - k;
    int rc = 0;

    if (p->kinds[i] == EXTENT_ZERO)
      rc = placer_set_zero (l, i, 1, &f);
    assert (rc >= 0);
    if (p->kinds[i] != EXTENT_DATA && rc == 0)
      continue;
    assert (placer_take (l, i, 1, &offset, &f) == 0);
    if (offset > FILE_MAX)
      break;
    put_cluster (p, &file, offset, i);
  }
  if (file.size <= FILE_MAX) {
    assert (placer_write_tables (l, write_file, &file, &size, &f) == 0);
    assert (placer_write_header (l, write_file, &file, &f) == 0);
    assert (size == file.size);
    verify (p, &file);
  }
  free (file.data);
  placer_free (l);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct program p = { .clusters = 0 };

  if (size < 6)
    return 0;
  p.params.cluster_bits = 9 + data[0] % 8;
  p.params.version = 2 + data[1] % 2;
  if ((data[1] & 2) != 0) {
    p.params.backing = "../20261120T010000Z/b.qcow2";
    p.params.backing_format = "qcow2";
  }
  p.params.virtual_size = CLUSTERS_MAX << p.params.cluster_bits;
  if (p.params.virtual_size > DISK_MAX)
    p.params.virtual_size = DISK_MAX;
  p.params.virtual_size
      = get_be32 (data + 2) % (p.params.virtual_size / 512 + 1) * 512;
  p.clusters
      = (p.params.virtual_size + (UINT64_C (1) << p.params.cluster_bits) - 1)
        >> p.params.cluster_bits;
  p.kinds = calloc (p.clusters + 1, 1);
  assert (p.kinds != NULL);
  for (size_t at = 6; at + 4 <= size; at += 4) {
    uint64_t cluster = get_be16 (data + at);

    for (unsigned n = 0; n <= data[at + 2]; n++)
      if (cluster + n < p.clusters)
        p.kinds[cluster + n] = data[at + 3] % 3;
  }
  by_layout (&p);
  by_placer (&p);
  free (p.kinds);
  return 0;
}
