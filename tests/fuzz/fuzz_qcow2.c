/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a qcow2 container: header, tables, refcounts, data.  Nothing
   may be read outside of the container, the map has no gap, and what it calls
   data is not more than the container holds. */
#include <config.h>

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "image/chain.h"
#include "image/check.h"
#include "image/qcow2.h"
#include "image/source.h"

#define READ_MAX (256u << 10)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

struct walk {
  struct source *src;
  uint64_t at;
  uint64_t data_bytes;
  uint64_t cluster_size;
};

static int
take (const struct extent *e, void *opaque, struct fault *f)
{
  struct walk *w = opaque;

  (void)f;
  assert (e->start == w->at && e->length > 0);
  w->at += e->length;
  if (e->kind == EXTENT_DATA) {
    /* only the last cluster may be cut by the end */
    assert ((e->host & ~(w->cluster_size - 1)) < w->src->size);
    w->data_bytes += e->length;
  }
  if (e->kind == EXTENT_PACKED)
    assert (e->host < w->src->size && e->packed_size <= w->src->size - e->host
            && e->packed_skip + e->length <= w->cluster_size);
  return 0;
}

static void
header_alone (const uint8_t *data, size_t size)
{
  struct qcow2_header h;
  struct fault f = FAULT_INIT;

  if (qcow2_parse (data, size, size, &h, &f) < 0)
    assert (f.code == FAULT_CORRUPT && f.text[0] != '\0');
  fault_reset (&f);
  /* as if it were the beginning of a large one */
  if (qcow2_parse (data, size, UINT64_C (1) << 40, &h, &f) < 0)
    assert (f.code == FAULT_CORRUPT);
}

static void
read_some (struct source *src, uint64_t virtual_size)
{
  static const struct qcow2_expect any = { .backing = QCOW2_BACKING_NONE };
  struct chain *c = chain_new ();
  struct fault f = FAULT_INIT;
  uint8_t *out = malloc (READ_MAX);

  assert (out != NULL);
  if (chain_add_qcow2 (c, src, &any, &f) == 0) {
    uint64_t n = virtual_size < READ_MAX ? virtual_size : READ_MAX;

    if (chain_read (c, 0, out, n, &f) < 0)
      assert (f.code == FAULT_CORRUPT);
    fault_reset (&f);
    if (virtual_size > n && chain_read (c, virtual_size - n, out, n, &f) < 0)
      assert (f.code == FAULT_CORRUPT);
  }
  chain_free (c);
  free (out);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static const struct qcow2_expect any = { .backing = QCOW2_BACKING_ANY };
  struct source *src = source_memory (data, size);
  struct walk w = { .src = src };
  struct qcow2 *q = NULL;
  struct fault f = FAULT_INIT;
  struct qcow2_header h;
  struct check_report report;
  uint64_t virtual_size = 0;

  header_alone (data, size);
  if (qcow2_open (src, &any, &q, &f) == 0) {
    virtual_size = qcow2_header (q)->virtual_size;
    w.cluster_size = UINT64_C (1) << qcow2_header (q)->cluster_bits;
    if (qcow2_map (q, 0, virtual_size, take, &w, &f) == 0) {
      assert (w.at == virtual_size);
      assert (w.data_bytes <= size + w.cluster_size);
      fault_reset (&f);
      if (check_image (src, NULL, NULL, &h, &report, &f) < 0)
        assert (f.code == FAULT_CORRUPT);
      read_some (src, virtual_size);
    }
    else {
      assert (f.code == FAULT_CORRUPT);
    }
  }
  else {
    assert (f.code == FAULT_CORRUPT);
  }
  qcow2_close (q);
  source_free (src);
  return 0;
}
