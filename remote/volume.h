/* SPDX-License-Identifier: Apache-2.0 */
/* Is this the right volume?  What the engine says of it is compared with what
   vdsm's metadata, the file and its qcow2 header say; any difference is a
   fault that names both. */
#ifndef VOLUME_H
#define VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "image/qcow2.h"
#include "remote/direct.h"
#include "remote/meta.h"
#include "remote/scan.h"
#include "wire/msg.h"

struct buf;
struct chain;
struct fault;
struct hold;

/* A volume that was proven.  Not to be moved while open. */
struct volume {
  struct msg_layer want; /* what the controller said */
  char domain[UUID_SIZE];
  int dir_fd;        /* images/IMAGE; -1 for a logical volume */
  struct hold *hold; /* NULL for a file; borrowed */
  uint32_t index;    /* in hold */
  bool writing;
  struct meta meta;
  struct direct file;
  uint64_t virtual_size;
  uint64_t l1_offset; /* COW, once its header is known */
  uint64_t l1_size;   /* bytes */
  uint64_t head_size; /* bytes of cluster 0 that the identity covers */
};

void volume_init (struct volume *v);
/* Prove the layer WANT of the domain whose directory is DOMAIN_FD (its id
   DOMAIN), and open it for reading. */
int volume_open_read (struct volume *v, int domain_fd, const char *domain,
                      const struct msg_layer *want, struct fault *f);
/* The same for an empty volume that is to be written; LOCKED: an upload
   transfer holds it.  It has one name, belongs to vdsm, and a raw one has its
   full size. */
int volume_open_write (struct volume *v, int domain_fd, const char *domain,
                       const struct msg_open_write *m, struct fault *f);
/* The same for logical volume INDEX of HOLD, in two steps: what is known of it
   without opening it; then, when hold_activate has made all of them active, its
   device. */
int volume_prove_read (struct volume *v, struct hold *h, uint32_t index,
                       const struct msg_layer *want, struct fault *f);
int volume_prove_write (struct volume *v, struct hold *h,
                        const struct msg_open_write *m, struct fault *f);
int volume_take (struct volume *v, struct fault *f);
int volume_close (struct volume *v, struct fault *f);
/* How the volume is found among open files of other processes. */
void volume_scan_file (const struct volume *v, struct scan_file *out);

/* Put the volume under a chain, below what is in it; its header is compared
   with the metadata.  PARENT_FORMAT: of the layer below, "raw", "qcow2" or
   NULL. */
int volume_add (struct volume *v, struct chain *c, const char *parent_format,
                struct fault *f);

/* Read metadata, inode (for a logical volume what hold_list found) and header
   again, prove them as at the opening, and append the lines of this volume,
   each beginning with "PREFIX ", to OUT. */
int volume_identify (struct volume *v, const char *prefix, struct buf *out,
                     struct fault *f);

/* Pure: does vdsm's metadata M of a volume in the domain DOMAIN say what WANT
   says? */
int volume_check (const struct meta *m, const char *domain,
                  const struct msg_layer *want, struct fault *f);

#endif /* VOLUME_H */
