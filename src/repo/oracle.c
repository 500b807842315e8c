/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBQCOW
#  include <libqcow.h>
#endif

#include "base/fault.h"
#include "base/xmem.h"
#include "repo/oracle.h"

#ifdef HAVE_LIBQCOW

#  define READ_MAX ((size_t)1 << 20)

struct oracle {
  libqcow_file_t *file;
  char *name;
  uint64_t size;
};

const char *
oracle_version (void)
{
  static _Thread_local char text[48];

  snprintf (text, sizeof text, "libqcow %s", libqcow_get_version ());
  return text;
}

/* Report what libqcow says; frees ERROR. */
static int
failed (const struct oracle *o, const char *what, libqcow_error_t *error,
        struct fault *f)
{
  char text[512] = "";

  if (error != NULL && libqcow_error_sprint (error, text, sizeof text) < 0)
    text[0] = '\0';
  libqcow_error_free (&error);
  return fault_set (f, FAULT_CORRUPT, 0, "libqcow cannot %s %s: %s", what,
                    o->name, text);
}

static int
open_file (struct oracle *o, const char *path, struct fault *f)
{
  libqcow_error_t *error = NULL;
  size64_t size = 0;

  if (libqcow_file_initialize (&o->file, &error) != 1
      || libqcow_file_open (o->file, path, libqcow_get_access_flags_read (),
                            &error)
             != 1
      || libqcow_file_get_media_size (o->file, &size, &error) != 1)
    return failed (o, "open", error, f);
  o->size = size;
  return 0;
}

int
oracle_open (int fd, const char *name, struct oracle **out, struct fault *f)
{
  CLEANUP (oracle_close) struct oracle *o = xcalloc (1, sizeof *o);
  char path[48];

  *out = NULL;
  o->name = xstrdup (name);
  /* The very file that was checked, whatever stands under its name now. */
  snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  if (open_file (o, path, f) < 0)
    return -1;
  *out = steal_ptr (&o);
  return 0;
}

void
oracle_close (struct oracle *o)
{
  if (o == NULL)
    return;
  if (o->file != NULL)
    libqcow_file_free (&o->file, NULL);
  free (o->name);
  free (o);
}

uint64_t
oracle_size (const struct oracle *o)
{
  return o->size;
}

int
oracle_read (struct oracle *o, uint64_t offset, void *data, size_t size,
             struct fault *f)
{
  libqcow_error_t *error = NULL;

  for (size_t done = 0; done < size;) {
    size_t part = size - done < READ_MAX ? size - done : READ_MAX;
    ssize_t n = libqcow_file_read_buffer_at_offset (
        o->file, (char *)data + done, part, (off64_t)(offset + done), &error);

    if (n <= 0 || (size_t)n > part)
      return failed (o, "read", error, f);
    done += (size_t)n;
  }
  return 0;
}

#else

const char *
oracle_version (void)
{
  return NULL;
}

int
oracle_open (int fd, const char *name, struct oracle **out, struct fault *f)
{
  (void)fd;
  *out = NULL;
  return fault_set (f, FAULT_INTERNAL, 0, "%s: built without libqcow", name);
}

void
oracle_close (struct oracle *o)
{
  (void)o;
}

uint64_t
oracle_size (const struct oracle *o)
{
  (void)o;
  return 0;
}

int
oracle_read (struct oracle *o, uint64_t offset, void *data, size_t size,
             struct fault *f)
{
  (void)o;
  (void)offset;
  (void)data;
  (void)size;
  return fault_set (f, FAULT_INTERNAL, 0, "built without libqcow");
}

#endif
