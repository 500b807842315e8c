/* SPDX-License-Identifier: Apache-2.0 */
/* A qcow2 file whose data clusters land in the order in which they arrive and
   whose tables are written when all have: cluster 0 (header) | data | L2
   tables | L1 | refcount blocks | refcount table.  The same subset of the
   format as layout.h.  4 bytes of memory for each cluster of a touched L2
   span.  The caller's lock covers every call. */
#ifndef PLACER_H
#define PLACER_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct fault;
struct layout_params;
struct placer;

/* Write SIZE bytes at OFFSET of the file. */
typedef int (*placer_write_fn) (void *opaque, uint64_t offset, const void *data,
                                size_t size, struct fault *f);

int placer_new (const struct layout_params *params, struct placer **out,
                struct fault *f);
void placer_free (struct placer *p);
CLEANUP_DEFINE (placer_free, struct placer);

/* Room in the file for COUNT guest clusters from CLUSTER on, in one piece: the
   caller writes count * cluster size bytes at *OFFSET (the disk's last cluster
   padded with zeros).  -1: one of them was placed before (FAULT_INTERNAL), or
   lies beyond the disk's end. */
int placer_take (struct placer *p, uint64_t cluster, uint64_t count,
                 uint64_t *offset, struct fault *f);
/* As layout_set_zero.  In version 2 over a backing file zeros need data: then
   1 is returned and nothing is done, the caller takes and writes them. */
int placer_set_zero (struct placer *p, uint64_t cluster, uint64_t count,
                     struct fault *f);
/* Offset in the file of a placed cluster; 0 when it holds no data. */
uint64_t placer_cluster_offset (const struct placer *p, uint64_t cluster);
uint64_t placer_data_count (const struct placer *p);
/* Where the next cluster would go. */
uint64_t placer_data_end (const struct placer *p);

/* Write all tables behind the data; nothing can be placed after it.  Cluster 0
   is not written: until placer_write_header (after the caller's fsync, if it
   wants that order) the file is not an image.  *FILE_SIZE is its final size;
   the last write ends there.  May be NULL. */
int placer_write_tables (struct placer *p, placer_write_fn fn, void *opaque,
                         uint64_t *file_size, struct fault *f);
int placer_write_header (struct placer *p, placer_write_fn fn, void *opaque,
                         struct fault *f);

#endif /* PLACER_H */
