/* SPDX-License-Identifier: Apache-2.0 */
/* A point being written, in tmp/RUN-ID.VM-ID, until it is published.

     files, fsync each -> fsync the folder -> manifest, fsync -> rename into
     vms/VM-ID/POINT -> fsync vms/VM-ID and tmp

   The base of a template goes to bases/VOLUME-ID in the same way.

   A crash before the rename leaves a folder in tmp that draft_clean removes, a
   crash after it a whole point.  */
#ifndef DRAFT_H
#define DRAFT_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct draft;
struct fault;
struct lease;
struct manifest;
struct place;
struct point;
struct writer;

/* Begin a point of the VM whose lease LEASE is (borrowed, as PLACE is, until
   draft_free).  WHEN: UNIX seconds of the snapshot by the engine; when a point
   of that second is there, -2 and so on is appended.  RUN_ID: letters, digits
   and '-', at most MANIFEST_RUN_ID_MAX. */
int draft_begin (const struct place *place, const struct lease *lease,
                 int64_t when, const char *run_id, struct draft **out,
                 struct fault *f);
/* Begin the base of a template; LEASE is the one of the volume's id, which
   draft_vm_id then is. */
int draft_begin_base (const struct place *place, const struct lease *lease,
                      const char *run_id, struct draft **out, struct fault *f);
/* The name that the point will have; its VM. */
const char *draft_point (const struct draft *d);
const char *draft_vm_id (const struct draft *d);

/* Add a file such as vm.ovf (letters, digits, '.', '-'; not beginning with a
   dot) and remember its digest for the manifest. */
int draft_put_text (struct draft *d, const char *name, const void *data,
                    size_t size, struct fault *f);
/* Begin the image of a disk.  PARENT: NULL for a full, or the name of the
   point of this VM that the increment is over; it must hold that disk.
   *WRITER belongs to the draft. */
int draft_add_disk (struct draft *d, const char *disk_id, uint64_t virtual_size,
                    const char *parent, struct writer **writer,
                    struct fault *f);
/* The same for a full over BASE, a template's base, which must still be there
   when the draft is published. */
int draft_add_disk_over (struct draft *d, const char *disk_id,
                         uint64_t virtual_size, const struct point *base,
                         struct writer **writer, struct fault *f);
/* Make it a point.  M has a disk for each draft_add_disk and no other; its
   writers are finished.  Fields of M that the draft fills (see manifest.h) are
   overwritten.  The lease is checked.  On a fault nothing is published. */
int draft_publish (struct draft *d, struct manifest *m, struct fault *f);
/* Remove what was written (best effort: what stays, draft_clean removes). */
void draft_abort (struct draft *d);
/* Free the memory.  A draft that is neither published nor aborted stays in
   tmp. */
void draft_free (struct draft *d);
CLEANUP_DEFINE (draft_free, struct draft);

/* Remove the drafts in tmp whose VM's lease is free, and those of OWN's VM
   (OWN: a lease that the caller holds, or NULL) other than of run KEEP (or
   NULL).  What belongs to a live run stays.  *REMOVED (may be NULL): how
   many. */
int draft_clean (const struct place *place, const struct lease *own,
                 const char *keep, unsigned *removed, struct fault *f);

/* Remove the draft NAME of tmp, of the VM whose lease OWN is (checked). */
int draft_remove (const struct place *place, const struct lease *own,
                  const char *name, struct fault *f);

#endif /* DRAFT_H */
