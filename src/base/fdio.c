/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"

int
fdio_read_full (int fd, void *data, size_t size, const char *path,
                struct fault *f)
{
  size_t done = 0;
  ssize_t n;

  while (done < size) {
    n = read (fd, (char *)data + done, size - done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fault_set (f, FAULT_IO, errno, "read %s", path);
    if (n == 0) {
      if (done == 0)
        return 0;
      return fault_set (f, FAULT_IO, 0,
                        "read %s: it ends after %zu of %zu "
                        "bytes",
                        path, done, size);
    }
    done += (size_t)n;
  }
  return 1;
}

ssize_t
fdio_read_some (int fd, void *data, size_t size, const char *path,
                struct fault *f)
{
  ssize_t n;

  do
    n = read (fd, data, size);
  while (n < 0 && errno == EINTR);
  if (n < 0)
    return fault_set (f, FAULT_IO, errno, "read %s", path);
  return n;
}

int
fdio_write_full (int fd, const void *data, size_t size, const char *path,
                 struct fault *f)
{
  struct iovec iov = { .iov_base = (void *)data, .iov_len = size };

  return fdio_writev_full (fd, &iov, 1, path, f);
}

int
fdio_writev_full (int fd, struct iovec *iov, int count, const char *path,
                  struct fault *f)
{
  ssize_t n;

