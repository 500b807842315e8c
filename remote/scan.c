/* SPDX-License-Identifier: Apache-2.0 */
/* A stat of a descriptor on a dead NFS server hangs for minutes, so a
   descriptor is first judged by what /proc tells for free: the link's text (a
   regular path?), the link's mode (for writing?), then the inode, which
   kernels from 5.14 on print in fdinfo, compared with what fdinfo says of our
   own descriptor.  On older ones the link must end in the volume's name;
   vdsm's hard links of a template keep that name.  Only what is left is
   compared by stat, and that is on the domain which we read ourselves. */
#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "remote/scan.h"

#define LINK_SIZE_MAX 4096
#define FDINFO_SIZE_MAX 1024
/* How often, in one scan, and after which time a process is looked at again */
#define HIDDEN_TRIES 100
#define HIDDEN_MS 10

struct scan {
  const struct scan_file *files;
  uint32_t count;
  bool devices; /* some of the files are */
  struct scan_result *out;
  int fds;   /* /proc/PID/fd */
  int infos; /* /proc/PID/fdinfo */
  int tries; /* that are left */
};

/* Small files of /proc come in one read. */
static ssize_t
read_small (int dirfd, const char *name, char *out, size_t size)
{
  CLEANUP_CLOSE int fd = openat (dirfd, name, O_RDONLY | O_CLOEXEC);
  ssize_t n;

  if (fd < 0)
    return -1;
  n = read (fd, out, size - 1);
  if (n < 0)
    return -1;
  out[n] = '\0';
  return n;
}

/* The number after KEY at the start of a line; false when there is none. */
static bool
info_number (const char *info, const char *key, int base, uint64_t *out)
{
  const char *p = info;
  size_t len = strlen (key);

  while (p != NULL) {
    if (strncmp (p, key, len) == 0) {
      *out = strtoull (p + len, NULL, base);
      return true;
    }
    p = strchr (p, '\n');
    p = p == NULL ? NULL : p + 1;
  }
  return false;
}

/* Does the text of a link in /proc/PID/fd end in /NAME? */
static bool
link_names (const char *link, const char *name)
{
  static const char deleted[] = " (deleted)";
  size_t len = strlen (link);
  size_t want = strlen (name);

  if (len > sizeof deleted
      && strcmp (link + len - sizeof deleted + 1, deleted) == 0)
    len -= sizeof deleted - 1;
  return len > want && link[len - want - 1] == '/'
         && memcmp (link + len - want, name, want) == 0;
}

/* Is the descriptor NAME, opened for writing, one of our files?  Only one that
   looks like it is asked from its file system. */
static bool
match (struct scan *s, const char *name, const char *link, const char *info)
{
  uint64_t ino = 0;
  bool have_ino = info_number (info, "ino:", 10, &ino);
  const struct scan_file *file;
  struct stat st;

  for (uint32_t i = 0; i < s->count; i++) {
    file = &s->files[i];
    if (file->device)
      continue;
    if (have_ino && file->info_ino != 0 ? ino != file->info_ino
                                        : !link_names (link, file->name))
      continue;
    if (fstatat (s->fds, name, &st, 0) < 0) {
      if (errno == ENOENT || !link_names (link, file->name))
        continue;
    }
    else if (st.st_dev != file->dev || st.st_ino != file->ino)
      continue;
    s->out->file = i;
    return true;
  }
  return false;
}

/* The same for a device, whatever the name that it was opened by. */
static bool
match_device (struct scan *s, const char *name)
{
  struct stat st;

  if (fstatat (s->fds, name, &st, 0) < 0 || !S_ISBLK (st.st_mode))
    return false;
  for (uint32_t i = 0; i < s->count; i++) {
    if (!s->files[i].device || s->files[i].dev != st.st_rdev)
      continue;
    s->out->file = i;
    return true;
  }
  return false;
}

/* Look at one descriptor of a process; true when it is a writer of ours. */
static bool
scan_fd (struct scan *s, const char *name)
{
  char link[LINK_SIZE_MAX];
  char info[FDINFO_SIZE_MAX] = "";
  ssize_t n = readlinkat (s->fds, name, link, sizeof link - 1);
  struct stat st;
  bool device;

  if (n <= 0 || link[0] != '/')
    return false;
  link[n] = '\0';
  device = strncmp (link, "/dev/", 5) == 0;
  if ((device && !s->devices) || strncmp (link, "/proc/", 6) == 0)
    return false;
  /* the link's own mode says how the descriptor was opened */
  if (fstatat (s->fds, name, &st, AT_SYMLINK_NOFOLLOW) < 0
      || (st.st_mode & S_IWUSR) == 0)
    return false;
  if (device)
    return match_device (s, name);
  if (s->infos >= 0 && read_small (s->infos, name, info, sizeof info) < 0)
    info[0] = '\0';
  return match (s, name, link, info);
}

