/* SPDX-License-Identifier: Apache-2.0 */
/* A removal first moves the base aside, to VOLUME-ID.removed, and looks then
   whether it is needed.  A run makes its draft before it opens the base, and
   its draft becomes a point in one step: so who opened the base before that
   move is seen as a draft or else as a point, since drafts are looked for
   first; who comes later does not find it. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/reader.h"
#include "repo/template.h"

#define ASIDE ".removed"
#define ASIDE_SIZE (UUID_SIZE + sizeof ASIDE)

static int
check_base (const struct manifest *m, const char *volume_id, struct fault *f)
{
  const struct manifest_disk *d = m->disks;

  if (m->disk_count == 1 && m->kind == MANIFEST_FULL && d->base[0] == '\0'
      && strcmp (d->volume_id, volume_id) == 0 && d->identity != NULL)
    return 0;
  return fault_set (f, FAULT_CORRUPT, 0,
                    "template's base %s: its manifest is not one of a base",
                    volume_id);
}

int
template_open (const struct place *place, const char *volume_id,
               struct point **out, struct fault *f)
{
  CLEANUP_CLOSE int fd = place_open_base (place, volume_id, f);
  CLEANUP (point_free) struct point *base = xcalloc (1, sizeof *base);

  *out = NULL;
  if (fd < 0)
    return -1;
  base->is_base = true;
  memcpy (base->vm_id, volume_id, UUID_SIZE);
  /* A folder without a manifest is a damaged base, not none. */
  if (manifest_load (fd, volume_id, NULL, &base->manifest, f) < 0)
    return point_damaged (f);
  if (check_base (base->manifest, volume_id, f) < 0)
    return -1;
  strcpy (base->name, base->manifest->point);
  *out = steal_ptr (&base);
  return 0;
}

const struct manifest_disk *
template_disk (const struct point *base)
{
  return &base->manifest->disks[0];
}

char *
template_backing (const struct point *base)
{
  return xasprintf ("../../../bases/%s/%s", base->vm_id,
                    template_disk (base)->file);
}

int
template_below (const struct place *place, const struct manifest *m,
                const struct manifest_disk *disk, char **backing,
                struct point **base, struct fault *f)
{
  *backing = NULL;
  *base = NULL;
  if (disk->kind == MANIFEST_INCREMENT)
    *backing = xasprintf ("../%s/%s", m->parent, disk->file);
  if (disk->base[0] == '\0')
    return 0;
  if (template_open (place, disk->base, base, f) < 0)
    return point_damaged (f);
  if (!digest_equal (template_disk (*base)->digest, disk->base_digest)) {
    point_free (*base);
    *base = NULL;
    return fault_set (f, FAULT_CORRUPT, 0,
                      "template's base %s is not the one that disk %s was "
                      "stored over",
                      disk->base, disk->id);
  }
  *backing = template_backing (*base);
  return 0;
}

int
template_under (const struct place *place, const struct point *point,
                const char *disk_id, struct point **base, struct fault *f)
{
  CLEANUP (point_free) struct point *below = NULL;

  *base = NULL;
  for (unsigned i = 0; i < READER_DEPTH_MAX; i++) {
    const struct manifest *m = point->manifest;
    const struct manifest_disk *disk = manifest_find_disk (m, disk_id);
    CLEANUP_FREE char *backing = NULL;
    struct point *next = NULL;

    if (disk == NULL || strcmp (disk->id, disk_id) != 0)
      return fault_set (f, FAULT_CORRUPT, 0, "point %s has no disk %s",
                        point->name, disk_id);
    if (disk->kind == MANIFEST_FULL)
      return template_below (place, m, disk, &backing, base, f);
    if (point_open (place, point->vm_id, m->parent, &next, f) < 0) {
      point_damaged (f);
      return fault_prefix (f, "parent of point %s", point->name);
    }
    point_free (below);
    below = next;
    point = next;
  }
  return fault_set (f, FAULT_CORRUPT, 0, "more than %u points in its chain",
                    READER_DEPTH_MAX);
}

/* The bases that there are, by folder_each, with those that points name
   crossed out. */
struct bases {
  char (*ids)[UUID_SIZE]; /* "": crossed out */
  size_t count;
};

/* Call FN for each name in FOLDER until it returns other than 0; that, or
   -1. */
