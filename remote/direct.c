/* SPDX-License-Identifier: Apache-2.0 */
/* O_DIRECT is refused at open by some file systems and at the first read by
   others; both are found out once, when the file is opened, so that a volume
   is never read half one way and half the other.  Without O_DIRECT the cached
   pages are dropped before each read: they may be another host's past.

   A write whose end is not aligned (a raw disk of an odd size) goes through a
   second descriptor without O_DIRECT.  That is one page at the very end of
   the file, which no direct write touches. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "remote/direct.h"

#define OPEN_FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
#define ZERO_STEP ((size_t)1024 * 1024)

void
direct_init (struct direct *d)
{
  *d = (struct direct){ .fd = -1, .tail_fd = -1 };
}

int
direct_close (struct direct *d, struct fault *f)
{
  int rc = fdio_close (&d->tail_fd, d->name, f);

  return fdio_close (&d->fd, d->name, f) < 0 ? -1 : rc;
}

/* --- source ----------------------------------------------------------- */

static int
source_read_at (void *opaque, uint64_t offset, void *data, size_t size,
                struct fault *f)
{
  return direct_read (opaque, offset, data, size, f);
}

static int
source_next_data (void *opaque, uint64_t offset, uint64_t *data, uint64_t *hole,
                  struct fault *f)
{
  const struct direct *d = opaque;
  off_t start = lseek (d->fd, (off_t)offset, SEEK_DATA);
  off_t end;

  if (start < 0 && errno == ENXIO) { /* no data up to the end */
    *data = *hole = d->size;
    return 0;
  }
  end = start < 0 ? -1 : lseek (d->fd, start, SEEK_HOLE);
  if (end < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) {
    *data = offset; /* it cannot tell: all is data */
    *hole = d->size;
    return 0;
  }
  if (end < 0)
    return fault_set (f, FAULT_IO, errno, "seek data in %s", d->name);
  *data = (uint64_t)start < d->size ? (uint64_t)start : d->size;
  *hole = (uint64_t)end < d->size ? (uint64_t)end : d->size;
  return 0;
}

/* --- open ------------------------------------------------------------- */

/* Does a read of a block work as the descriptor is? */
static int
try_read (const struct direct *d, struct fault *f)
{
  CLEANUP_FREE void *block
      = try_aligned (DIRECT_ALIGN, DIRECT_ALIGN, "block", f);

  if (block == NULL)
    return -1;
  if (pread (d->fd, block, DIRECT_ALIGN, 0) < 0)
    return errno == EINVAL ? 1
                           : fault_set (f, FAULT_IO, errno, "read %s", d->name);
  return 0;
}

static int
check_direct (struct direct *d, struct fault *f)
{
  int rc = try_read (d, f);

  if (rc <= 0)
    return rc;
  if (fcntl (d->fd, F_SETFL, 0) < 0)
    return fault_set (f, FAULT_IO, errno, "read %s without O_DIRECT", d->name);
  d->buffered = true;
  return try_read (d, f) == 0
             ? 0
             : fault_set (f, FAULT_IO, EINVAL, "read %s", d->name);
}

static int
open_file (struct direct *d, int dir_fd, const char *name, int mode,
           struct fault *f)
{
  struct stat st;

  direct_init (d);
  if (!uuid_valid (name))
    return fault_set (f, FAULT_PROTO, 0, "volume %.40s: not a UUID", name);
  memcpy (d->name, name, UUID_SIZE);
  d->fd = openat (dir_fd, name, mode | O_DIRECT | OPEN_FLAGS);
  if (d->fd < 0 && errno == EINVAL) {
    d->buffered = true;
    d->fd = openat (dir_fd, name, mode | OPEN_FLAGS);
  }
  if (d->fd < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open volume %s", name);
  if (fstat (d->fd, &st) < 0)
    return fault_set (f, FAULT_IO, errno, "stat volume %s", name);
  if (!S_ISREG (st.st_mode))
    return fault_set (f, FAULT_CORRUPT, 0, "volume %s: not a regular file",
                      name);
  d->size = (uint64_t)st.st_size;
  d->dev = st.st_dev;
  d->ino = st.st_ino;
  d->source = (struct source){ .opaque = d,
                               .name = d->name,
                               .size = d->size,
                               .align = DIRECT_ALIGN,
                               .read_at = source_read_at,
                               .next_data = source_next_data };
  return d->buffered ? 0 : check_direct (d, f);
}

int
direct_open_read (struct direct *d, int dir_fd, const char *name,
                  struct fault *f)
{
  if (open_file (d, dir_fd, name, O_RDONLY, f) == 0)
    return 0;
  direct_close (d, NULL);
  return -1;
}

int
direct_open_write (struct direct *d, int dir_fd, const char *name,
                   struct fault *f)
{
  struct stat st;

  if (open_file (d, dir_fd, name, O_RDWR, f) < 0)
    goto err;
  d->tail_fd = openat (dir_fd, name, O_RDWR | OPEN_FLAGS);
  if (d->tail_fd < 0 || fstat (d->tail_fd, &st) < 0) {
    fault_set (f, FAULT_IO, errno, "open volume %s", name);
    goto err;
  }
  if (st.st_dev == d->dev && st.st_ino == d->ino)
    return 0;
  fault_set (f, FAULT_CORRUPT, 0, "volume %s: replaced while it was opened",
             name);
err:
  direct_close (d, NULL);
  return -1;
}

int
direct_take (struct direct *d, int fd, const char *name, uint64_t size,
             struct fault *f)
{
  struct stat st;
  uint64_t bytes = 0;

