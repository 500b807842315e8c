/* SPDX-License-Identifier: Apache-2.0 */
/* One image of a draft, written as its blocks come: data clusters where the
   placer says, then the tables, then the sum.  A full has no backing file, no
   zero flags and no feature bits (any reader of qcow2 reads it).

   Memory: 2 bits a guest cluster.  The digests that come are kept in a file of
   16 bytes a guest cluster beside the image, sparse, removed at the end: its
   place needs no order and no sorting. */
#ifndef WRITER_H
#define WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "wire/digest.h"

/* Most bytes in one writer_put. */
#define WRITER_PUT_MAX (16u << 20)

struct fault;
struct writer;

struct writer_totals {
  uint64_t file_bytes;         /* of the image */
  uint64_t data;               /* guest bytes in data clusters */
  uint64_t zero;               /* guest bytes in zero clusters */
  uint64_t records;            /* in the sum */
  uint8_t digest[DIGEST_SIZE]; /* of the sum file */
};

/* Made by draft_add_disk, whose draft owns it.  DIRFD is borrowed.  BACKING is
   the string for the header or NULL.  IMAGE and SUM are names below DIRFD. */
int writer_open (int dirfd, const char *image, const char *sum,
                 uint64_t virtual_size, const char *backing,
                 struct writer **out, struct fault *f);

/* Store SIZE bytes of the guest at OFFSET: a multiple of 64 KiB, as is SIZE
   unless it ends at the end of the disk.  DIGESTS: 16 bytes for each 64 KiB
   block, already compared with the data by who received it.  Any thread, any
   order; a cluster that comes twice is FAULT_PROTO.  Blocks of zeros are
   stored as zeros. */
int writer_put (struct writer *w, uint64_t offset, const void *data,
                size_t size, const uint8_t *digests, struct fault *f);
/* The guest reads zeros there: whole clusters as in writer_put.  In a full
   this is what not writing means. */
int writer_zero (struct writer *w, uint64_t offset, uint64_t size,
                 struct fault *f);
/* Tables, sum, fsync of both.  Once, when no other call runs.  TOTALS may be
   NULL. */
int writer_finish (struct writer *w, struct writer_totals *totals,
                   struct fault *f);
/* The totals after writer_finish, or NULL before. */
const struct writer_totals *writer_totals (const struct writer *w);
/* Bytes of guest data stored so far; any thread. */
uint64_t writer_stored (const struct writer *w);
void writer_free (struct writer *w);
CLEANUP_DEFINE (writer_free, struct writer);

#endif /* WRITER_H */
