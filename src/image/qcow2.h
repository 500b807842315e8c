/* SPDX-License-Identifier: Apache-2.0 */
/* One qcow2 container: its header and where its guest bytes are.  Source of
   the format: docs/interop/qcow2.txt of QEMU.

   Everything is distrusted.  What QEMU reads with a guess (a cluster beyond
   the container, reserved bits, a cluster used twice) is FAULT_CORRUPT here.
   Work and memory are bounded by the container, not by what it claims: one
   table window, the L1 table, and two bits for each cluster of the container
   that is really referenced. */
#ifndef QCOW2_H
#define QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "image/extent.h"

struct fault;
struct source;

#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21
#define QCOW2_EXTENDED_BITS_MIN 14
#define QCOW2_BACKING_MAX 1023
#define QCOW2_FORMAT_MAX 15
#define QCOW2_L1_SIZE_MAX (UINT64_C (32) << 20)      /* bytes */
#define QCOW2_REFTABLE_SIZE_MAX (UINT64_C (8) << 20) /* bytes */
#define QCOW2_SNAPSHOTS_MAX 65536
#define QCOW2_VIRTUAL_SIZE_MAX (UINT64_C (1) << 61)
/* Clusters that a container may have: 2 PiB of 64 KiB ones. */
#define QCOW2_CLUSTERS_MAX (UINT64_C (1) << 35)

enum qcow2_incompatible {
  QCOW2_INCOMPATIBLE_DIRTY = 1 << 0,
  QCOW2_INCOMPATIBLE_CORRUPT = 1 << 1,
  QCOW2_INCOMPATIBLE_DATA_FILE = 1 << 2,
  QCOW2_INCOMPATIBLE_COMPRESSION = 1 << 3,
  QCOW2_INCOMPATIBLE_EXTENDED_L2 = 1 << 4,
};

enum qcow2_compression {
  QCOW2_COMPRESSION_ZLIB = 0,
  QCOW2_COMPRESSION_ZSTD = 1,
};

/* A parsed and checked header; offsets in bytes, in host byte order. */
struct qcow2_header {
  unsigned version;      /* 2 or 3 */
  unsigned cluster_bits; /* 9..21 */
  uint64_t virtual_size; /* a multiple of 512 */
  uint32_t l1_entries;   /* in the file; at least l1_needed */
  uint32_t l1_needed;    /* that virtual_size asks for */
  uint64_t l1_offset;
  uint64_t reftable_offset;
  uint32_t reftable_clusters;
  uint32_t snapshot_count;
  uint64_t snapshots_offset;
  uint64_t incompatible;
  uint64_t compatible;
  uint64_t autoclear;
  unsigned refcount_order; /* 0..6; 4 in version 2 */
  uint32_t header_size;    /* 72 in version 2 */
  enum qcow2_compression compression;
  bool extended_l2;
  uint32_t bitmap_count;   /* of the bitmaps extension, 0 without one */
  uint64_t bitmaps_size;   /* of their directory */
  uint64_t bitmaps_offset; /* of their directory; not checked */
  char backing[QCOW2_BACKING_MAX + 1];       /* "" when there is none */
  char backing_format[QCOW2_FORMAT_MAX + 1]; /* "" when not recorded */
};

/* Parse and check the header.  DATA is the beginning of the container, SIZE
   bytes: cluster 0, or all of it if it is smaller (at least
   min (container_size, 2 MiB) is always enough).  No I/O.  -1: FAULT_CORRUPT,
   and the message says what. */
int qcow2_parse (const uint8_t *data, size_t size, uint64_t container_size,
                 struct qcow2_header *h, struct fault *f);

/* What the header must say; the caller knows it from VDSM's metadata or from
   the manifest.  All zero: no backing file, any size. */
enum qcow2_backing {
  QCOW2_BACKING_NONE,
  QCOW2_BACKING_VOLUME, /* PARENT, or ../IMAGE/PARENT */
  QCOW2_BACKING_EXACT,  /* PARENT */
  QCOW2_BACKING_ANY,    /* `image map` of a single file; never opened here */
};
struct qcow2_expect {
  enum qcow2_backing backing;
  const char *parent;        /* UUID_BLANK or NULL: none */
  const char *image;         /* image (disk) id */
  const char *parent_format; /* "raw" or "qcow2": a recorded format must be
                                equal; NULL: not checked */
  uint64_t virtual_size;     /* exact; 0: not checked */
};
/* -1 with FAULT_CORRUPT and both values in the message. */
int qcow2_expect_check (const struct qcow2_header *h,
                        const struct qcow2_expect *expect, struct fault *f);

struct qcow2;

/* Read cluster 0 and the L1 table of SRC (borrowed, must outlive the result)
   and check them.  EXPECT NULL: all zero. */
int qcow2_open (struct source *src, const struct qcow2_expect *expect,
                struct qcow2 **out, struct fault *f);
void qcow2_close (struct qcow2 *q);
CLEANUP_DEFINE (qcow2_close, struct qcow2);

const struct qcow2_header *qcow2_header (const struct qcow2 *q);
/* The L1 table as it stands in the file, l1_needed entries, for the identity
   of a volume. */
const uint64_t *qcow2_l1 (const struct qcow2 *q);
/* Guest bytes that one L1 entry maps. */
uint64_t qcow2_span (const struct qcow2 *q);
/* End of the highest cluster that a walk has seen so far. */
uint64_t qcow2_end (const struct qcow2 *q);

/* The extent at OFFSET, at most up to LIMIT (offset < limit <= virtual size);
   layer is 0.  Never longer than one L2 table unless it is absent, so extents
   of a sequence may want joining.  ZERO and (extended L2) ABSENT extents carry
   the host offset of a cluster that is reserved for them.  A table is checked as a whole when it is first used. */
int qcow2_next (struct qcow2 *q, uint64_t offset, uint64_t limit,
                struct extent *e, struct fault *f);

/* Extents of [START, START + LENGTH) of this layer alone, ascending, without
   a gap, adjacent ones joined (ZERO and ABSENT without host offset). */
int qcow2_map (struct qcow2 *q, uint64_t start, uint64_t length, extent_fn fn,
               void *opaque, struct fault *f);

/* Decompress the whole cluster that the PACKED extent E is a part of into
   OUT, which has room for one cluster. */
int qcow2_unpack (struct qcow2 *q, const struct extent *e, uint8_t *out,
                  struct fault *f);

#endif /* QCOW2_H */
