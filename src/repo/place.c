/* SPDX-License-Identifier: Apache-2.0 */
/* A repository begins to be one with the file "chainlift", which is written
   last: what a crash leaves behind before that is only empty folders, which
   the next attempt takes over. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "repo/lines.h"
#include "repo/place.h"
#include "repo/point.h"

#define FORMAT_NAME "chainlift"
#define FORMAT_MAX 4096
#define FORMAT_MAGIC "chainlift-repository 1"

struct place {
  char *path;
  char id[UUID_SIZE];
  int fd;
  int folders[PLACE_FOLDERS];
};

static const char *const folder_names[PLACE_FOLDERS] = {
  [PLACE_VMS] = "vms",         [PLACE_BASES] = "bases",   [PLACE_TMP] = "tmp",
  [PLACE_JOURNAL] = "journal", [PLACE_LEASES] = "leases",
};

static struct place *
new_place (const char *path)
{
  struct place *p = xcalloc (1, sizeof *p);

  p->path = xstrdup (path);
  p->fd = -1;
  for (int i = 0; i < PLACE_FOLDERS; i++)
    p->folders[i] = -1;
  return p;
}

void
place_close (struct place *p)
{
  if (p == NULL)
    return;
  for (int i = 0; i < PLACE_FOLDERS; i++) {
    if (p->folders[i] >= 0)
      close (p->folders[i]);
  }
  if (p->fd >= 0)
    close (p->fd);
  free (p->path);
  free (p);
}

/* Another version than ours is not damage: say which program it needs. */
static int
check_version (const struct place *p, const char *text, struct fault *f)
{
  static const char name[] = "chainlift-repository ";
  size_t size = strcspn (text, "\n");

  if (strncmp (text, name, sizeof name - 1) != 0
      || strcmp (text, FORMAT_MAGIC) == 0
      || (size == sizeof FORMAT_MAGIC - 1
          && memcmp (text, FORMAT_MAGIC, size) == 0))
    return 0;
  return fault_set (f, FAULT_USAGE, 0,
                    "repository %s has format \"%.*s\", this program reads "
                    "\"" FORMAT_MAGIC "\"; use the version that wrote it",
                    p->path, size < 64 ? (int)size : 64, text);
}

/* Read the format file.  1, 0 when there is none, -1. */
static int
read_format (struct place *p, struct fault *f)
{
  struct fault local = FAULT_INIT;
  struct lines l;
  size_t size;
  CLEANUP_FREE char *text
      = fdio_slurp (p->fd, FORMAT_NAME, FORMAT_MAX, &size, &local);
  int rc;

  if (text == NULL && local.code == FAULT_NOTFOUND)
    return 0;
  if (text == NULL)
    return fault_copy (f, &local);
  if (check_version (p, text, f) < 0)
    return -1;
  rc = lines_open (&l, FORMAT_NAME, text, size, FORMAT_MAGIC, 256, f);
  while (rc >= 0 && (rc = lines_next (&l, f)) == 1) {
    if (strcmp (l.key, "id") == 0 && p->id[0] == '\0' && uuid_valid (l.value))
      memcpy (p->id, l.value, UUID_SIZE);
    else if (strcmp (l.key, "created") != 0 && strncmp (l.key, "x-", 2) != 0)
      rc = lines_fault (&l, f, "%s is not known here or malformed", l.key);
  }
  lines_close (&l);
  if (rc == 0 && p->id[0] == '\0')
    rc = fault_set (f, FAULT_CORRUPT, 0, "%s: it has no id", FORMAT_NAME);
  return rc < 0 ? fault_prefix (f, "repository %s", p->path) : 1;
}

static int
write_format (struct place *p, struct fault *f)
{
  char now[STAMP_SIZE];
  struct buf b;
  int rc;

  uuid_make (p->id);
  stamp_format (stamp_now (), now);
  buf_init (&b, FORMAT_MAX);
  lines_begin (&b, FORMAT_MAGIC);
  lines_put (&b, "id", p->id);
  lines_put (&b, "created", now);
  lines_end (&b);
  rc = fdio_replace (p->fd, FORMAT_NAME, b.data, b.size, 0600, f);
  buf_reset (&b);
  return rc;
}

static bool
may_be_in_new (const char *name)
{
  if (strcmp (name, ".") == 0 || strcmp (name, "..") == 0
      || strcmp (name, "lost+found") == 0
      || strcmp (name, FORMAT_NAME ".new") == 0)
    return true;
  for (int i = 0; i < PLACE_FOLDERS; i++) {
    if (strcmp (name, folder_names[i]) == 0)
      return true;
  }
  return false;
}

