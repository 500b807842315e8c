/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata that vdsm keeps beside a volume: VOL.meta on file domains, a
   slot of the metadata LV on block domains.  Lines of KEY=VALUE, ended by a
   line EOF, at most 512 bytes written by vdsm. */
#ifndef META_H
#define META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"

struct fault;

#define META_SIZE_MAX 4096
#define META_DISKTYPE_SIZE 8
#define META_CAPACITY_MAX (UINT64_C (1) << 61)

enum meta_voltype {
  META_LEAF = 1,
  META_INTERNAL = 2,
  META_SHARED = 3,
};

enum meta_legality {
  META_LEGAL = 1,
  META_ILLEGAL = 2,
  META_FAKE = 3,
};

struct meta {
  char domain[UUID_SIZE];
  char image[UUID_SIZE];
  char parent[UUID_SIZE]; /* UUID_BLANK for the last of a chain */
  char disktype[META_DISKTYPE_SIZE];
  bool cow; /* FORMAT=COW, else RAW */
  enum meta_voltype voltype;
  enum meta_legality legality;
  uint64_t capacity; /* bytes, of CAP, or of SIZE where there is no CAP */
  uint64_t generation;
  uint64_t created; /* CTIME, seconds since 1970; 0 when not told */
};

/* Parse SIZE bytes of TEXT.  A slot that was cleared, a text without its EOF
   line, a missing or doubled key that we use, an unknown value: FAULT_CORRUPT.
   Keys that we do not use are ignored. */
int meta_parse (const char *text, size_t size, struct meta *out,
                struct fault *f);
/* Is the volume one of a guest's disk, not one of the engine's or vdsm's own
   (scratch, OVF store, memory, hosted engine)? */
bool meta_is_data (const struct meta *m);
const char *meta_voltype_name (enum meta_voltype v);
const char *meta_legality_name (enum meta_legality v);

#endif /* META_H */
