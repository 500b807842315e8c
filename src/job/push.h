/* SPDX-License-Identifier: Apache-2.0 */
/* One disk of a point, merged, onto an empty volume of a hypervisor.

   cow   the layout is known from the map ahead.  Everything but cluster 0 is
         written and flushed, read back and compared; then identity is proven
         again and cluster 0 is written: before that it is no image.
   raw   data at its place; holes of a fresh file read as zeros, those of a
         logical volume are somebody's old bytes: they are zeroed and read back
         as data are, up to the end of the volume.
   Read back means: past all caches, each 64 KiB compared with the digest that
   was taken at backup (tables: with what was sent). */
#ifndef PUSH_H
#define PUSH_H

#include <stdbool.h>
#include <stdint.h>

struct fault;
struct flat;
struct observer;
struct observer_progress;
struct quota;
struct reader;
struct remote;
struct watch;

struct push {
  struct flat *flat;     /* made by push_prepare */
  struct remote *remote; /* the volume is open for writing */
  struct watch *watch;   /* of the host; NULL: nobody looks */
  bool cow;
  bool fixed_size;        /* the container keeps the size that it has */
  bool zero_holes;        /* of raw: the container does not read as zeros */
  unsigned qcow2_version; /* 2 or 3 */
  uint64_t capacity;      /* of the new disk, and of raw the bytes of the
                             container: at least the size of the point's disk */
  uint64_t container; /* bytes of a logical volume; 0: a file, which grows */
  struct quota *quota;
  const struct observer *observer;
  struct observer_progress *progress;
  uint64_t data;    /* out: bytes of the disk that hold data */
  uint64_t written; /* out: bytes that were sent */
  bool host_failed; /* out: the fault is of the host, not of the repository */
};

/* Look through all that READER has, which is borrowed until push_reset; FLAT is
   made for a disk of CAPACITY bytes, which vdsm may round up.  It may take minutes
   where storage is cold: no helper may be there to wait for it, since it ends
   when it hears nothing. */
int push_prepare (struct push *p, struct reader *reader, uint64_t capacity,
                  struct fault *f);
/* After push_prepare, with all of the above known: phases write and verify, and
   the seal.  FAULT_SPACE when the image needs more than the logical volume
   has. */
int push_run (struct push *p, struct fault *f);
/* Also after a failure, or when nothing was prepared. */
void push_reset (struct push *p);

#endif /* PUSH_H */
