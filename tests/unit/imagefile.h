/* SPDX-License-Identifier: Apache-2.0 */
/* qcow2 files in memory, made entry by entry and without any code of
   src/image: header | refcount table | refcount block | L1 | what is added. */
#ifndef IMAGEFILE_H
#define IMAGEFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGEFILE_L1(f) (UINT64_C (3) << (f)->bits)

struct imagefile {
  uint8_t *data;
  size_t size;
  unsigned version;
  unsigned bits;
  bool extended;
  uint64_t virtual_size;
  uint64_t entries; /* of an L2 table */
};

struct imagefile *imagefile_new (unsigned version, unsigned bits,
                                 uint64_t virtual_size, bool extended);
void imagefile_free (struct imagefile *f);
/* COUNT zeroed clusters at the end; their offset. */
uint64_t imagefile_alloc (struct imagefile *f, uint64_t count);
/* Offset in the file of the L2 entry; the table is made when needed. */
uint64_t imagefile_entry (struct imagefile *f, uint64_t cluster);
void imagefile_set (struct imagefile *f, uint64_t cluster, uint64_t entry);
/* Both words of an extended entry. */
void imagefile_set2 (struct imagefile *f, uint64_t cluster, uint64_t entry,
                     uint64_t bitmap);
/* A new data cluster filled with BYTE; its offset. */
uint64_t imagefile_data (struct imagefile *f, uint64_t cluster, uint8_t byte);
/* A compressed cluster: the SIZE bytes of BLOB at OFFSET, which lies in
   clusters that were allocated. */
void imagefile_packed (struct imagefile *f, uint64_t cluster, uint64_t offset,
                       const uint8_t *blob, size_t size);
/* Name in the rest of cluster 0, behind a format extension (or none). */
void imagefile_backing (struct imagefile *f, const char *name,
                        const char *format);
void imagefile_put (struct imagefile *f, uint64_t offset, unsigned width,
                    uint64_t value);
uint64_t imagefile_get (const struct imagefile *f, uint64_t offset,
                        unsigned width);

/* 4096 bytes that count 0..15 again and again, compressed. */
extern const uint8_t imagefile_zlib[];
extern const size_t imagefile_zlib_size;
extern const uint8_t imagefile_zstd[];
extern const size_t imagefile_zstd_size;

#endif /* IMAGEFILE_H */
