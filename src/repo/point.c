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

#include "base/cancel.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"

#define DIGITS "0123456789"

/* The number behind the stamp: 1 without one; 0 when malformed. */
static unsigned
same_second (const char *suffix)
{
  size_t digits;

  if (suffix[0] == '\0')
    return 1;
  digits = strspn (suffix + 1, DIGITS);
  if (suffix[0] != '-' || suffix[1] == '0' || digits == 0 || digits > 2
      || suffix[1 + digits] != '\0' || strcmp (suffix, "-1") == 0)
    return 0;
  return (unsigned)atoi (suffix + 1);
}

bool
point_name_valid (const char *name)
{
  char stamp[STAMP_SIZE];
  char again[STAMP_SIZE];
  int64_t seconds;

  if (strnlen (name, STAMP_SIZE) < STAMP_SIZE - 1)
    return false;
  memcpy (stamp, name, STAMP_SIZE - 1);
  stamp[STAMP_SIZE - 1] = '\0';
  if (stamp_parse (stamp, &seconds, NULL) < 0)
    return false;
  /* The one way to write that second: no 31st of February, no blanks. */
  stamp_format (seconds, again);
  return strcmp (stamp, again) == 0 && same_second (name + STAMP_SIZE - 1) != 0;
}

int
point_name_compare (const char *a, const char *b)
{
  int rc = strncmp (a, b, STAMP_SIZE - 1);

  if (rc != 0 || strlen (a) < STAMP_SIZE - 1)
    return rc;
  return (int)same_second (a + STAMP_SIZE - 1)
         - (int)same_second (b + STAMP_SIZE - 1);
}

/* The names in a directory that pass CHECK, sorted by COMPARE. */
struct names {
  char **names;
  size_t count;
};

static void
names_reset (struct names *n)
{
  for (size_t i = 0; i < n->count; i++)
    free (n->names[i]);
  free (n->names);
}

static int
id_order (const void *a, const void *b)
{
  return strcmp (*(char *const *)a, *(char *const *)b);
}

static int
newest_first (const void *a, const void *b)
{
  return point_name_compare (*(char *const *)b, *(char *const *)a);
}

static int
names_read (int fd, bool (*check) (const char *),
            int (*order) (const void *, const void *), struct names *out,
            struct fault *f)
{
  int copy = openat (fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = copy < 0 ? NULL : fdopendir (copy);
  struct dirent *entry;
  int rc = 0;

  if (dir == NULL) {
    fault_set (f, FAULT_IO, errno, "read a directory of the repository");
    if (copy >= 0)
      close (copy);
    return -1;
  }
  while (rc == 0 && (errno = 0, entry = readdir (dir)) != NULL) {
    if (!check (entry->d_name))
      continue;
    if (out->count == POINT_COUNT_MAX) {
      rc = fault_set (f, FAULT_CORRUPT, 0,
                      "a directory of the repository has more than %d entries",
                      POINT_COUNT_MAX);
      break;
    }
    if ((out->count & (out->count - 1)) == 0)
      out->names = xreallocarray (
          out->names, out->count == 0 ? 1 : 2 * out->count, sizeof *out->names);
    out->names[out->count++] = xstrdup (entry->d_name);
  }
  if (rc == 0 && errno != 0)
    rc = fault_set (f, FAULT_IO, errno, "read a directory of the repository");
  closedir (dir);
  if (out->count > 1)
    qsort (out->names, out->count, sizeof *out->names, order);
  return rc;
}

/* The points of a VM that have a manifest, newest first. */
static int
vm_points (const struct place *p, const char *vm_id, struct names *out,
           struct fault *f)
{
  struct fault local = FAULT_INIT;
  CLEANUP_CLOSE int fd = place_open_vm (p, vm_id, NULL, &local);
  struct stat st;
  size_t kept = 0;