/* Nothing foreign may be in a folder that becomes a repository. */
static int
check_empty (const struct place *p, struct fault *f)
{
  int fd = openat (p->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir (fd);
  struct dirent *entry;
  int rc = 0;

  if (dir == NULL) {
    fault_set (f, FAULT_IO, errno, "read directory %s", p->path);
    if (fd >= 0)
      close (fd);
    return -1;
  }
  while (rc == 0 && (entry = readdir (dir)) != NULL) {
    if (!may_be_in_new (entry->d_name))
      rc = fault_set (f, FAULT_USAGE, 0,
                      "%s is no repository and not empty (%s is in it); give "
                      "an empty folder",
                      p->path, entry->d_name);
  }
  closedir (dir);
  return rc;
}

/* Two programs may do this at once: the folder itself is locked, so that one
   makes the repository and the other finds it. */
static int
create (struct place *p, struct fault *f)
{
  CLEANUP_CLOSE int lock = -1;
  struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  int rc;

  if (check_empty (p, f) < 0)
    return -1;
  for (int i = 0; i < PLACE_FOLDERS; i++) {
    if (fdio_mkdir (p->fd, folder_names[i], 0700, f) < 0)
      return fault_prefix (f, "make repository %s", p->path);
  }
  lock = openat (p->fd, "leases/repository",
                 O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0 || fcntl (lock, F_OFD_SETLKW, &whole) < 0)
    return fault_set (f, FAULT_IO, errno,
                      "make repository %s: lock leases/repository", p->path);
  rc = read_format (p, f);
  if (rc == 0)
    rc = write_format (p, f);
  return rc;
}

static int
open_root (struct place *p, bool make, struct fault *f)
{
  p->fd = open (p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (p->fd < 0 && errno == ENOENT && make && mkdir (p->path, 0700) == 0)
    p->fd = open (p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (p->fd >= 0)
    return 0;
  return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                    "open repository %s", p->path);
}

static int
open_all (struct place *p, bool make, struct fault *f)
{
  int rc;

  if (open_root (p, make, f) < 0)
    return -1;
  rc = read_format (p, f);
  if (rc == 0 && make)
    rc = create (p, f) < 0 ? -1 : 1;
  if (rc < 0)
    return -1;
  if (rc == 0)
    return fault_set (f, FAULT_NOTFOUND, 0,
                      "%s is no repository: the file " FORMAT_NAME
                      " is not in it; the first backup makes one in an empty "
                      "folder",
                      p->path);
  for (int i = 0; i < PLACE_FOLDERS; i++) {
    p->folders[i] = fdio_open_dir (p->fd, folder_names[i], f);
    if (p->folders[i] < 0)
      return fault_prefix (f, "repository %s", p->path);
  }
  return 0;
}

int
place_open (const char *path, bool make, struct place **out, struct fault *f)
{
  struct place *p = new_place (path);

  *out = NULL;
  if (open_all (p, make, f) < 0) {
    place_close (p);
    return -1;
  }
  *out = p;
  return 0;
}

const char *
place_id (const struct place *p)
{
  return p->id;
}

const char *
place_path (const struct place *p)
{
  return p->path;
}

int
place_dirfd (const struct place *p)
{
  return p->fd;
}

int
place_folder_fd (const struct place *p, enum place_folder folder)
{
  return p->folders[folder];
}

int
place_journal_dirfd (const struct place *p)
{
  return p->folders[PLACE_JOURNAL];
}

int
place_free_bytes (const struct place *p, uint64_t *bytes, struct fault *f)
{
  struct statvfs st;

  if (fstatvfs (p->fd, &st) < 0)
    return fault_set (f, FAULT_IO, errno, "free space of repository %s",
                      p->path);
  *bytes = (uint64_t)st.f_bavail * st.f_frsize;
  return 0;
}

int
place_check_room (const struct place *p, uint64_t needed, struct fault *f)
{
  uint64_t room;

  if (place_free_bytes (p, &room, f) < 0)
    return -1;
  if (room >= PLACE_SPARE && room - PLACE_SPARE >= needed)
    return 0;
  return fault_set (f, FAULT_SPACE, 0,
                    "repository %s: %" PRIu64 " MiB are free, %" PRIu64
                    " MiB are needed (%" PRIu64
                    " MiB of them stay free): enlarge it, or remove old points "
                    "as chainlift-repository(5) says",
                    p->path, room >> 20, (needed + PLACE_SPARE) >> 20,
                    PLACE_SPARE >> 20);
}

int
place_open_vm (const struct place *p, const char *vm_id, const char *point,
               struct fault *f)
{
  CLEANUP_CLOSE int vm = -1;
  int fd;

  if (!uuid_valid (vm_id))
    return fault_set (f, FAULT_USAGE, 0, "\"%s\" is no VM id", vm_id);
  if (point != NULL && !point_name_valid (point))
    return fault_set (f, FAULT_USAGE, 0,
                      "\"%s\" is no point, it has the form 20261120T010000Z",
                      point);
  vm = fdio_open_dir (p->folders[PLACE_VMS], vm_id, f);
  if (vm < 0 || point == NULL)
    return steal_fd (&vm);
  fd = fdio_open_dir (vm, point, f);
  if (fd < 0)
    fault_prefix (f, "VM %s", vm_id);
  return fd;
}

int
place_open_base (const struct place *p, const char *volume_id, struct fault *f)
{
  int fd;

  if (!uuid_valid (volume_id))
    return fault_set (f, FAULT_USAGE, 0, "\"%s\" is no volume id", volume_id);
  fd = fdio_open_dir (p->folders[PLACE_BASES], volume_id, f);
  if (fd < 0)
    fault_prefix (f, "template's base %s", volume_id);
  return fd;
}
