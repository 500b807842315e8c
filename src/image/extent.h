/* SPDX-License-Identifier: Apache-2.0 */
/* A run of guest bytes that is stored in one way: what every walk of an image
   or of a chain hands out. */
#ifndef EXTENT_H
#define EXTENT_H

#include <stdint.h>

struct fault;

enum extent_kind {
  EXTENT_ABSENT, /* nothing here: unchanged since the layer below, or zeros
                    when there is none */
  EXTENT_ZERO,   /* reads as zeros and hides what lies below */
  EXTENT_DATA,   /* plain bytes at HOST in the layer's container */
  EXTENT_PACKED, /* (a part of) one compressed cluster */
  EXTENT_MIXED,  /* chain_map_blocks only: read it by chain_read */
};

struct extent {
  uint64_t start;  /* guest offset */
  uint64_t length; /* never 0 */
  /* DATA: offset of START in the container.  PACKED: offset of the compressed
     bytes, any alignment.  ZERO, ABSENT: 0, or the place of a cluster that is
     reserved when the walk was asked for it.  Else 0. */
  uint64_t host;
  uint64_t packed_size; /* PACKED: compressed bytes (in whole sectors) */
  uint64_t packed_skip; /* PACKED: START minus the start of its cluster */
  unsigned layer;       /* 0 is the top; the layer that decided */
  enum extent_kind kind;
};

/* Receives extents in ascending order; -1 with F set ends the walk. */
typedef int (*extent_fn) (const struct extent *e, void *opaque,
                          struct fault *f);

/* Hands extents on to FN, those joined that continue each other: same kind,
   same layer, adjacent in the guest and (data) in the container. */
struct extent_joiner {
  extent_fn fn;
  void *opaque;
  struct extent last; /* length 0: none */
};
int extent_join (struct extent_joiner *j, const struct extent *e,
                 struct fault *f);
/* Hand out the last one. */
int extent_join_end (struct extent_joiner *j, struct fault *f);

#endif /* EXTENT_H */