static int
folder_each (const struct place *place, enum place_folder folder,
             int (*fn) (const char *name, void *opaque), void *opaque,
             struct fault *f)
{
  int fd = openat (place_folder_fd (place, folder), ".",
                   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir (fd);
  struct dirent *entry;
  int rc = 0;

  if (dir == NULL) {
    fault_set (f, FAULT_IO, errno, "read a folder of repository %s",
               place_path (place));
    if (fd >= 0)
      close (fd);
    return -1;
  }
  while (rc == 0 && (errno = 0, entry = readdir (dir)) != NULL)
    rc = fn (entry->d_name, opaque);
  if (rc == 0 && errno != 0)
    rc = fault_set (f, FAULT_IO, errno, "read a folder of repository %s",
                    place_path (place));
  closedir (dir);
  return rc;
}

/* The volume of a folder in bases/; "" for what is none of ours. */
static void
volume_of (const char *name, char out[static UUID_SIZE])
{
  size_t size = strlen (name);

  out[0] = '\0';
  if (size == ASIDE_SIZE - 2 && strcmp (name + UUID_SIZE - 1, ASIDE) == 0)
    size = UUID_SIZE - 1;
  if (size != UUID_SIZE - 1)
    return;
  memcpy (out, name, size);
  out[size] = '\0';
  if (!uuid_valid (out))
    out[0] = '\0';
}

static int
add_base (const char *name, void *opaque)
{
  struct bases *b = opaque;
  char id[UUID_SIZE];

  volume_of (name, id);
  for (size_t i = 0; i < b->count; i++) {
    if (strcmp (b->ids[i], id) == 0)
      return 0;
  }
  if (id[0] == '\0' || b->count == POINT_COUNT_MAX)
    return 0;
  b->ids = xreallocarray (b->ids, b->count + 1, sizeof *b->ids);
  memcpy (b->ids[b->count++], id, UUID_SIZE);
  return 0;
}

static void
cross_out (struct bases *b, const struct manifest *m)
{
  for (size_t i = 0; i < m->disk_count; i++) {
    for (size_t j = 0; j < b->count; j++) {
      if (strcmp (b->ids[j], m->disks[i].base) == 0)
        b->ids[j][0] = '\0';
    }
  }
}

/* Leave in B what no point names; nothing while that cannot be told. */
static int
leave_unused (const struct place *place, struct bases *b, struct fault *f)
{
  struct point_list points;

  if (b->count == 0)
    return 0;
  if (point_list (place, NULL, &points, f) < 0)
    return -1;
  for (size_t i = 0; i < points.count; i++) {
    if (points.points[i].manifest == NULL)
      b->count = 0;
    else
      cross_out (b, points.points[i].manifest);
  }
  point_list_reset (&points);
  return 0;
}

int
template_each_unused (const struct place *place, template_fn fn, void *opaque,
                      struct fault *f)
{
  struct bases b = { .count = 0 };
  int rc = folder_each (place, PLACE_BASES, add_base, &b, f);

  if (rc == 0)
    rc = leave_unused (place, &b, f);
  for (size_t i = 0; rc == 0 && i < b.count; i++) {
    if (b.ids[i][0] != '\0')
      fn (b.ids[i], opaque);
  }
  free (b.ids);
  return rc;
}

static int
see_draft (const char *name, void *opaque)
{
  const char *dot = strchr (name, '.');

  (void)opaque;
  return dot != NULL && uuid_valid (dot + 1);
}

/* Does a point need the base, or may one that is being written? */
static int
check_unused (const struct place *place, const char *volume_id, struct fault *f)
{
  struct bases one = { .count = 1 };
  int rc = folder_each (place, PLACE_TMP, see_draft, NULL, f);

  if (rc == 1)
    rc = fault_set (f, FAULT_BUSY, 0,
                    "template's base %s stays: a point is being written, or "
                    "was when its run died",
                    volume_id);
  if (rc < 0)
    return -1;
  one.ids = xcalloc (1, sizeof *one.ids);
  memcpy (one.ids[0], volume_id, UUID_SIZE);
  rc = leave_unused (place, &one, f);
  if (rc == 0 && (one.count == 0 || one.ids[0][0] == '\0'))
    rc = fault_set (f, FAULT_BUSY, 0,
                    "template's base %s stays: a point needs it", volume_id);
  free (one.ids);
  return rc;
}

static int
move (const struct place *place, const char *from, const char *to,
      struct fault *f)
{
  int bases = place_folder_fd (place, PLACE_BASES);

  if (renameat (bases, from, bases, to) < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "rename bases/%s to %s", from, to);
  return fdio_sync_dir (bases, "bases", f);
}

static bool
is_there (const struct place *place, const char *name)
{
  struct stat st;

  return fstatat (place_folder_fd (place, PLACE_BASES), name, &st,
                  AT_SYMLINK_NOFOLLOW)
         == 0;
}

int
template_recover (const struct place *place, const char *volume_id,
                  struct fault *f)
{
  char aside[ASIDE_SIZE];

  snprintf (aside, sizeof aside, "%s" ASIDE, volume_id);
  if (!is_there (place, aside))
    return 0;
  if (is_there (place, volume_id))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "bases/%s stands beside bases/%s: move one of them away",
                      aside, volume_id);
  return move (place, aside, volume_id, f);
}

/* From here on it is what a draft is whose run died: anybody may remove it. */
static int
discard (const struct place *place, const char *aside, const char *volume_id,
         const char *run_id, struct fault *f)
{
  CLEANUP_FREE char *name = xasprintf ("%s.%s", run_id, volume_id);
  int bases = place_folder_fd (place, PLACE_BASES);
  int tmp = place_folder_fd (place, PLACE_TMP);

  if (renameat (bases, aside, tmp, name) < 0)
    return fault_set (f, FAULT_IO, errno, "rename bases/%s to tmp/%s", aside,
                      name);
  if (fdio_sync_dir (bases, "bases", f) < 0)
    return -1;
  return fdio_remove_tree (tmp, name, f);
}

bool
template_exists (const struct place *place, const char *volume_id)
{
  char aside[ASIDE_SIZE];

  snprintf (aside, sizeof aside, "%s" ASIDE, volume_id);
  return uuid_valid (volume_id)
         && (is_there (place, volume_id) || is_there (place, aside));
}

int
template_remove (const struct place *place, const struct lease *lease,
                 const char *run_id, struct fault *f)
{
  const char *volume_id = lease_name (lease);
  char aside[ASIDE_SIZE];

  if (!uuid_valid (volume_id))
    return fault_set (f, FAULT_INTERNAL, 0, "\"%s\" is no volume id",
                      volume_id);
  snprintf (aside, sizeof aside, "%s" ASIDE, volume_id);
  if (lease_check (lease, f) < 0 || template_recover (place, volume_id, f) < 0
      || check_unused (place, volume_id, f) < 0
      || move (place, volume_id, aside, f) < 0)
    return -1;
  if (check_unused (place, volume_id, f) < 0 || lease_check (lease, f) < 0) {
    (void)move (place, aside, volume_id, NULL);
    return -1;
  }
  return discard (place, aside, volume_id, run_id, f);
}
