/* SPDX-License-Identifier: Apache-2.0 */
/* Is a point what was backed up?  For each disk, in this order:
   1. the sum file is the one of the manifest, sorted, of the right size;
   2. the image's structure: header, backing string, virtual size, tables, no
      cluster used twice; its data clusters and the sum's records are the same
      set, its zero clusters as many as the manifest says;
   3. every data cluster has its digest;
   4. a foreign decoder, over the whole chain, gives the bytes of these digests
      and zeros elsewhere: libqcow when the image is one that it reads right
      (a full), else qemu-img, which sends what it decodes through a socket.
   The template's base that a disk is over is checked before in the same way. */
#ifndef VERIFY_H
#define VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/uuid.h"

#define VERIFY_DECODER_SIZE 96

struct place;
struct point;
struct verify_bases;

struct verify_options {
  bool skip_decode;     /* steps 1 to 3 only */
  bool only_qemu;       /* never libqcow */
  const char *qemu_img; /* program, NULL: "qemu-img" from PATH */
  /* Bases of templates that were checked already with these options, so that
     each is checked once in many points; NULL: each time. */
  struct verify_bases *bases;
  /* Called now and then; may be NULL.  DONE of TOTAL are bytes of this disk's
     work. */
  void (*progress) (void *opaque, const char *disk_id, uint64_t done,
                    uint64_t total);
  void *opaque;
};

struct verify_disk {
  char id[UUID_SIZE];
  char *alias;
  bool good;
  struct fault fault; /* why not: the first thing that was wrong */
  uint64_t blocks;    /* data clusters checked */
  uint64_t bad;       /* of them wrong */
  uint64_t data;      /* guest bytes in them */
  uint64_t size;      /* virtual size */
  /* "libqcow 20201213", "qemu-img 7.2.22", or "none: reason" */
  char decoder[VERIFY_DECODER_SIZE];
};

struct verify_report {
  struct verify_disk *disks;
  size_t disk_count;
  uint64_t files; /* vm.ovf and the like whose digest is right */
};

/* Check POINT.  0: all is right; -1 with the first fault: FAULT_CORRUPT when
   something is wrong (the other disks were still checked and stand in REPORT),
   other codes when it could not be found out.  REPORT is filled either way and
   freed with verify_report_reset. */
int verify_point (const struct place *place, const struct point *point,
                  const struct verify_options *options,
                  struct verify_report *report, struct fault *f);
struct verify_bases *verify_bases_new (void);
void verify_bases_free (struct verify_bases *bases);
CLEANUP_DEFINE (verify_bases_free, struct verify_bases);
void verify_report_reset (struct verify_report *report);

#endif /* VERIFY_H */
