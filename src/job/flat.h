/* SPDX-License-Identifier: Apache-2.0 */
/* One disk of a point, its layers merged, as the bytes of one raw or qcow2
   file from front to back: of a qcow2 file every offset is known from the map
   ahead. */
#ifndef FLAT_H
#define FLAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define FLAT_PIECE (1u << 20) /* most bytes of one piece with contents */
#define FLAT_HOLE (64u << 20) /* and of a hole */
#define FLAT_HEAD 65536u      /* bytes of the first cluster of a qcow2 file */

struct fault;
struct flat;
struct reader;

enum flat_kind {
  FLAT_TABLE, /* of a qcow2 file: header, refcounts, L1 and L2 */
  FLAT_DATA,
  FLAT_HOLE_RAW, /* of a raw file: reads as zeros */
};

/* A part of the file.  AT is a multiple of 64 KiB, and so is its end, but at
   the end of a raw file. */
struct flat_piece {
  enum flat_kind kind;
  uint64_t at;
  uint64_t size;
  uint64_t guest;  /* of FLAT_DATA: offset in the disk, a multiple of 64 KiB */
  uint64_t length; /* and bytes of it; up to SIZE zeros follow */
};

struct flat_params {
  bool cow;
  unsigned version;      /* of cow: 2 or 3; 0 means 3 */
  uint64_t virtual_size; /* of the file, at least that of the point, beyond
                            which it reads as zeros; 0: that of the point */
};

/* Look through READER (borrowed), of which nothing but the map is read. */
int flat_new (struct reader *reader, const struct flat_params *params,
              struct flat **out, struct fault *f);
void flat_free (struct flat *flat);
CLEANUP_DEFINE (flat_free, struct flat);

/* Make it the file for another virtual size, at least that of the point, of which
   nothing is read; that of a qcow2 file has as many clusters as before. */
int flat_resize (struct flat *flat, uint64_t virtual_size, struct fault *f);
/* Size of the file; of a qcow2 file the end of its last cluster. */
uint64_t flat_size (const struct flat *flat);
/* Bytes of the disk that hold data. */
uint64_t flat_data (const struct flat *flat);

typedef int (*flat_fn) (const struct flat_piece *piece, void *opaque,
                        struct fault *f);
/* Tell FN all pieces from FROM (0, or FLAT_HEAD in a qcow2 file) to the end in
   the order of the file, without a gap.  FN's -1 ends the walk. */
int flat_walk (const struct flat *flat, uint64_t from, flat_fn fn, void *opaque,
               struct fault *f);
/* The contents, piece->size bytes, of a piece that is no hole. */
int flat_read (const struct flat *flat, const struct flat_piece *piece,
               void *data, struct fault *f);
/* The digests of its blocks, DIGEST_BLOCKS (piece->size), of which those of
   data are the ones that were taken at backup.  DATA: what flat_read gives for
   a table; else not used. */
int flat_digests (const struct flat *flat, const struct flat_piece *piece,
                  void *data, uint8_t *digests, struct fault *f);

#endif /* FLAT_H */