  if (fd < 0)
    return local.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &local);
  if (names_read (fd, point_name_valid, newest_first, out, f) < 0)
    return fault_prefix (f, "VM %s", vm_id);
  for (size_t i = 0; i < out->count; i++) {
    char path[POINT_NAME_SIZE + sizeof MANIFEST_NAME + 1];

    snprintf (path, sizeof path, "%s/" MANIFEST_NAME, out->names[i]);
    if (fstatat (fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
      out->names[kept++] = out->names[i];
    else
      free (out->names[i]);
  }
  out->count = kept;
  return 0;
}

static void
point_reset (struct point *point)
{
  manifest_free (point->manifest);
  free (point->damage);
}

/* Fill *POINT.  What is wrong with its manifest is its damage, not a fault.
   1, or 0 when it has gone. */
static int
load_point (const struct place *p, const char *vm_id, const char *name,
            struct point *point)
{
  struct fault local = FAULT_INIT;
  CLEANUP_CLOSE int fd = place_open_vm (p, vm_id, name, &local);

  memset (point, 0, sizeof *point);
  memcpy (point->vm_id, vm_id, UUID_SIZE);
  strcpy (point->name, name);
  if (fd >= 0 && manifest_load (fd, vm_id, name, &point->manifest, &local) == 0)
    return 1;
  if (local.code == FAULT_NOTFOUND)
    return 0;
  point->damage = xstrdup (local.text);
  return 1;
}

static int
list_vm (const struct place *p, const char *vm_id, struct point_list *out,
         struct fault *f)
{
  struct names names = { 0 };
  int rc = vm_points (p, vm_id, &names, f);

  if (rc == 0 && names.count > 0)
    out->points = xreallocarray (out->points, out->count + names.count,
                                 sizeof *out->points);
  for (size_t i = 0; i < names.count && rc == 0; i++) {
    rc = cancel_check (f);
    if (rc == 0
        && load_point (p, vm_id, names.names[i], &out->points[out->count]))
      out->count++;
  }
  names_reset (&names);
  return rc;
}

int
point_list (const struct place *p, const char *vm_id, struct point_list *out,
            struct fault *f)
{
  struct names vms = { 0 };
  int rc;

  *out = (struct point_list){ 0 };
  if (vm_id != NULL)
    rc = list_vm (p, vm_id, out, f);
  else {
    rc = names_read (place_folder_fd (p, PLACE_VMS), uuid_valid, id_order, &vms,
                     f);
    for (size_t i = 0; i < vms.count && rc == 0; i++)
      rc = list_vm (p, vms.names[i], out, f);
    names_reset (&vms);
  }
  if (rc < 0)
    point_list_reset (out);
  return rc;
}

void
point_list_reset (struct point_list *list)
{
  for (size_t i = 0; i < list->count; i++)
    point_reset (&list->points[i]);
  free (list->points);
  *list = (struct point_list){ 0 };
}

void
point_free (struct point *point)
{
  if (point == NULL)
    return;
  point_reset (point);
  free (point);
}

int
point_open (const struct place *p, const char *vm_id, const char *name,
            struct point **out, struct fault *f)
{
  struct point *point;
  struct manifest *m = NULL;
  CLEANUP_CLOSE int fd = place_open_vm (p, vm_id, name, f);

  *out = NULL;
  if (fd < 0 || manifest_load (fd, vm_id, name, &m, f) < 0)
    return -1;
  point = xcalloc (1, sizeof *point);
  memcpy (point->vm_id, vm_id, UUID_SIZE);
  strcpy (point->name, name);
  point->manifest = m;
  *out = point;
  return 0;
}

int
point_dir (const struct place *p, const struct point *point, struct fault *f)
{
  return point->is_base ? place_open_base (p, point->vm_id, f)
                        : place_open_vm (p, point->vm_id, point->name, f);
}

/* Does a point of VM_ID carry the name VM?  With NEWEST only the newest one
   that can be read is asked. */
static int
vm_has_name (const struct place *p, const char *vm_id, const char *vm,
             bool newest, struct fault *f)
{
  struct names names = { 0 };
  struct point point;
  int rc = vm_points (p, vm_id, &names, f);
  bool more = true;

  for (size_t i = 0; i < names.count && rc == 0 && more; i++) {
    if (load_point (p, vm_id, names.names[i], &point) == 0)
      continue;
    if (point.manifest != NULL) {
      rc = strcmp (point.manifest->vm_name, vm) == 0;
      more = !newest;
    }
    point_reset (&point);
  }
  names_reset (&names);
  return rc;
}

/* Append the ids of the VMs of this name to IDS, count them. */
static int
match_name (const struct place *p, const struct names *vms, const char *vm,
            bool newest, char *ids, size_t ids_size,
            char vm_id[static UUID_SIZE], struct fault *f)
{
  int found = 0;

  ids[0] = '\0';
  for (size_t i = 0; i < vms->count; i++) {
    size_t used = strlen (ids);
    int rc = vm_has_name (p, vms->names[i], vm, newest, f);

    if (rc < 0)
      return -1;
    if (rc == 0)
      continue;
    if (found++ == 0)
      memcpy (vm_id, vms->names[i], UUID_SIZE);
    snprintf (ids + used, ids_size - used, "%s%s", used > 0 ? ", " : "",
              vms->names[i]);
  }
  return found;
}

int
point_find_vm (const struct place *p, const char *vm,
               char vm_id[static UUID_SIZE], struct fault *f)
{
  struct names vms = { 0 };
  char ids[FAULT_TEXT_MAX / 2];
  char found[UUID_SIZE] = "";
  int rc;

  rc = names_read (place_folder_fd (p, PLACE_VMS), uuid_valid, id_order, &vms,
                   f);
  for (size_t i = 0; i < vms.count && rc == 0; i++) {
    if (strcmp (vms.names[i], vm) == 0) {
      memcpy (found, vm, UUID_SIZE);
      rc = 1;
    }
  }
  if (rc == 0)
    rc = match_name (p, &vms, vm, true, ids, sizeof ids, found, f);
  if (rc == 0)
    rc = match_name (p, &vms, vm, false, ids, sizeof ids, found, f);
  names_reset (&vms);
  if (rc < 0)
    return -1;
  if (rc == 0)
    return fault_set (f, FAULT_NOTFOUND, 0,
                      "no VM \"%s\" has a point in repository %s", vm,
                      place_path (p));
  if (rc > 1)
    return fault_set (f, FAULT_USAGE, 0,
                      "%d VMs are named \"%s\", give the id of one: %s", rc, vm,
                      ids);
  memcpy (vm_id, found, UUID_SIZE);
  return 0;
}

/* WHEN to a number of points before the latest.  1; 0: it is a name; -1. */
static int
parse_when (const char *when, size_t *back, struct fault *f)
{
  *back = 0;
  if (strcmp (when, "latest") == 0)
    return 1;
  if (when[0] == '-' && when[1] != '\0' && strlen (when) <= 7
      && strspn (when + 1, DIGITS) == strlen (when + 1)) {
    *back = (size_t)strtoul (when + 1, NULL, 10);
    return 1;
  }
  if (point_name_valid (when))
    return 0;
  return fault_set (f, FAULT_USAGE, 0,
                    "\"%s\" names no point; it is latest, -1 (the one before "
                    "the latest), -2 ..., or a date as 20261120T010000Z",
                    when);
}

static int
find_back (const struct place *p, const char *vm_id, size_t back,
           struct point **out, struct fault *f)
{
  struct names names = { 0 };
  int rc = vm_points (p, vm_id, &names, f);

  if (rc == 0 && back >= names.count)
    rc = fault_set (f, FAULT_NOTFOUND, 0, "VM %s has only %zu point%s", vm_id,
                    names.count, names.count == 1 ? "" : "s");
  if (rc == 0)
    rc = point_open (p, vm_id, names.names[back], out, f);
  names_reset (&names);
  return rc;
}

int
point_find (const struct place *p, const char *text, struct point **out,
            struct fault *f)
{
  const char *at = strrchr (text, '@');
  CLEANUP_FREE char *vm = NULL;
  struct fault why = FAULT_INIT;
  char vm_id[UUID_SIZE];
  size_t back;
  int rc;

  *out = NULL;
  if (at == NULL || at == text)
    return fault_set (f, FAULT_USAGE, 0,
                      "\"%s\" names no point; give VM@latest, VM@-1 or "
                      "VM@20261120T010000Z",
                      text);
  rc = parse_when (at + 1, &back, f);
  if (rc < 0)
    return -1;
  vm = xstrndup (text, (size_t)(at - text));
  if (point_find_vm (p, vm, vm_id, f) < 0)
    return -1;
  if (rc == 1)
    return find_back (p, vm_id, back, out, f);
  if (point_open (p, vm_id, at + 1, out, &why) == 0)
    return 0;
  if (why.code != FAULT_NOTFOUND)
    return fault_copy (f, &why);
  return fault_set (f, FAULT_NOTFOUND, 0,
                    "there is no point %s: chainlift points \"%s\" lists what "
                    "there is",
                    text, vm);
}

int
point_damaged (struct fault *f)
{
  if (f != NULL
      && (f->code == FAULT_NOTFOUND || f->err == ELOOP || f->err == ENOTDIR
          || f->err == EISDIR))
    f->code = FAULT_CORRUPT;
  return -1;
}