  while (count > 0) {
    if (iov->iov_len == 0) {
      iov++;
      count--;
      continue;
    }
    n = writev (fd, iov, count < IOV_MAX ? count : IOV_MAX);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fault_set (f, FAULT_IO, errno, "write %s", path);
    while (count > 0 && (size_t)n >= iov->iov_len) {
      n -= (ssize_t)iov->iov_len;
      iov++;
      count--;
    }
    if (count > 0) {
      iov->iov_base = (char *)iov->iov_base + n;
      iov->iov_len -= (size_t)n;
    }
  }
  return 0;
}

ssize_t
fdio_pread_upto (int fd, void *data, size_t size, uint64_t offset,
                 const char *path, struct fault *f)
{
  size_t done = 0;
  ssize_t n;

  while (done < size) {
    n = pread (fd, (char *)data + done, size - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fault_set (f, FAULT_IO, errno, "read %s at %llu", path,
                        (unsigned long long)(offset + done));
    if (n == 0)
      break;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

int
fdio_pread_full (int fd, void *data, size_t size, uint64_t offset,
                 const char *path, struct fault *f)
{
  ssize_t n = fdio_pread_upto (fd, data, size, offset, path, f);

  if (n < 0)
    return -1;
  if ((size_t)n < size)
    return fault_set (f, FAULT_IO, 0,
                      "read %s: it ends at %llu, %zu bytes "
                      "were expected from %llu",
                      path, (unsigned long long)offset + (unsigned long long)n,
                      size, (unsigned long long)offset);
  return 0;
}

int
fdio_pwrite_full (int fd, const void *data, size_t size, uint64_t offset,
                  const char *path, struct fault *f)
{
  size_t done = 0;
  ssize_t n;

  while (done < size) {
    n = pwrite (fd, (const char *)data + done, size - done,
                (off_t)(offset + done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fault_set (f, FAULT_IO, errno, "write %s at %llu", path,
                        (unsigned long long)(offset + done));
    done += (size_t)n;
  }
  return 0;
}

int
fdio_fsync (int fd, const char *path, struct fault *f)
{
  if (fsync (fd) < 0)
    return fault_set (f, FAULT_IO, errno, "fsync %s", path);
  return 0;
}

/* As fcntl returns. */
static int
set_lock (int fd, short type, uint64_t offset, uint64_t size)
{
  struct flock range = { .l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)offset,
                         .l_len = (off_t)size };
  int rc;

  do
    rc = fcntl (fd, F_OFD_SETLK, &range);
  while (rc < 0 && errno == EINTR);
  return rc;
}

int
fdio_lock (int fd, uint64_t offset, uint64_t size)
{
  if (set_lock (fd, F_WRLCK, offset, size) == 0)
    return 1;
  return errno == EAGAIN || errno == EACCES ? 0 : -1;
}

void
fdio_unlock (int fd, uint64_t offset, uint64_t size)
{
  (void)set_lock (fd, F_UNLCK, offset, size);
}

int
fdio_close (int *fd, const char *path, struct fault *f)
{
  int victim = *fd;

  *fd = -1;
  if (victim >= 0 && close (victim) < 0 && errno != EINTR)
    return fault_set (f, FAULT_IO, errno, "close %s", path);
  return 0;
}

char *
fdio_slurp (int dirfd, const char *name, size_t max, size_t *size,
            struct fault *f)
{
  CLEANUP_CLOSE int fd
      = openat (dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  CLEANUP_FREE char *data = NULL;
  struct stat st;
  ssize_t n;

  if (fd < 0) {
    fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno, "open %s",
               name);
    return NULL;
  }
  if (fstat (fd, &st) < 0 || !S_ISREG (st.st_mode)) {
    fault_set (f, FAULT_IO, 0, "read %s: not a regular file", name);
    return NULL;
  }
  if ((uint64_t)st.st_size > max) {
    fault_set (f, FAULT_CORRUPT, 0,
               "read %s: %lld bytes, at most %zu are "
               "allowed",
               name, (long long)st.st_size, max);
    return NULL;
  }
  data = try_calloc ((size_t)st.st_size + 1, 1, name, f);
  if (data == NULL)
    return NULL;
  n = fdio_pread_upto (fd, data, (size_t)st.st_size, 0, name, f);
  if (n < 0)
    return NULL;
  data[n] = '\0';
  if (size != NULL)
    *size = (size_t)n;
  return steal_ptr (&data);
}

int
fdio_sync_dir (int dirfd, const char *path, struct fault *f)
{
  if (fsync (dirfd) < 0)
    return fault_set (f, FAULT_IO, errno, "fsync directory %s", path);
  return 0;
}

int
fdio_replace (int dirfd, const char *name, const void *data, size_t size,
              mode_t mode, struct fault *f)
{
  CLEANUP_FREE char *temp = xasprintf ("%s.new", name);
  CLEANUP_CLOSE int fd = openat (
      dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);

  if (fd < 0)
    return fault_set (f, FAULT_IO, errno, "create %s", temp);
  if (fdio_write_full (fd, data, size, temp, f) < 0
      || fdio_fsync (fd, temp, f) < 0 || fdio_close (&fd, temp, f) < 0) {
    unlinkat (dirfd, temp, 0);
    return -1;
  }
  if (renameat (dirfd, temp, dirfd, name) < 0)
    return fault_set (f, FAULT_IO, errno, "rename %s to %s", temp, name);
  return fdio_sync_dir (dirfd, name, f);
}

int
fdio_mkdir (int dirfd, const char *name, mode_t mode, struct fault *f)
{
  if (mkdirat (dirfd, name, mode) < 0) {
    if (errno == EEXIST)
      return 0;
    return fault_set (f, FAULT_IO, errno, "create directory %s", name);
  }
  if (dirfd == AT_FDCWD)
    return 0;
  return fdio_sync_dir (dirfd, name, f);
}

int
fdio_open_dir (int dirfd, const char *name, struct fault *f)
{
  int fd
      = openat (dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

  if (fd < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open directory %s", name);
  return fd;
}

/* Empty the directory FD, which this call closes. */
static int
empty_dir (int fd, const char *name, struct fault *f)
{
  DIR *dir = fdopendir (fd);
  struct dirent *entry;
  int rc = 0;

  if (dir == NULL) {
    close (fd);
    return fault_set (f, FAULT_IO, errno, "read directory %s", name);
  }
  while (rc == 0 && (entry = readdir (dir)) != NULL) {
    if (strcmp (entry->d_name, ".") != 0 && strcmp (entry->d_name, "..") != 0)
      rc = fdio_remove_tree (dirfd (dir), entry->d_name, f);
  }
  closedir (dir);
  return rc;
}

int
fdio_remove_tree (int dirfd, const char *name, struct fault *f)
{
  int fd;

  if (unlinkat (dirfd, name, 0) == 0 || errno == ENOENT)
    return 0;
  if (errno != EISDIR && errno != EPERM)
    return fault_set (f, FAULT_IO, errno, "remove %s", name);
  fd = fdio_open_dir (dirfd, name, f);
  if (fd < 0 || empty_dir (fd, name, f) < 0)
    return -1;
  if (unlinkat (dirfd, name, AT_REMOVEDIR) < 0)
    return fault_set (f, FAULT_IO, errno, "remove directory %s", name);
  return 0;
}
