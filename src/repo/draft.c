/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "repo/draft.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/template.h"
#include "repo/writer.h"

struct draft_disk {
  char id[UUID_SIZE];
  bool increment;
  char base[UUID_SIZE]; /* of a template; "": none */
  uint8_t base_digest[DIGEST_SIZE];
  struct writer *writer;
};

struct draft {
  const struct place *place;
  const struct lease *lease;
  bool is_base;          /* of a template */
  char vm_id[UUID_SIZE]; /* of a base: the volume's id */
  char point[POINT_NAME_SIZE];
  char parent[POINT_NAME_SIZE];
  char *run_id;
  char *folder; /* name below tmp */
  int fd;
  struct draft_disk *disks;
  size_t disk_count;
  struct manifest_file *files;
  size_t file_count;
};

static bool
run_id_valid (const char *s)
{
  size_t size = strlen (s);

  return size > 0 && size <= MANIFEST_RUN_ID_MAX
         && strspn (s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789-")
                == size;
}

/* The first name of that second that no published point has. */
static int
choose_name (struct draft *d, int64_t when, struct fault *f)
{
  struct fault local = FAULT_INIT;
  CLEANUP_CLOSE int vm = place_open_vm (d->place, d->vm_id, NULL, &local);
  char stamp[STAMP_SIZE];
  struct stat st;

  if (vm < 0 && local.code != FAULT_NOTFOUND)
    return fault_copy (f, &local);
  stamp_format (when, stamp);
  snprintf (d->point, sizeof d->point, "%s", stamp);
  for (unsigned i = 2; vm >= 0; i++) {
    if (fstatat (vm, d->point, &st, AT_SYMLINK_NOFOLLOW) < 0) {
      if (errno == ENOENT)
        break;
      return fault_set (f, FAULT_IO, errno, "VM %s: stat %s", d->vm_id,
                        d->point);
    }
    if (i > POINT_SAME_SECOND_MAX)
      return fault_set (f, FAULT_IO, 0, "VM %s: too many points of second %s",
                        d->vm_id, stamp);
    snprintf (d->point, sizeof d->point, "%s-%u", stamp, i);
  }
  return 0;
}

static int
make_folder (struct draft *d, struct fault *f)
{
  int tmp = place_folder_fd (d->place, PLACE_TMP);

  if (mkdirat (tmp, d->folder, 0700) < 0)
    return fault_set (f, FAULT_IO, errno, "make tmp/%s in repository %s",
                      d->folder, place_path (d->place));
  d->fd = fdio_open_dir (tmp, d->folder, f);
  return d->fd < 0 ? -1 : 0;
}

static int
begin (const struct place *place, const struct lease *lease, bool is_base,
       int64_t when, const char *run_id, struct draft **out, struct fault *f)
{
  CLEANUP (draft_free) struct draft *d = xcalloc (1, sizeof *d);

  *out = NULL;
  d->is_base = is_base;
  d->place = place;
  d->lease = lease;
  d->fd = -1;
  if (!uuid_valid (lease_name (lease)) || !run_id_valid (run_id))
    return fault_set (f, FAULT_INTERNAL, 0,
                      "draft of lease %s, run %s: malformed",
                      lease_name (lease), run_id);
  strcpy (d->vm_id, lease_name (lease));
  d->run_id = xstrdup (run_id);
  d->folder = xasprintf ("%s.%s", run_id, d->vm_id);
  if (lease_check (lease, f) < 0 || choose_name (d, when, f) < 0
      || make_folder (d, f) < 0)
    return -1;
  *out = steal_ptr (&d);
  return 0;
}

int
draft_begin (const struct place *place, const struct lease *lease, int64_t when,
             const char *run_id, struct draft **out, struct fault *f)
{
  return begin (place, lease, false, when, run_id, out, f);
}

int
draft_begin_base (const struct place *place, const struct lease *lease,
                  const char *run_id, struct draft **out, struct fault *f)
{
  return begin (place, lease, true, stamp_now (), run_id, out, f);
}

const char *
draft_point (const struct draft *d)
{
  return d->point;
}

const char *
draft_vm_id (const struct draft *d)
{
  return d->vm_id;
}

static int
write_text (struct draft *d, const char *name, const void *data, size_t size,
            struct fault *f)
{
  CLEANUP_CLOSE int fd = openat (
      d->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

  if (fd < 0)
    return fault_set (f, FAULT_IO, errno, "create %s", name);
  if (fdio_write_full (fd, data, size, name, f) < 0
      || fdio_fsync (fd, name, f) < 0)
    return -1;
  return fdio_close (&fd, name, f);
}

int
draft_put_text (struct draft *d, const char *name, const void *data,
                size_t size, struct fault *f)
{
  struct manifest_file *file;

  if (!manifest_file_name_valid (name) || d->file_count == MANIFEST_FILES_MAX)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "file %s of a point: its name is malformed, or there "
                      "are too many",
                      name);
  if (write_text (d, name, data, size, f) < 0)
    return -1;
  d->files = xreallocarray (d->files, d->file_count + 1, sizeof *d->files);
  file = &d->files[d->file_count++];
  memset (file, 0, sizeof *file);
  strcpy (file->name, name);
  file->bytes = size;
  digest_bytes (data, size, file->digest);
  return 0;
}

/* The point that an increment is over: published, with that disk, and the same
   for all disks of the draft. */
static int
check_parent (struct draft *d, const char *disk_id, const char *parent,
              struct fault *f)
{
  CLEANUP (point_free) struct point *point = NULL;
  const struct manifest_disk *disk;

  if (d->parent[0] != '\0' && strcmp (d->parent, parent) != 0)
    return fault_set (f, FAULT_INTERNAL, 0, "a draft over two points, %s %s",
                      d->parent, parent);
  if (point_open (d->place, d->vm_id, parent, &point, f) < 0)
    return -1;
  disk = manifest_find_disk (point->manifest, disk_id);
  if (disk == NULL || strcmp (disk->id, disk_id) != 0)
    return fault_set (f, FAULT_NOTFOUND, 0,
                      "VM %s point %s has no disk %s to build on", d->vm_id,
                      parent, disk_id);
  strcpy (d->parent, parent);
  return 0;
}

/* The new image, or NULL. */
static struct draft_disk *
add_disk (struct draft *d, const char *disk_id, uint64_t virtual_size,
          const char *backing, struct writer **out, struct fault *f)
{
  CLEANUP_FREE char *image = xasprintf ("%s.qcow2", disk_id);
  CLEANUP_FREE char *sum = xasprintf ("%s.sum", disk_id);
  struct draft_disk *disk;
  struct writer *w = NULL;

  *out = NULL;
  if (!uuid_valid (disk_id)) {
    fault_set (f, FAULT_INTERNAL, 0, "\"%s\" is no disk id", disk_id);
    return NULL;
  }
  if (writer_open (d->fd, image, sum, virtual_size, backing, &w, f) < 0)
    return NULL;
  d->disks = xreallocarray (d->disks, d->disk_count + 1, sizeof *d->disks);
  disk = &d->disks[d->disk_count++];
  memset (disk, 0, sizeof *disk);
  strcpy (disk->id, disk_id);
  disk->writer = w;
  *out = w;
  return disk;
}

int
draft_add_disk (struct draft *d, const char *disk_id, uint64_t virtual_size,
                const char *parent, struct writer **out, struct fault *f)
{
  CLEANUP_FREE char *backing = NULL;
  struct draft_disk *disk;

  *out = NULL;
  if (parent != NULL) {
    if (check_parent (d, disk_id, parent, f) < 0)
      return -1;
    backing = xasprintf ("../%s/%s.qcow2", parent, disk_id);
  }
  disk = add_disk (d, disk_id, virtual_size, backing, out, f);
  if (disk == NULL)
    return -1;
  disk->increment = parent != NULL;
  return 0;
}

int
draft_add_disk_over (struct draft *d, const char *disk_id,
                     uint64_t virtual_size, const struct point *base,
                     struct writer **out, struct fault *f)
{
  CLEANUP_FREE char *backing = template_backing (base);
  struct draft_disk *disk
      = add_disk (d, disk_id, virtual_size, backing, out, f);

  if (disk == NULL)
    return -1;
  memcpy (disk->base, base->vm_id, UUID_SIZE);
  memcpy (disk->base_digest, template_disk (base)->digest, DIGEST_SIZE);
  return 0;
}

static int
fill_disk (const struct draft *d, struct manifest_disk *disk, struct fault *f)
{
  const struct writer_totals *totals = NULL;
  char name[UUID_SIZE + 8];

  for (size_t i = 0; i < d->disk_count; i++) {
    if (strcmp (d->disks[i].id, disk->id) != 0)
      continue;
    totals = writer_totals (d->disks[i].writer);
    disk->kind = d->disks[i].increment ? MANIFEST_INCREMENT : MANIFEST_FULL;
    memcpy (disk->base, d->disks[i].base, UUID_SIZE);
    memcpy (disk->base_digest, d->disks[i].base_digest, DIGEST_SIZE);
  }
  if (totals == NULL)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "disk %s of the manifest is not finished in the draft",
                      disk->id);
  snprintf (name, sizeof name, "%s.qcow2", disk->id);
  manifest_set (&disk->file, name);
  snprintf (name, sizeof name, "%s.sum", disk->id);
  manifest_set (&disk->sum, name);
  disk->bytes = totals->file_bytes;
  disk->data = totals->data;
  disk->zero = totals->zero;
  memcpy (disk->digest, totals->digest, DIGEST_SIZE);
  return 0;
}

