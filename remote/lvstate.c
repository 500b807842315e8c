/* SPDX-License-Identifier: Apache-2.0 */
/* flock and not an OFD lock: kernels of EL7 have no other that goes with the
   process that opened the file. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "remote/lvstate.h"
#include "remote/proc.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define PREFIX "lv."
#define HEAD "chainlift-lv 1"
#define TRIES 8
#define NAME_DIGITS 8

/* --- text ------------------------------------------------------------- */

static struct lvstate_volume *
find (struct lvstate *s, const char *name)
{
  for (size_t i = 0; i < s->count; i++) {
    if (strcmp (s->volumes[i].name, name) == 0)
      return &s->volumes[i];
  }
  return NULL;
}

static bool
take_volume (struct lvstate *s, bool mine, const char *rest)
{
  struct lvstate_volume v = { .mine = mine };
  struct lvstate_volume *old;

  if (sscanf (rest, "%36s %38s %38s", v.name, v.vg_uuid, v.lv_uuid) != 3
      || !uuid_valid (v.name) || s->count == LVSTATE_VOLUMES_MAX)
    return false;
  old = find (s, v.name);
  if (old != NULL) {
    *old = v;
    return true;
  }
  s->volumes = xreallocarray (s->volumes, s->count + 1, sizeof *s->volumes);
  s->volumes[s->count++] = v;
  return true;
}

static bool
take_lun (struct lvstate *s, const char *id)
{
  struct group_spec *g = &s->group;

  if (!group_lun_valid (id) || g->lun_count == GROUP_LUNS_MAX)
    return false;
  g->luns = xreallocarray (g->luns, g->lun_count + 1, sizeof *g->luns);
  memset (&g->luns[g->lun_count], 0, sizeof g->luns[0]);
  memcpy (g->luns[g->lun_count++].id, id, strlen (id));
  return true;
}

static bool
take_line (struct lvstate *s, char *line)
{
  char *rest = strchr (line, ' ');
  struct lvstate_volume *v;
  unsigned version = 0;

  if (rest == NULL)
    return false;
  *rest++ = '\0';
  if (strcmp (line, "boot") == 0)
    return sscanf (rest, "%36s", s->boot) == 1;
  if (strcmp (line, "sd") == 0) {
    if (sscanf (rest, "%36s %u", s->sd, &version) != 2)
      return false;
    s->group.version = (uint8_t)version;
    return uuid_valid (s->sd);
  }
  if (strcmp (line, "lun") == 0)
    return take_lun (s, rest);
  if (strcmp (line, "mine") == 0 || strcmp (line, "held") == 0)
    return take_volume (s, line[0] == 'm', rest);
  if (strcmp (line, "done") != 0)
    return false;
  v = find (s, rest);
  if (v != NULL)
    v->done = true;
  return v != NULL;
}

int
lvstate_parse (const char *text, struct lvstate *out, struct fault *f)
{
  char *copy = xstrdup (text);
  char *rest = copy;
  char *end = strchr (rest, '\n');
  bool ok = end != NULL && strncmp (copy, HEAD "\n", sizeof HEAD) == 0;

  memset (out, 0, sizeof *out);
  while (ok && end != NULL) {
    rest = end + 1;
    end = strchr (rest, '\n');
    if (end == NULL)
      break;
    *end = '\0';
    ok = take_line (out, rest);
  }
  free (copy);
  if (ok && out->boot[0] != '\0')
    return 0;
  lvstate_reset (out);
  return fault_set (f, FAULT_CORRUPT, 0, "not a record of activated volumes");
}

void
lvstate_reset (struct lvstate *s)
{
  group_reset (&s->group);
  free (s->volumes);
  memset (s, 0, sizeof *s);
}

/* --- files ------------------------------------------------------------ */