  direct_init (d);
  d->fd = fd;
  memcpy (d->name, name, UUID_SIZE);
  if (fstat (fd, &st) < 0 || !S_ISBLK (st.st_mode)
      || ioctl (fd, BLKGETSIZE64, &bytes) < 0) {
    fault_set (f, FAULT_IO, errno, "volume %s: its device", name);
    goto err;
  }
  if (bytes != size) {
    fault_set (f, FAULT_CORRUPT, 0,
               "volume %s: its device has %llu bytes, LVM says %llu", name,
               (unsigned long long)bytes, (unsigned long long)size);
    goto err;
  }
  d->device = true;
  d->size = size;
  d->dev = st.st_rdev;
  d->source = (struct source){ .opaque = d,
                               .name = d->name,
                               .size = size,
                               .align = DIRECT_ALIGN,
                               .block_device = true,
                               .read_at = source_read_at };
  return 0;
err:
  direct_close (d, NULL);
  return -1;
}

/* --- read ------------------------------------------------------------- */

/* The file ends at END of a read that wanted more: right only where it always
   ended. */
static int
at_end (const struct direct *d, uint64_t end, struct fault *f)
{
  if (end >= d->size)
    return 0;
  return fault_set (f, FAULT_CORRUPT, 0,
                    "read volume %s: it ends at %llu, it had %llu bytes when "
                    "it was opened",
                    d->name, (unsigned long long)end,
                    (unsigned long long)d->size);
}

int
direct_read (const struct direct *d, uint64_t offset, void *data, size_t size,
             struct fault *f)
{
  size_t done = 0;
  ssize_t n;

  if (d->buffered)
    posix_fadvise (d->fd, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
  while (done < size) {
    n = pread (d->fd, (char *)data + done, size - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fault_set (f, FAULT_IO, errno, "read volume %s at %llu", d->name,
                        (unsigned long long)(offset + done));
    /* a short read in the middle goes on at an aligned offset */
    if (done + (size_t)n < size && offset + done + (size_t)n < d->size)
      n &= ~(ssize_t)(DIRECT_ALIGN - 1);
    done += (size_t)n;
    if (n == 0 || offset + done >= d->size)
      break;
  }
  if (done == size)
    return 0;
  if (at_end (d, offset + done, f) < 0)
    return -1;
  memset ((char *)data + done, 0, size - done);
  return 0;
}

/* --- write ------------------------------------------------------------ */

int
direct_write (struct direct *d, uint64_t offset, const void *data, size_t size,
              struct fault *f)
{
  size_t body = size & ~(size_t)(DIRECT_ALIGN - 1);

  if (body > 0 && fdio_pwrite_full (d->fd, data, body, offset, d->name, f) < 0)
    return -1;
  if (size > body
      && fdio_pwrite_full (d->tail_fd, (const char *)data + body, size - body,
                           offset + body, d->name, f)
             < 0)
    return -1;
  return 0;
}

/* Zeros by writing; the ends may be anywhere, so not by O_DIRECT. */
static int
write_zeros (struct direct *d, uint64_t offset, uint64_t length,
             struct fault *f)
{
  size_t step = length < ZERO_STEP ? (size_t)length : ZERO_STEP;
  CLEANUP_FREE void *zeros = try_calloc (1, step, "zeros", f);

  if (zeros == NULL)
    return -1;
  while (length > 0) {
    step = length < step ? (size_t)length : step;
    if (fdio_pwrite_full (d->tail_fd, zeros, step, offset, d->name, f) < 0)
      return -1;
    offset += step;
    length -= step;
  }
  return 0;
}

/* Zeros on a device by writing. */
static int
write_device_zeros (struct direct *d, uint64_t offset, uint64_t length,
                    struct fault *f)
{
  CLEANUP_FREE void *zeros = try_aligned (DIRECT_ALIGN, ZERO_STEP, "zeros", f);
  size_t step;

  if (zeros == NULL)
    return -1;
  memset (zeros, 0, ZERO_STEP);
  while (length > 0) {
    step = length < ZERO_STEP ? (size_t)length : ZERO_STEP;
    if (fdio_pwrite_full (d->fd, zeros, step, offset, d->name, f) < 0)
      return -1;
    offset += step;
    length -= step;
  }
  return 0;
}

/* BLKDISCARD may leave anything; this reads as zeros for sure. */
static int
zero_device (struct direct *d, uint64_t offset, uint64_t length,
             struct fault *f)
{
  const uint64_t range[2] = { offset, length };

  return ioctl (d->fd, BLKZEROOUT, range) == 0
             ? 0
             : write_device_zeros (d, offset, length, f);
}

int
direct_zero (struct direct *d, uint64_t offset, uint64_t length,
             struct fault *f)
{
  const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const int keep = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  struct stat st;
  bool sparse;

  if (d->device)
    return zero_device (d, offset, length, f);
  if (fstat (d->fd, &st) < 0)
    return fault_set (f, FAULT_IO, errno, "stat volume %s", d->name);
  /* what was preallocated stays so */
  sparse = st.st_blocks < st.st_size / 512;
  if (fallocate (d->fd, sparse ? punch : keep, (off_t)offset, (off_t)length)
      == 0)
    return 0;
  return write_zeros (d, offset, length, f);
}

int
direct_truncate (struct direct *d, uint64_t size, struct fault *f)
{
  if (ftruncate (d->fd, (off_t)size) < 0)
    return fault_set (f, FAULT_IO, errno, "set size of volume %s to %llu",
                      d->name, (unsigned long long)size);
  return 0;
}

int
direct_flush (struct direct *d, struct fault *f)
{
  int cached = d->device ? d->fd : d->tail_fd;

  if ((!d->device && fdio_fsync (d->tail_fd, d->name, f) < 0)
      || fdio_fsync (d->fd, d->name, f) < 0)
    return -1;
  posix_fadvise (cached, 0, 0, POSIX_FADV_DONTNEED);
  return 0;
}