/* What the draft knows better than its caller. */
static int
fill_manifest (const struct draft *d, struct manifest *m, struct fault *f)
{
  if (strcmp (m->vm_id, d->vm_id) != 0 || m->disk_count != d->disk_count)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "the manifest of VM %s with %zu disks is not of this "
                      "draft",
                      m->vm_id, m->disk_count);
  for (size_t i = 0; i < m->disk_count; i++) {
    if (fill_disk (d, &m->disks[i], f) < 0)
      return -1;
  }
  m->file_count = 0;
  for (size_t i = 0; i < d->file_count; i++) {
    struct manifest_file *file = manifest_add_file (m, f);

    if (file == NULL)
      return -1;
    *file = d->files[i];
  }
  strcpy (m->point, d->point);
  strcpy (m->parent, d->parent);
  m->kind = d->parent[0] == '\0' ? MANIFEST_FULL : MANIFEST_INCREMENT;
  stamp_format (stamp_now (), m->finished);
  manifest_set (&m->run_id, d->run_id);
  manifest_set (&m->program, PACKAGE_NAME " " PACKAGE_VERSION);
  return 0;
}

/* The folder goes to NAME below DIRFD; from here on the point exists. */
static int
move_folder (struct draft *d, int dirfd, const char *name, struct fault *f)
{
  int tmp = place_folder_fd (d->place, PLACE_TMP);

  if (lease_check (d->lease, f) < 0)
    return -1;
  /* A folder with something in it is never replaced by a rename. */
  if (renameat (tmp, d->folder, dirfd, name) < 0)
    return fault_set (f, FAULT_IO, errno, "rename tmp/%s to %s", d->folder,
                      name);
  if (fdio_sync_dir (dirfd, name, f) < 0) {
    /* It may or may not survive a power cut: better that it does not. */
    (void)renameat (dirfd, name, tmp, d->folder);
    return -1;
  }
  /* What stays of the old name, if this fails, is only a name. */
  (void)fdio_sync_dir (tmp, "tmp", NULL);
  return 0;
}

