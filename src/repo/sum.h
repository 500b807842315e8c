/* SPDX-License-Identifier: Apache-2.0 */
/* DISK-ID.sum: the digest of every data cluster of DISK-ID.qcow2, sorted by
   guest cluster.

     0  8  "clsum\r\n\x1a"
     8  4  version, 1                        all numbers little-endian
    12  1  digest: 1 = XXH3-128, canonical form
    13  3  zero
    16  4  bytes of a cluster, 65536
    20  4  zero
    24  8  virtual size of the image
    32  8  records
    40  8  zero
    48 16  XXH3-128 of bytes 0 to 47
    64     records: guest cluster 8, digest 16

   A lookup reads one page of records; which page, is kept in memory (8 bytes
   for 256 records: 4 MiB for 8 TiB of data). */
#ifndef SUM_H
#define SUM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "wire/digest.h"

#define SUM_HEADER_SIZE 64
#define SUM_RECORD_SIZE 24
#define SUM_CLUSTER_SIZE DIGEST_BLOCK
#define SUM_DIGEST_XXH3_128 1
/* Records in one file: a full image of 64 TiB. */
#define SUM_COUNT_MAX ((uint64_t)1 << 30)

struct fault;

struct sum_header {
  uint64_t virtual_size;
  uint64_t count;
};

struct sum_record {
  uint64_t cluster;
  uint8_t digest[DIGEST_SIZE];
};

void sum_header_encode (const struct sum_header *h,
                        uint8_t out[static SUM_HEADER_SIZE]);
/* Decode and check everything in the header.  FAULT_CORRUPT. */
int sum_header_decode (const uint8_t data[static SUM_HEADER_SIZE],
                       struct sum_header *h, struct fault *f);

/* Writing: the header first, then its count of records in ascending order. */
struct sum_writer;
/* FD (borrowed) is written from its start.  PATH is copied, for messages. */
int sum_writer_new (int fd, const struct sum_header *h, const char *path,
                    struct sum_writer **out, struct fault *f);
int sum_writer_add (struct sum_writer *w, uint64_t cluster,
                    const uint8_t digest[static DIGEST_SIZE], struct fault *f);
/* Write what is left (no fsync).  DIGEST: of the whole file. */
int sum_writer_end (struct sum_writer *w, uint8_t digest[static DIGEST_SIZE],
                    struct fault *f);
void sum_writer_free (struct sum_writer *w);
CLEANUP_DEFINE (sum_writer_free, struct sum_writer);

/* Reading. */
struct sum;
/* Open NAME below DIRFD, read it once, check order, size and (unless NULL)
   the digest of the whole file.  FAULT_CORRUPT, FAULT_NOTFOUND. */
int sum_open (int dirfd, const char *name, const uint8_t *digest,
              struct sum **out, struct fault *f);
void sum_close (struct sum *s);
CLEANUP_DEFINE (sum_close, struct sum);
const struct sum_header *sum_info (const struct sum *s);
/* 1: found, 0: that cluster has no record, -1: a fault.  One thread at a
   time. */
int sum_find (struct sum *s, uint64_t cluster, uint8_t out[static DIGEST_SIZE],
              struct fault *f);
/* Record number INDEX (below the count); quick in ascending order. */
int sum_get (struct sum *s, uint64_t index, struct sum_record *out,
             struct fault *f);

#endif /* SUM_H */