/* A process that ended meanwhile has nothing open. */
static bool
gone (int err)
{
  return err == ENOENT || err == ESRCH;
}

/* 1: found a writer, 0: none, -1: the process cannot be looked into. */
static int
scan_process (struct scan *s, int pid_fd)
{
  CLEANUP_CLOSE int infos
      = openat (pid_fd, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int fd = openat (pid_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct dirent *entry;
  DIR *dir;
  int rc = 0;

  if (fd < 0)
    return gone (errno) ? 0 : -1;
  dir = fdopendir (fd);
  if (dir == NULL) {
    close (fd);
    return -1;
  }
  s->fds = dirfd (dir);
  s->infos = infos;
  errno = 0;
  while (rc == 0 && (entry = readdir (dir)) != NULL) {
    if (isdigit ((unsigned char)entry->d_name[0]) && scan_fd (s, entry->d_name))
      rc = 1;
    errno = 0;
  }
  if (rc == 0 && errno != 0 && !gone (errno))
    rc = -1;
  closedir (dir);
  return rc;
}

/* The command line with its NULs as blanks, else the short name. */
static void
name_process (int pid_fd, char out[static SCAN_COMMAND_SIZE])
{
  ssize_t n = read_small (pid_fd, "cmdline", out, SCAN_COMMAND_SIZE);

  if (n <= 0)
    n = read_small (pid_fd, "comm", out, SCAN_COMMAND_SIZE);
  for (ssize_t i = 0; i < n; i++) {
    if (out[i] == '\0' || out[i] == '\n')
      out[i] = ' ';
  }
  while (n > 0 && out[n - 1] == ' ')
    n--;
  out[n > 0 ? n : 0] = '\0';
}

/* 1 when the process NAME is a writer.  The kernel hides the descriptors of a
   process that is about to end, even from root, until it has gone; so what
   cannot be looked into is looked at again. */
static int
scan_entry (struct scan *s, int proc_fd, const char *name)
{
  CLEANUP_CLOSE int pid_fd
      = openat (proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int rc;

  if (pid_fd < 0)
    return 0;
  rc = scan_process (s, pid_fd);
  while (rc < 0 && s->tries > 0) {
    s->tries--;
    poll (NULL, 0, HIDDEN_MS);
    rc = scan_process (s, pid_fd);
  }
  if (rc < 0)
    s->out->hidden++;
  if (rc == 1) {
    s->out->pid = (int32_t)strtol (name, NULL, 10);
    name_process (pid_fd, s->out->command);
  }
  return rc;
}

uint64_t
scan_info_ino (int fd)
{
  char name[48];
  char info[FDINFO_SIZE_MAX];
  uint64_t ino;

  snprintf (name, sizeof name, "/proc/self/fdinfo/%d", fd);
  if (read_small (AT_FDCWD, name, info, sizeof info) < 0
      || !info_number (info, "ino:", 10, &ino))
    return 0;
  return ino;
}

int
scan_writers (const struct scan_file *files, uint32_t count,
              const pid_t self[static 2], struct scan_result *out,
              struct fault *f)
{
  struct scan s = { .files = files,
                    .count = count,
                    .out = out,
                    .tries = geteuid () == 0 ? HIDDEN_TRIES : 0 };
  DIR *proc = opendir ("/proc");
  struct dirent *entry;
  long pid;

  for (uint32_t i = 0; i < count; i++)
    s.devices = s.devices || files[i].device;
  memset (out, 0, sizeof *out);
  if (proc == NULL)
    return fault_set (f, FAULT_REMOTE, errno, "read /proc");
  while (out->pid == 0 && (entry = readdir (proc)) != NULL) {
    pid = strtol (entry->d_name, NULL, 10);
    if (pid > 0 && pid != self[0] && pid != self[1])
      scan_entry (&s, dirfd (proc), entry->d_name);
  }
  closedir (proc);
  return 0;
}