static int
move_point (struct draft *d, struct fault *f)
{
  int vms = place_folder_fd (d->place, PLACE_VMS);
  CLEANUP_CLOSE int vm = -1;

  if (fdio_mkdir (vms, d->vm_id, 0700, f) < 0)
    return -1;
  vm = fdio_open_dir (vms, d->vm_id, f);
  return vm < 0 ? -1 : move_folder (d, vm, d->point, f);
}

/* Nobody changes a base from here on: it has no need to be writable. */
static int
move_base (struct draft *d, const struct manifest *m, struct fault *f)
{
  const char *const names[]
      = { m->disks[0].file, m->disks[0].sum, MANIFEST_NAME };

  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (fchmodat (d->fd, names[i], 0400, 0) < 0)
      return fault_set (f, FAULT_IO, errno, "chmod %s", names[i]);
  }
  return move_folder (d, place_folder_fd (d->place, PLACE_BASES), d->vm_id, f);
}

/* Are the bases below still what they were? */
static int
check_bases (const struct draft *d, const struct manifest *m, struct fault *f)
{
  for (size_t i = 0; i < m->disk_count; i++) {
    CLEANUP (point_free) struct point *base = NULL;
    CLEANUP_FREE char *backing = NULL;

    if (template_below (d->place, m, &m->disks[i], &backing, &base, f) < 0)
      return -1;
  }
  return 0;
}

