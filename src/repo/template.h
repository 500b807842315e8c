/* SPDX-License-Identifier: Apache-2.0 */
/* Bases of templates.  bases/VOLUME-ID holds the one volume of a template's
   disk, read once, for all VMs that are thin on it: image, sum and a manifest
   in the form of a point's.  It comes there as a whole by one rename, under the
   lease VOLUME-ID, and is never changed.  A full of such a VM is an image over
   it; the full's manifest names the base and the digest of its sum, so that
   another base of that id is never read instead.

   A base is a struct point with is_base set and the volume's id as vm_id. */
#ifndef TEMPLATE_H
#define TEMPLATE_H

#include <stdbool.h>

struct fault;
struct lease;
struct manifest;
struct manifest_disk;
struct place;
struct point;

/* Open the base of VOLUME_ID.  FAULT_NOTFOUND: there is none; FAULT_CORRUPT:
   its manifest is damaged or not that of a base.  The images are not looked
   at.  The caller frees *OUT with point_free. */
int template_open (const struct place *place, const char *volume_id,
                   struct point **out, struct fault *f);
/* Its only disk. */
const struct manifest_disk *template_disk (const struct point *base);
/* What the header of an image over it says, from the folder of a point; heap. */
char *template_backing (const struct point *base);

/* What DISK of the manifest M lies on: *BACKING is the string that its image
   has to have (NULL: none), *BASE the template's base that it is over (NULL:
   none).  FAULT_CORRUPT: that base is missing, or not the one that the image
   was written over.  The caller frees both. */
int template_below (const struct place *place, const struct manifest *m,
                    const struct manifest_disk *disk, char **backing,
                    struct point **base, struct fault *f);

/* The base at the bottom of the chain of disk DISK_ID of POINT, by the
   manifests; *BASE NULL: none.  FAULT_CORRUPT: it, or a point in between, is
   missing or damaged.  The caller frees *BASE. */
int template_under (const struct place *place, const struct point *point,
                    const char *disk_id, struct point **base, struct fault *f);

/* Tell FN each base that no manifest of a point names, also one whose removal
   did not end.  While a manifest cannot be read, none counts as unused. */
typedef void (*template_fn) (const char *volume_id, void *opaque);
int template_each_unused (const struct place *place, template_fn fn,
                          void *opaque, struct fault *f);
/* Remove the base whose lease LEASE is.  FAULT_BUSY: a manifest names it, or a
   point is being written that may be over it; it stays as it was.  May be
   repeated after a crash. */
int template_remove (const struct place *place, const struct lease *lease,
                     const char *run_id, struct fault *f);
/* Is it there, whole or not, or its removal not ended? */
bool template_exists (const struct place *place, const char *volume_id);
/* After a crash in template_remove: put the base back to its place.  Under its
   lease.  Nothing to do is no fault. */
int template_recover (const struct place *place, const char *volume_id,
                      struct fault *f);

#endif /* TEMPLATE_H */
