/* SPDX-License-Identifier: Apache-2.0 */
/* Which file is below which.  A header is foreign: of the name in it only
   three forms are accepted, and each leads to a file beside the image or in
   the folder of another point of the same VM. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "cli/image_open.h"
#include "image/chain.h"
#include "image/qcow2.h"
#include "image/source.h"

#define QCOW2_SUFFIX ".qcow2"
#define BASES_WAY "../../../bases" /* from the folder of a point */

struct image_open {
  struct chain *chain;
  struct source *sources[CHAIN_LAYERS_MAX];
  unsigned count;
  int dirfd;    /* folder of the layer that was opened last */
  char *folder; /* its own name, for ../FOLDER/NAME */
  char *dir;    /* its path, for messages */
};

void
image_open_free (struct image_open *o)
{
  if (o == NULL)
    return;
  chain_free (o->chain);
  for (unsigned i = 0; i < o->count; i++)
    source_free (o->sources[i]);
  if (o->dirfd >= 0)
    close (o->dirfd);
  free (o->folder);
  free (o->dir);
  free (o);
}

struct chain *
image_open_chain (struct image_open *o)
{
  return o->chain;
}

/* A name that stays in its folder and is no protocol of QEMU. */
static bool
is_plain_name (const char *s)
{
  return s[0] != '\0' && strcmp (s, ".") != 0 && strcmp (s, "..") != 0
         && strchr (s, '/') == NULL && strchr (s, ':') == NULL;
}

/* YYYYMMDDTHHMMSSZ, or that with -N. */
static bool
is_point (const char *s)
{
  char stamp[STAMP_SIZE];
  int64_t seconds;
  size_t len = strlen (s);

  if (len < STAMP_SIZE - 1)
    return false;
  memcpy (stamp, s, STAMP_SIZE - 1);
  stamp[STAMP_SIZE - 1] = '\0';
  if (stamp_parse (stamp, &seconds, NULL) < 0)
    return false;
  s += STAMP_SIZE - 1;
  if (s[0] == '\0')
    return true;
  return s[0] == '-' && s[1] >= '1' && s[1] <= '9'
         && strspn (s + 1, "0123456789") == strlen (s + 1) && strlen (s) <= 10;
}

/* DISK-ID.qcow2 */
static bool
is_disk_file (const char *s)
{
  char id[UUID_SIZE];

  if (strlen (s) != UUID_SIZE - 1 + strlen (QCOW2_SUFFIX)
      || strcmp (s + UUID_SIZE - 1, QCOW2_SUFFIX) != 0)
    return false;
  memcpy (id, s, UUID_SIZE - 1);
  id[UUID_SIZE - 1] = '\0';
  return uuid_valid (id);
}

/* Make a folder beside this one (WAY is ".."), or below what WAY leads to, the
   current one: another point of the same VM, or a template's base. */
static int
enter (struct image_open *o, const char *way, const char *folder,
       struct fault *f)
{
  CLEANUP_CLOSE int up
      = openat (o->dirfd, way, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  char *dir;
  int fd;

  if (up < 0)
    return fault_set (f, FAULT_IO, errno, "open %s/%s", o->dir, way);
  fd = openat (up, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open %s/%s/%s", o->dir, way, folder);
  close (o->dirfd);
  o->dirfd = fd;
  dir = xasprintf ("%s/%s/%s", o->dir, way, folder);
  free (o->dir);
  o->dir = dir;
  free (o->folder);
  o->folder = xstrdup (folder);
  return 0;
}

/* ../../../bases/VOLUME-ID/DISK-ID.qcow2: the volume's id into ID, and the
   name; else NULL. */
static const char *
base_name (const char *backing, char id[static UUID_SIZE])
{
  static const char way[] = BASES_WAY "/";
  size_t skip = sizeof way - 1;

  if (strncmp (backing, way, skip) != 0
      || strnlen (backing + skip, UUID_SIZE) < UUID_SIZE
      || backing[skip + UUID_SIZE - 1] != '/')
    return NULL;
  memcpy (id, backing + skip, UUID_SIZE - 1);
  id[UUID_SIZE - 1] = '\0';
  backing += skip + UUID_SIZE;
  return uuid_valid (id) && is_disk_file (backing) ? backing : NULL;
}

/* The name below o->dirfd that BACKING of the file OWN means; the caller frees
   it.  NULL with F. */
static char *
backing_name (struct image_open *o, const char *own, const char *backing,
              struct fault *f)
{
  CLEANUP_FREE char *folder = NULL;
  char volume[UUID_SIZE];
  const char *name;

  if (is_plain_name (backing))
    return xstrdup (backing);
  if (strncmp (backing, "../", 3) == 0) {
    name = strchr (backing + 3, '/');
    if (name != NULL && is_plain_name (name + 1)) {
      folder = xstrndup (backing + 3, (size_t)(name - backing - 3));
      name++;
      if (strcmp (folder, o->folder) == 0)
        return xstrdup (name);
      if (is_point (folder) && is_disk_file (name) && strcmp (name, own) == 0)
        return enter (o, "..", folder, f) < 0 ? NULL : xstrdup (name);
    }
    name = base_name (backing, volume);
    if (name != NULL && is_point (o->folder) && is_disk_file (own))
      return enter (o, BASES_WAY, volume, f) < 0 ? NULL : xstrdup (name);
  }
  fault_set (f, FAULT_CORRUPT, 0,
             "%s/%s: its backing file \"%s\" is neither in the same folder nor "
             "../POINT/%s or a template's base of a repository",
             o->dir, own, backing, own);
  return NULL;
}

static int
check_loop (const struct image_open *o, struct fault *f)
{
  struct stat last;
  struct stat other;

  if (fstat (source_fd (o->sources[o->count - 1]), &last) < 0)
    return fault_set (f, FAULT_IO, errno, "stat %s",
                      o->sources[o->count - 1]->name);
  for (unsigned i = 0; i + 1 < o->count; i++)
    if (fstat (source_fd (o->sources[i]), &other) == 0
        && other.st_dev == last.st_dev && other.st_ino == last.st_ino)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "%s: is its own backing file, the chain is a loop",
                        o->sources[o->count - 1]->name);
  return 0;
}

static int
add_layer (struct image_open *o, int dirfd, const char *name, const char *path,
           const char *format, struct fault *f)
{
  static const struct qcow2_expect any = { .backing = QCOW2_BACKING_ANY };
  struct source *src;

  if (o->count == CHAIN_LAYERS_MAX)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: the chain has more than %d layers", path,
                      CHAIN_LAYERS_MAX);
  if (source_open_file (dirfd, name, path, &o->sources[o->count], f) < 0)
    return -1;
  src = o->sources[o->count++];
  if (check_loop (o, f) < 0)
    return -1;
  if (strcmp (format, "raw") == 0)
    return chain_add_raw (o->chain, src, (src->size + 511) & ~UINT64_C (511),
                          f);
  return chain_add_qcow2 (o->chain, src, &any, f);
}