int
draft_publish (struct draft *d, struct manifest *m, struct fault *f)
{
  CLEANUP_FREE char *text = NULL;
  size_t size;

  if (fill_manifest (d, m, f) < 0)
    return -1;
  text = manifest_format (m, &size, f);
  if (text == NULL || lease_check (d->lease, f) < 0
      || fdio_sync_dir (d->fd, d->folder, f) < 0
      || fdio_replace (d->fd, MANIFEST_NAME, text, size, 0600, f) < 0
      || check_bases (d, m, f) < 0
      || (d->is_base ? move_base (d, m, f) : move_point (d, f)) < 0)
    return fault_prefix (f, "publish %s %s", d->is_base ? "base" : "point",
                         d->is_base ? d->vm_id : d->point);
  return 0;
}

void
draft_abort (struct draft *d)
{
  struct fault f = FAULT_INIT;

  if (fdio_remove_tree (place_folder_fd (d->place, PLACE_TMP), d->folder, &f)
      < 0)
    log_debug ("draft %s stays: %s", d->folder, f.text);
}

void
draft_free (struct draft *d)
{
  if (d == NULL)
    return;
  for (size_t i = 0; i < d->disk_count; i++)
    writer_free (d->disks[i].writer);
  if (d->fd >= 0)
    close (d->fd);
  free (d->disks);
  free (d->files);
  free (d->run_id);
  free (d->folder);
  free (d);
}

/* RUN-ID.VM-ID; what has another form is not ours to remove. */
static bool
split_name (const char *name, char run_id[static MANIFEST_RUN_ID_MAX + 1],
            char vm_id[static UUID_SIZE])
{
  const char *dot = strchr (name, '.');

  if (dot == NULL || dot - name > MANIFEST_RUN_ID_MAX || !uuid_valid (dot + 1))
    return false;
  memcpy (run_id, name, (size_t)(dot - name));
  run_id[dot - name] = '\0';
  strcpy (vm_id, dot + 1);
  return run_id_valid (run_id);
}

static int
remove_tree (const struct place *place, const char *name, unsigned *removed,
             struct fault *f)
{
  if (fdio_remove_tree (place_folder_fd (place, PLACE_TMP), name, f) < 0)
    return fault_prefix (f, "remove tmp/%s", name);
  log_debug ("removed the unfinished tmp/%s", name);
  if (removed != NULL)
    (*removed)++;
  return 0;
}

int
draft_remove (const struct place *place, const struct lease *own,
              const char *name, struct fault *f)
{
  char run_id[MANIFEST_RUN_ID_MAX + 1];
  char vm_id[UUID_SIZE];

  if (!split_name (name, run_id, vm_id)
      || strcmp (lease_name (own), vm_id) != 0)
    return fault_set (f, FAULT_INTERNAL, 0, "tmp/%s is no draft of VM %s", name,
                      lease_name (own));
  if (lease_check (own, f) < 0)
    return -1;
  return remove_tree (place, name, NULL, f);
}

static int
clean_one (const struct place *place, const struct lease *own, const char *keep,
           const char *name, unsigned *removed, struct fault *f)
{
  struct fault local = FAULT_INIT;
  CLEANUP (lease_drop) struct lease *lease = NULL;
  char run_id[MANIFEST_RUN_ID_MAX + 1];
  char vm_id[UUID_SIZE];

  if (!split_name (name, run_id, vm_id))
    return 0;
  if (own != NULL && strcmp (lease_name (own), vm_id) == 0) {
    if (keep != NULL && strcmp (keep, run_id) == 0)
      return 0;
    if (lease_check (own, f) < 0)
      return -1;
    return remove_tree (place, name, removed, f);
  }
  if (lease_take (place, vm_id, "clean", &lease, &local) < 0)
    return local.code == FAULT_BUSY ? 0 : fault_copy (f, &local);
  return remove_tree (place, name, removed, f);
}

int
draft_clean (const struct place *place, const struct lease *own,
             const char *keep, unsigned *removed, struct fault *f)
{
  int fd = openat (place_folder_fd (place, PLACE_TMP), ".",
                   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir (fd);
  struct dirent *entry;
  int rc = 0;

  if (removed != NULL)
    *removed = 0;
  if (dir == NULL) {
    fault_set (f, FAULT_IO, errno, "read tmp of repository %s",
               place_path (place));
    if (fd >= 0)
      close (fd);
    return -1;
  }
  while (rc == 0 && (entry = readdir (dir)) != NULL)
    rc = clean_one (place, own, keep, entry->d_name, removed, f);
  closedir (dir);
  return rc;
}
