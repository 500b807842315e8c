/* SPDX-License-Identifier: Apache-2.0 */
/* What layout.c and placer.c share: the arithmetic of a qcow2 file that we
   write, and its cluster 0. */
#ifndef TABLES_H
#define TABLES_H

#include <stdint.h>

struct fault;
struct layout_params;

#define TABLES_ENTRY_COPIED (UINT64_C (1) << 63)
#define TABLES_ENTRY_ZERO UINT64_C (1)
/* Largest virtual size that is written; the L1 table may limit it further. */
#define TABLES_SIZE_MAX (UINT64_C (1) << 53)

struct tables {
  uint64_t virtual_size;
  unsigned cluster_bits;
  unsigned version;
  char *backing; /* NULL: stand-alone */
  char *backing_format;
  uint64_t cluster_size;
  uint64_t clusters;   /* of the guest */
  uint64_t entries;    /* of an L2 table */
  uint64_t l1_entries; /* at least 1 */
  uint64_t l1_clusters;
};

/* Where things are in a file of TOTAL clusters. */
struct tables_place {
  uint64_t reftable; /* offsets in bytes */
  uint64_t refblocks;
  uint64_t l1;
  uint64_t reftable_clusters;
  uint64_t refblock_count;
  uint64_t total;
};

/* Check PARAMS (FAULT_USAGE) and fill T; tables_reset frees the strings. */
int tables_init (struct tables *t, const struct layout_params *params,
                 struct fault *f);
void tables_reset (struct tables *t);
/* Zeros over a backing file need a data cluster. */
int tables_zero_is_data (const struct tables *t);
/* Refcount blocks and refcount table clusters of a file with M other
   clusters: fills refblock_count, reftable_clusters and total. */
int tables_refcounts (const struct tables *t, uint64_t m,
                      struct tables_place *place, struct fault *f);
/* The 8 bytes of the refcount table, or of the refcount blocks, number N. */
uint64_t tables_reftable_word (const struct tables *t,
                               const struct tables_place *place, uint64_t n);
uint64_t tables_refblock_word (const struct tables_place *place, uint64_t n);
/* Cluster 0 into OUT (cluster_size bytes). */
void tables_header (const struct tables *t, const struct tables_place *place,
                    uint8_t *out);

#endif /* TABLES_H */
