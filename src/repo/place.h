/* SPDX-License-Identifier: Apache-2.0 */
/* The repository as a place on disk: its format, its id, its folders.
   chainlift-repository(5) describes every file.

   src/repo includes src/base, src/wire/digest.h and src/image, and knows of
   neither the engine nor the hosts.  Everything below the repository's own
   folder is opened by openat with O_NOFOLLOW from a descriptor held here, and
   every name that becomes a part of a path was checked first. */
#ifndef PLACE_H
#define PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

#define PLACE_VERSION 1
#define PLACE_SPARE (UINT64_C (64) << 20)

struct fault;
struct place;

/* The folders of a repository. */
enum place_folder {
  PLACE_VMS,     /* published points: vms/VM-ID/POINT */
  PLACE_BASES,   /* bases of templates */
  PLACE_TMP,     /* points being written */
  PLACE_JOURNAL, /* what is under way in the cluster */
  PLACE_LEASES,  /* one lock file a name */
};
#define PLACE_FOLDERS 5

/* Open the repository at PATH.  CREATE: make one when PATH is absent (its
   parent is there) or an empty folder; a folder that holds other things is
   refused.  FAULT_NOTFOUND: there is none; FAULT_CORRUPT: the format file is
   damaged; FAULT_USAGE: written by a newer version, or PATH is no repository.
   A repository on a read-only file system can be opened.  The caller closes
   *OUT. */
int place_open (const char *path, bool create, struct place **out,
                struct fault *f);
void place_close (struct place *p);
CLEANUP_DEFINE (place_close, struct place);

/* The id of the repository (a UUID), which descriptions of our snapshots
   carry; and the path as it was given. */
const char *place_id (const struct place *p);
const char *place_path (const struct place *p);
/* Borrowed descriptors of directories. */
int place_dirfd (const struct place *p);
int place_folder_fd (const struct place *p, enum place_folder folder);
int place_journal_dirfd (const struct place *p);

/* Bytes that may still be written to the repository's file system by this
   user (statvfs f_bavail). */
int place_free_bytes (const struct place *p, uint64_t *bytes, struct fault *f);
/* Is there room for NEEDED bytes of a disk, beside PLACE_SPARE that are kept
   free for tables, sums and other files?  FAULT_SPACE tells what is missing. */
int place_check_room (const struct place *p, uint64_t needed, struct fault *f);

/* Open vms/VM-ID, or vms/VM-ID/POINT when POINT is not NULL; both names are
   checked.  Descriptor of the directory that the caller closes, or -1;
   FAULT_NOTFOUND when it is absent. */
int place_open_vm (const struct place *p, const char *vm_id, const char *point,
                   struct fault *f);
/* The same for bases/VOLUME-ID. */
int place_open_base (const struct place *p, const char *volume_id,
                     struct fault *f);

#endif /* PLACE_H */
