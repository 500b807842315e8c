/* SPDX-License-Identifier: Apache-2.0 */
/* Is a qcow2 container sound?  What the reader refuses is a fault; on top of
   it every reference to every cluster, those of internal snapshots and bitmaps
   too, is counted and compared with the refcounts and flags in the file. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdint.h>

struct fault;
struct qcow2_header;
struct source;

struct check_report {
  uint64_t data_bytes;   /* of the guest, plain and compressed */
  uint64_t packed_bytes; /* compressed of these */
  uint64_t zero_bytes;
  uint64_t leaked; /* clusters with a refcount that is too high */
  uint64_t wrong;  /* ... too low: a write could overwrite data */
  uint64_t flags;  /* COPIED flags that contradict the refcount */
  bool dirty;      /* refcounts are stale and were not compared */
};

/* Called for each problem that is not a fault. */
typedef void (*check_fn) (const char *problem, void *opaque);

/* Check SRC, fill REPORT and *HEADER.  0 also when there are problems, which
   REPORT counts; -1: it cannot be read as a whole. */
int check_image (struct source *src, check_fn problem, void *opaque,
                 struct qcow2_header *header, struct check_report *report,
                 struct fault *f);

#endif /* CHECK_H */
