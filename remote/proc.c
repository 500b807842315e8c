/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdio.h"
#include "remote/guard.h"
#include "remote/proc.h"

#define PATH_SIZE 64
#define STAT_SIZE 128 /* as far as the parent */

ssize_t
proc_read (pid_t pid, const char *name, char *out, size_t size)
{
  char path[PATH_SIZE];
  CLEANUP_CLOSE int fd = -1;
  ssize_t n;

  snprintf (path, sizeof path, "/proc/%d/%s", (int)pid, name);
  fd = open (path, O_RDONLY | O_CLOEXEC);
  n = fd < 0 ? -1 : fdio_pread_upto (fd, out, size - 1, 0, path, NULL);
  out[n < 0 ? 0 : n] = '\0';
  return n;
}

pid_t
proc_find (bool (*is) (pid_t pid, void *opaque), void *opaque)
{
  DIR *dir = opendir ("/proc");
  struct dirent *entry;
  pid_t found = 0;

  while (dir != NULL && found == 0 && (entry = readdir (dir)) != NULL) {
    pid_t pid = (pid_t)strtol (entry->d_name, NULL, 10);

    if (pid > 0 && is (pid, opaque))
      found = pid;
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

/* proc(5): "PID (NAME) STATE PARENT ..." */
static bool
is_orphan (pid_t pid, void *opaque)
{
  char path[PATH_SIZE];
  char text[STAT_SIZE];
  const char *end;
  struct stat st;

  (void)opaque;
  snprintf (path, sizeof path, "/proc/%d", (int)pid);
  if (stat (path, &st) < 0 || st.st_uid != GUARD_VDSM_ID
      || proc_read (pid, "stat", text, sizeof text) < 0)
    return false;
  end = strrchr (text, ')');
  return end != NULL && strlen (end) > 4 && atoi (end + 4) == 1
         && strstr (text, "(" PROC_HELPER ")") != NULL;
}

pid_t
proc_orphan (void)
{
  return proc_find (is_orphan, NULL);
}

bool
proc_is_helper (pid_t pid)
{
  char comm[32];

  return proc_read (pid, "comm", comm, sizeof comm) > 0
         && strncmp (comm, PROC_HELPER, strlen (PROC_HELPER)) == 0;
}
