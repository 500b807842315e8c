/* SPDX-License-Identifier: Apache-2.0 */
/* One disk of a point, merged, onto an empty volume of a hypervisor.

   cow   the layout is known from the map ahead.  Everything but cluster 0 is
         written and flushed, read back and compared; then identity is proven
         again and cluster 0 is written: before that it is no image.
   raw   data at its place; holes of a fresh file read as zeros.
   Read back means: past all caches, each 64 KiB compared with the digest that
   was taken at backup (tables: with what was sent). */
#ifndef PUSH_H
#define PUSH_H

#include <stdbool.h>
#include <stdint.h>

struct fault;
struct observer;
struct observer_progress;
struct quota;
struct reader;
struct remote;

struct push {
  struct remote *remote; /* the volume is open for writing */
  struct reader *reader;
  bool cow;
  bool preallocated;      /* the container keeps the size that it has */
  unsigned qcow2_version; /* 2 or 3 */
  uint64_t capacity;      /* of the volume: virtual size of the new disk, at
                             least that of the point */
  struct quota *quota;
  const struct observer *observer;
  struct observer_progress *progress;
  uint64_t written; /* out: bytes that were sent */
};

/* Phases write and verify, and the seal. */
int push_run (struct push *p, struct fault *f);

#endif /* PUSH_H */