static int
add_backing (struct image_open *o, const char *top, struct fault *f)
{
  CLEANUP_FREE char *own = xstrdup (top);

  while (!chain_complete (o->chain)) {
    CLEANUP_FREE char *path = NULL;
    char *name;
    const struct qcow2_header *h
        = qcow2_header (chain_qcow2 (o->chain, chain_count (o->chain) - 1));

    if (strcmp (h->backing_format, "raw") != 0
        && strcmp (h->backing_format, "qcow2") != 0)
      return fault_set (
          f, FAULT_CORRUPT, 0,
          "%s: records %s%s%s of its backing file, and formats are never "
          "guessed; set one with qemu-img rebase -u -F",
          o->sources[o->count - 1]->name,
          h->backing_format[0] != '\0' ? "the format \"" : "no format",
          h->backing_format, h->backing_format[0] != '\0' ? "\"" : "");
    name = backing_name (o, own, h->backing, f);
    if (name == NULL)
      return -1;
    free (own);
    own = name;
    path = xasprintf ("%s/%s", o->dir, own);
    if (add_layer (o, o->dirfd, own, path, h->backing_format, f) < 0)
      return -1;
  }
  return 0;
}

/* Only the file that was named may be a link (/dev/VG/LV is one): the chain
   is looked for where it was named. */
static int
open_folder (struct image_open *o, const char *path, struct fault *f)
{
  CLEANUP_FREE char *real = NULL;
  const char *slash = strrchr (path, '/');

  o->dir = slash == NULL   ? xstrdup (".")
           : slash == path ? xstrdup ("/")
                           : xstrndup (path, (size_t)(slash - path));
  o->dirfd = open (o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (o->dirfd < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open %s", o->dir);
  real = realpath (o->dir, NULL);
  if (real == NULL)
    return fault_set (f, FAULT_IO, errno, "resolve %s", o->dir);
  slash = strrchr (real, '/');
  o->folder = xstrdup (slash != NULL ? slash + 1 : real);
  return 0;
}

int
image_open (const char *path, const char *format, bool follow,
            struct image_open **out, struct fault *f)
{
  CLEANUP (image_open_free) struct image_open *o = xcalloc (1, sizeof *o);
  CLEANUP_FREE char *real = NULL;
  const char *slash = strrchr (path, '/');

  o->dirfd = -1;
  if (strcmp (format, "qcow2") != 0 && strcmp (format, "raw") != 0)
    return fault_set (f, FAULT_USAGE, 0,
                      "format \"%s\" is not known, use qcow2 or raw", format);
  o->chain = chain_new ();
  if (open_folder (o, path, f) < 0)
    return -1;
  real = realpath (path, NULL);
  if (real == NULL)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open %s", path);
  if (add_layer (o, AT_FDCWD, real, path, format, f) < 0
      || (follow && add_backing (o, slash != NULL ? slash + 1 : path, f) < 0))
    return -1;
  *out = steal_ptr (&o);
  return 0;
}

int
image_open_again (const struct image_open *o, struct chain **out,
                  struct fault *f)
{
  static const struct qcow2_expect any = { .backing = QCOW2_BACKING_ANY };
  CLEANUP (chain_free) struct chain *c = chain_new ();

  for (unsigned i = 0; i < o->count; i++) {
    bool raw = chain_qcow2 (o->chain, i) == NULL;

    if ((raw ? chain_add_raw (c, o->sources[i], chain_layer_size (o->chain, i),
                              f)
             : chain_add_qcow2 (c, o->sources[i], &any, f))
        < 0)
      return -1;
  }
  *out = steal_ptr (&c);
  return 0;
}
