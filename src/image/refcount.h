/* SPDX-License-Identifier: Apache-2.0 */
/* The refcounts that a qcow2 container records.  A reader of data needs none;
   they tell whether an image is sound and may be written to by QEMU. */
#ifndef REFCOUNT_H
#define REFCOUNT_H

#include <stdint.h>

#include "base/cleanup.h"

struct fault;
struct qcow2_header;
struct refcount;
struct source;

/* Read the refcount table.  SRC and HEADER are borrowed. */
int refcount_open (struct source *src, const struct qcow2_header *header,
                   struct refcount **out, struct fault *f);
void refcount_free (struct refcount *r);
CLEANUP_DEFINE (refcount_free, struct refcount);
/* The recorded count of a cluster, 0 where no block is.  -1: a block that is
   not aligned or lies beyond the container. */
int refcount_get (struct refcount *r, uint64_t cluster, uint64_t *value,
                  struct fault *f);
/* Offset of refcount block number I; 0 when there is none or I is beyond the
   table. */
uint64_t refcount_block (const struct refcount *r, uint64_t i);
/* Entries of the table, and clusters that one block counts. */
uint64_t refcount_table_entries (const struct refcount *r);
uint64_t refcount_per_block (const struct refcount *r);

#endif /* REFCOUNT_H */
