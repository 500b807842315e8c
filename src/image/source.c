/* SPDX-License-Identifier: Apache-2.0 */
/* Local files, block devices and memory as containers. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "image/source.h"

struct source_file {
  struct source source; /* first: source_fd gets from one to the other */
  int fd;
  char *path;
};

struct source_bytes {
  struct source source;
  const uint8_t *data;
};

static int
file_read_at (void *opaque, uint64_t offset, void *data, size_t size,
              struct fault *f)
{
  struct source_file *s = opaque;
  ssize_t n = fdio_pread_upto (s->fd, data, size, offset, s->path, f);

  if (n < 0)
    return -1;
  if ((size_t)n < size && offset + (size_t)n < s->source.size)
    return fault_set (f, FAULT_IO, 0,
                      "%s: became shorter while it was read (%llu bytes)",
                      s->path, (unsigned long long)(offset + (size_t)n));
  memset ((uint8_t *)data + n, 0, size - (size_t)n);
  return 0;
}

/* A file system without SEEK_DATA answers EINVAL or says that all is data. */
static int
file_next_data (void *opaque, uint64_t offset, uint64_t *data, uint64_t *hole,
                struct fault *f)
{
  struct source_file *s = opaque;
  off_t start = lseek (s->fd, (off_t)offset, SEEK_DATA);
  off_t end;

  *data = s->source.size;
  *hole = s->source.size;
  if (start < 0 && errno == ENXIO)
    return 0;
  if (start < 0 && errno == EINVAL)
    start = (off_t)offset;
  if (start < 0)
    return fault_set (f, FAULT_IO, errno, "%s: seek data at %llu", s->path,
                      (unsigned long long)offset);
  end = lseek (s->fd, start, SEEK_HOLE);
  if (end < 0 && errno != EINVAL && errno != ENXIO)
    return fault_set (f, FAULT_IO, errno, "%s: seek hole at %llu", s->path,
                      (unsigned long long)start);
  *data = (uint64_t)start;
  if (end > start && (uint64_t)end < s->source.size)
    *hole = (uint64_t)end;
  return 0;
}

static void
file_close (void *opaque)
{
  struct source_file *s = opaque;

  close (s->fd);
  free (s->path);
}

static int
file_size (int fd, const char *path, uint64_t *size, bool *block_device,
           struct fault *f)
{
  struct stat st;

  if (fstat (fd, &st) < 0)
    return fault_set (f, FAULT_IO, errno, "%s: stat", path);
  *block_device = S_ISBLK (st.st_mode);
  if (*block_device) {
    if (ioctl (fd, BLKGETSIZE64, size) < 0)
      return fault_set (f, FAULT_IO, errno, "%s: size of block device", path);
    return 0;
  }
  if (!S_ISREG (st.st_mode))
    return fault_set (f, FAULT_IO, 0,
                      "%s: is neither a regular file nor a block device", path);
  *size = (uint64_t)st.st_size;
  return 0;
}

int
source_open_file (int dirfd, const char *name, const char *path,
                  struct source **out, struct fault *f)
{
  CLEANUP_CLOSE int fd = -1;
  struct source_file *s;
  uint64_t size = 0;
  bool block_device = false;

  /* O_NONBLOCK: a FIFO in the place of an image must not hang us. */
  fd = openat (dirfd, name,
               O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (fd < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open %s", path);
  if (file_size (fd, path, &size, &block_device, f) < 0)
    return -1;
  s = xcalloc (1, sizeof *s);
  s->fd = steal_fd (&fd);
  s->path = xstrdup (path);
  s->source.opaque = s;
  s->source.name = s->path;
  s->source.size = size;
  s->source.align = 1;
  s->source.block_device = block_device;
  s->source.read_at = file_read_at;
  s->source.next_data = block_device ? NULL : file_next_data;
  s->source.close = file_close;
  *out = &s->source;
  return 0;
}

int
source_fd (const struct source *s)
{
  const struct source_file *file = s->opaque;

  return file->fd;
}

static int
memory_read_at (void *opaque, uint64_t offset, void *data, size_t size,
                struct fault *f)
{
  struct source_bytes *s = opaque;
  size_t n = size;

  (void)f;
  if (n > s->source.size - offset)
    n = (size_t)(s->source.size - offset);
  memcpy (data, s->data + offset, n);
  memset ((uint8_t *)data + n, 0, size - n);
  return 0;
}

struct source *
source_memory (const void *data, size_t size)
{
  struct source_bytes *s = xcalloc (1, sizeof *s);

  s->data = data;
  s->source.opaque = s;
  s->source.name = "memory";
  s->source.size = size;
  s->source.align = 1;
  s->source.read_at = memory_read_at;
  return &s->source;
}

void
source_free (struct source *s)
{
  if (s == NULL)
    return;
  if (s->close != NULL)
    s->close (s->opaque);
  free (s->opaque);
}
