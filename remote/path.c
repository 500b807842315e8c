/* SPDX-License-Identifier: Apache-2.0 */
/* Each component is opened by itself with O_NOFOLLOW, so that no link decides
   for us where a volume is.  vdsm makes two links that a domain's path
   crosses:
     mnt/_data_images -> /data/images                a domain on local storage
     SP/SD            -> /rhev/data-center/mnt/...   of the connected pool
   Only vdsm and root may write where they stand; their owner is checked. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "remote/path.h"

#define VDSM_UID 36
#define OPEN_STEP (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static bool
part_valid (const char *part)
{
  if (part[0] == '\0' || strcmp (part, ".") == 0 || strcmp (part, "..") == 0)
    return false;
  for (const unsigned char *p = (const unsigned char *)part; *p != '\0'; p++) {
    if (*p < 0x20 || *p == 0x7f)
      return false;
  }
  return true;
}

/* Cut COPY at each '/'; -1 when a part is no name or there are too many. */
static int
split (struct path_domain *d)
{
  char *p = d->copy;
  char *slash;

  do {
    if (d->count == PATH_PARTS_MAX)
      return -1;
    slash = strchr (p, '/');
    if (slash != NULL)
      *slash = '\0';
    if (!part_valid (p))
      return -1;
    d->parts[d->count++] = p;
    p = slash == NULL ? p : slash + 1;
  } while (slash != NULL);
  return 0;
}

static bool
is_mount (const struct path_domain *d)
{
  if (strcmp (d->parts[0], "mnt") != 0)
    return false;
  if (d->count == 3)
    return strcmp (d->parts[1], "glusterSD") != 0
           && strcmp (d->parts[1], "blockSD") != 0;
  return d->count == 4 && strcmp (d->parts[1], "glusterSD") == 0;
}

static bool
is_pool (const struct path_domain *d)
{
  return d->count == 2 && uuid_valid (d->parts[0]);
}

int
path_parse (const char *path, struct path_domain *out, struct fault *f)
{
  static const char top[] = PATH_TOP "/";
  size_t len = strlen (path);

  memset (out, 0, sizeof *out);
  if (strncmp (path, top, sizeof top - 1) != 0 || len >= sizeof out->copy)
    return fault_set (f, FAULT_PROTO, 0,
                      "domain directory %.200s: not below %s", path, PATH_TOP);
  memcpy (out->copy, path + sizeof top - 1, len - sizeof top + 2);
  if (split (out) < 0 || (!is_mount (out) && !is_pool (out))
      || !uuid_valid (path_domain_id (out)))
    return fault_set (f, FAULT_PROTO, 0,
                      "domain directory %.200s: not one of "
                      "mnt/PATH/SD, mnt/glusterSD/PATH/SD, POOL/SD below %s",
                      path, PATH_TOP);
  return 0;
}

const char *
path_domain_id (const struct path_domain *d)
{
  return d->parts[d->count - 1];
}

/* The target of the link NAME in DIR_FD, when it is one and vdsm's or root's;
   0, or -1. */
static int
read_link (int dir_fd, const char *name, char *target, size_t size,
           struct fault *f)
{
  struct stat st;
  ssize_t n;

  if (fstatat (dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
    return fault_set (f, FAULT_IO, errno, "open domain directory: %s", name);
  if (!S_ISLNK (st.st_mode))
    return fault_set (f, FAULT_IO, ENOTDIR, "open domain directory: %s", name);
  if (st.st_uid != 0 && st.st_uid != VDSM_UID)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "open domain directory: the link %s belongs to uid %u, "
                      "neither vdsm nor root made it",
                      name, (unsigned)st.st_uid);
  n = readlinkat (dir_fd, name, target, size);
  if (n < 0 || (size_t)n >= size)
    return fault_set (f, FAULT_IO, n < 0 ? errno : ENAMETOOLONG, "read link %s",
                      name);
  target[n] = '\0';
  return 0;
}

/* Open NAME in DIR_FD.  LINK_ALLOWED: it may be vdsm's link to the directory
   of a local domain. */
static int
open_step (int dir_fd, const char *name, bool link_allowed, struct fault *f)
{
  char target[PATH_SIZE_MAX];
  int fd = openat (dir_fd, name, OPEN_STEP);

  if (fd >= 0)
    return fd;
  if (!link_allowed || (errno != ENOTDIR && errno != ELOOP))
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open domain directory: %s", name);
  if (read_link (dir_fd, name, target, sizeof target, f) < 0)
    return -1;
  if (target[0] != '/')
    return fault_set (f, FAULT_CORRUPT, 0,
                      "open domain directory: the link %s is relative", name);
  fd = open (target, OPEN_STEP & ~O_NOFOLLOW);
  if (fd < 0)
    return fault_set (f, FAULT_IO, errno, "open domain directory: %s -> %.200s",
                      name, target);
  return fd;
}

static int
open_mount (const struct path_domain *d, struct fault *f)
{
  CLEANUP_CLOSE int fd = open (PATH_TOP, OPEN_STEP);
  int next;

  if (fd < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open %s: is this an oVirt host?", PATH_TOP);
  for (int i = 0; i < d->count; i++) {
    next = open_step (fd, d->parts[i], d->count == 3 && i == 1, f);
    if (next < 0)
      return -1;
    close (fd);
    fd = next;
  }
  return steal_fd (&fd);
}

/* SP/SD: its target is parsed as the mount form, once. */
static int
open_pool (const struct path_domain *d, struct fault *f)
{
  CLEANUP_CLOSE int top = open (PATH_TOP, OPEN_STEP);
  CLEANUP_CLOSE int fd = -1;
  struct path_domain target;
  char link[PATH_SIZE_MAX];

  if (top < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open %s: is this an oVirt host?", PATH_TOP);
  fd = open_step (top, d->parts[0], false, f);
  if (fd < 0 || read_link (fd, d->parts[1], link, sizeof link, f) < 0
      || path_parse (link, &target, f) < 0)
    return -1;
  if (!is_mount (&target)
      || strcmp (path_domain_id (&target), path_domain_id (d)) != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "open domain directory: the link %s points to %.200s",
                      d->parts[1], link);
  return open_mount (&target, f);
}

int
path_open_domain (const struct path_domain *d, struct fault *f)
{
  return is_pool (d) ? open_pool (d, f) : open_mount (d, f);
}

int
path_open_image (int domain_fd, const char *image, struct fault *f)
{
  CLEANUP_CLOSE int images = -1;
  int fd;

  if (!uuid_valid (image))
    return fault_set (f, FAULT_PROTO, 0, "image %.40s: not a UUID", image);
  images = openat (domain_fd, "images", OPEN_STEP);
  if (images < 0)
    return fault_set (f, FAULT_IO, errno, "open images of the domain");
  fd = openat (images, image, OPEN_STEP);
  if (fd < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open images/%s: the disk is not on this domain or was "
                      "removed",
                      image);
  return fd;
}