static void
read_boot (char out[static UUID_SIZE])
{
  CLEANUP_CLOSE int fd = open (BOOT_ID, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read (fd, out, UUID_SIZE - 1);

  out[n > 0 ? n : 0] = '\0';
}

/* The directory, root's alone; MAKE it, or -1 without a fault. */
static int
open_dir (bool make, struct fault *f)
{
  CLEANUP_CLOSE int fd = -1;
  struct stat st;

  if (make && mkdir (LVSTATE_DIR, 0700) < 0 && errno != EEXIST)
    return fault_set (f, FAULT_IO, errno, "make %s", LVSTATE_DIR);
  fd = open (LVSTATE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && !make)
    return -1;
  if (fd < 0 || fstat (fd, &st) < 0)
    return fault_set (f, FAULT_IO, errno, "open %s", LVSTATE_DIR);
  if (st.st_uid != geteuid () || (st.st_mode & 077) != 0)
    return fault_set (f, FAULT_REMOTE, 0,
                      "%s is not a directory of this user alone: remove it",
                      LVSTATE_DIR);
  return steal_fd (&fd);
}

static int
put_head (struct lvstate_file *s, const char *sd, const struct group_spec *g,
          struct fault *f)
{
  char boot[UUID_SIZE];
  struct buf text;
  int rc;

  read_boot (boot);
  buf_init (&text, LVSTATE_SIZE_MAX);
  buf_printf (&text, "%s\nboot %s\nsd %s %u\n", HEAD, boot, sd, g->version);
  for (uint32_t i = 0; i < g->lun_count; i++)
    buf_printf (&text, "lun %s\n", g->luns[i].id);
  rc = fdio_write_full (s->fd, text.data, text.size, s->name, f);
  buf_reset (&text);
  return rc;
}

/* A new file that is locked: its descriptor, or -1. */
static int
create_in (int dir, char *name, size_t size)
{
  char digits[NAME_DIGITS + 1];
  struct stat st;
  int fd;

  uuid_hex (digits, NAME_DIGITS);
  snprintf (name, size, PREFIX "%d.%s", (int)getpid (), digits);
  fd = openat (dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  /* one who looks for orphans may have been faster: another name then */
  if (fd >= 0
      && (flock (fd, LOCK_EX | LOCK_NB) < 0 || fstat (fd, &st) < 0
          || st.st_nlink == 0)) {
    close (fd);
    fd = -1;
  }
  return fd;
}

int
lvstate_create (const char *sd, const struct group_spec *g,
                struct lvstate_file *out, struct fault *f)
{
  struct fault why = FAULT_INIT;
  int dir;

  out->fd = -1;
  /* The directory goes with the last file in it, perhaps at this moment. */
  for (int i = 0; out->fd < 0 && i < TRIES; i++) {
    fault_reset (&why);
    dir = open_dir (true, &why);
    if (dir < 0)
      continue;
    out->fd = create_in (dir, out->name, sizeof out->name);
    if (out->fd < 0)
      fault_set (&why, FAULT_IO, errno, "make a file in %s", LVSTATE_DIR);
    close (dir);
  }
  if (out->fd < 0)
    return fault_copy (f, &why);
  if (put_head (out, sd, g, f) == 0)
    return 0;
  lvstate_close (out, true);
  return -1;
}

int
lvstate_add (struct lvstate_file *s, const struct lvstate_volume *v,
             struct fault *f)
{
  char line[256];

  if (s->fd < 0)
    return 0;
  if (v->done)
    snprintf (line, sizeof line, "done %s\n", v->name);
  else
    snprintf (line, sizeof line, "%s %s %s %s\n", v->mine ? "mine" : "held",
              v->name, v->vg_uuid, v->lv_uuid);
  return fdio_write_full (s->fd, line, strlen (line), s->name, f);
}

void
lvstate_close (struct lvstate_file *s, bool remove)
{
  CLEANUP_CLOSE int dir = -1;

  if (s->fd < 0)
    return;
  if (remove)
    dir = open_dir (false, NULL);
  /* only an empty directory goes */
  if (dir >= 0 && (unlinkat (dir, s->name, 0) < 0 || rmdir (LVSTATE_DIR) < 0))
    errno = 0;
  fdio_close (&s->fd, s->name, NULL);
}

/* Lock NAME when its helper is dead: its descriptor, or -1. */
static int
lock_orphan (int dir, const char *name)
{
  CLEANUP_CLOSE int fd = -1;
  struct stat st;

  if (strncmp (name, PREFIX, strlen (PREFIX)) != 0
      || strlen (name) >= LVSTATE_NAME_SIZE)
    return -1;
  fd = openat (dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || flock (fd, LOCK_EX | LOCK_NB) < 0 || fstat (fd, &st) < 0
      || st.st_nlink == 0)
    return -1;
  /* behind what is there: done lines are added */
  lseek (fd, 0, SEEK_END);
  return steal_fd (&fd);
}

static DIR *
list (int *fd)
{
  DIR *dir;

  *fd = open_dir (false, NULL);
  dir = *fd < 0 ? NULL : fdopendir (*fd);
  if (dir == NULL && *fd >= 0)
    close (*fd);
  return dir;
}

bool
lvstate_orphans (void)
{
  struct dirent *entry;
  bool found = false;
  int fd;
  DIR *dir = list (&fd);
  int orphan;

  while (dir != NULL && !found && (entry = readdir (dir)) != NULL) {
    orphan = lock_orphan (fd, entry->d_name);
    found = orphan >= 0;
    if (found)
      close (orphan);
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

/* Read the record NAME; false when it was worth nothing and is removed. */
static bool
read_record (int dir, struct lvstate_file *file, struct lvstate *out)
{
  CLEANUP_FREE char *text
      = fdio_slurp (dir, file->name, LVSTATE_SIZE_MAX, NULL, NULL);
  char boot[UUID_SIZE];

  read_boot (boot);
  if (text != NULL && lvstate_parse (text, out, NULL) == 0) {
    if (strcmp (out->boot, boot) == 0 && out->count > 0)
      return true;
    lvstate_reset (out);
  }
  lvstate_close (file, true);
  return false;
}

bool
lvstate_next (unsigned skip, struct lvstate *out, struct lvstate_file *file)
{
  struct dirent *entry;
  unsigned n = 0;
  bool found = false;
  int fd;
  DIR *dir = list (&fd);

  file->fd = -1;
  while (dir != NULL && !found && (entry = readdir (dir)) != NULL) {
    file->fd = lock_orphan (fd, entry->d_name);
    if (file->fd < 0)
      continue;
    snprintf (file->name, sizeof file->name, "%.63s", entry->d_name);
    if (!read_record (fd, file, out))
      continue;
    found = n++ == skip;
    if (!found) {
      lvstate_close (file, false);
      lvstate_reset (out);
    }
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

/* Does the record NAME?  Then *MINE becomes true where it says so. */
static bool
claims (int dir, const char *name, const char *boot, const char *lv_uuid,
        bool *mine)
{
  CLEANUP_FREE char *text
      = fdio_slurp (dir, name, LVSTATE_SIZE_MAX, NULL, NULL);
  struct lvstate s;
  bool found = false;

  if (text == NULL || lvstate_parse (text, &s, NULL) < 0)
    return false;
  for (size_t i = 0; i < s.count; i++) {
    if (s.volumes[i].done || strcmp (s.volumes[i].lv_uuid, lv_uuid) != 0
        || strcmp (s.boot, boot) != 0)
      continue;
    found = true;
    *mine = *mine || s.volumes[i].mine;
  }
  lvstate_reset (&s);
  return found;
}

enum lvstate_claim
lvstate_claims (const char *lv_uuid, const struct lvstate_file *but, bool *mine)
{
  enum lvstate_claim claim = LVSTATE_NOBODY;
  char boot[UUID_SIZE];
  struct dirent *entry;
  bool by_it = false;
  int fd;
  DIR *dir = list (&fd);

  read_boot (boot);
  while (dir != NULL && (entry = readdir (dir)) != NULL) {
    const char *name = entry->d_name;

    if (strncmp (name, PREFIX, strlen (PREFIX)) != 0
        || (but != NULL && strcmp (name, but->name) == 0)
        || !claims (fd, name, boot, lv_uuid, &by_it))
      continue;
    /* the name has the process of the helper */
    if (proc_is_helper ((pid_t)atoi (name + strlen (PREFIX))))
      claim = LVSTATE_LIVING;
    else if (claim == LVSTATE_NOBODY)
      claim = LVSTATE_DEAD;
  }
  if (dir != NULL)
    closedir (dir);
  if (mine != NULL)
    *mine = by_it;
  return claim;
}
