/* SPDX-License-Identifier: Apache-2.0 */
/* A qcow2 file of which every offset is known before the first byte is
   written, so that it can go into a pipe, to a hypervisor with cluster 0
   last, or be compared with what was read back.

   header | refcount table | refcount blocks | L1 | L2 tables | data in guest
   order.  Version 2 or 3, 16-bit refcounts, no feature bits; zero flags only
   over a backing file. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct fault;
struct layout;

struct layout_params {
  uint64_t virtual_size;      /* a multiple of 512 */
  unsigned cluster_bits;      /* 9..21; 0 means 16 */
  unsigned version;           /* 2 or 3; 0 means 3 */
  const char *backing;        /* NULL: stand-alone */
  const char *backing_format; /* "raw" or "qcow2"; needed with BACKING */
};

/* Parameters that cannot be written are FAULT_USAGE.  The strings are
   copied. */
int layout_new (const struct layout_params *params, struct layout **out,
                struct fault *f);
void layout_free (struct layout *l);
CLEANUP_DEFINE (layout_free, struct layout);

/* Before layout_seal: COUNT guest clusters from CLUSTER on hold data (the last
   one of a mark wins).  -1: beyond the end, or no memory. */
int layout_set_data (struct layout *l, uint64_t cluster, uint64_t count,
                     struct fault *f);
/* They read as zeros: nothing without a backing file, a zero flag over one; in
   version 2, which has no such flag, a data cluster (ask layout_is_data). */
int layout_set_zero (struct layout *l, uint64_t cluster, uint64_t count,
                     struct fault *f);
/* Compute all offsets.  -1: larger than the format can say. */
int layout_seal (struct layout *l, struct fault *f);

/* After layout_seal: another virtual size of as many clusters, which stands in
   the header alone. */
int layout_set_size (struct layout *l, uint64_t virtual_size, struct fault *f);

/* After layout_seal */
uint64_t layout_file_size (const struct layout *l);
/* Where the data begins: all before it comes from layout_meta_read. */
uint64_t layout_data_offset (const struct layout *l);
uint64_t layout_data_count (const struct layout *l); /* clusters */
uint64_t layout_cluster_size (const struct layout *l);
bool layout_is_data (const struct layout *l, uint64_t cluster);
/* Offset in the file of a guest cluster; 0 when it holds no data. */
uint64_t layout_cluster_offset (const struct layout *l, uint64_t cluster);
/* The guest cluster at a cluster (number) of the file; UINT64_MAX when that is
   not data. */
uint64_t layout_guest_of (const struct layout *l, uint64_t host_cluster);
/* The first run of data clusters at or after CLUSTER; *COUNT = 0 at the end.
   Its clusters are adjacent in the file, and the next run follows it. */
uint64_t layout_next_data (const struct layout *l, uint64_t cluster,
                           uint64_t *count);
/* SIZE bytes of the file at OFFSET (offset + size <= layout_data_offset). */
void layout_meta_read (const struct layout *l, uint64_t offset, void *data,
                       size_t size);

#endif /* LAYOUT_H */
