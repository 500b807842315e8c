/* SPDX-License-Identifier: Apache-2.0 */
/* The node is /dev/dm-MINOR, which the kernel itself makes: links of udev may
   be late, or point to what had the name before. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/dm-ioctl.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "remote/dm.h"

#define CONTROL "/dev/mapper/control"
#define SECTOR 512

_Static_assert(DM_ID_SIZE == DM_UUID_LEN, "size of an id");

static void
put_id (const char *uuid, char **out)
{
  for (; *uuid != '\0'; uuid++) {
    if (*uuid != '-')
      *(*out)++ = *uuid;
  }
}

void
dm_id (const char *vg_uuid, const char *lv_uuid, char out[static DM_ID_SIZE])
{
  char *end = out + 4;

  memset (out, 0, DM_ID_SIZE);
  memcpy (out, "LVM-", 4);
  put_id (vg_uuid, &end);
  put_id (lv_uuid, &end);
}

static void
prepare (const char *id, struct dm_ioctl *io)
{
  memset (io, 0, sizeof *io);
  io->version[0] = DM_VERSION_MAJOR; /* its first minor has all that we ask */
  io->data_size = sizeof *io;
  io->data_start = sizeof *io;
  snprintf (io->uuid, sizeof io->uuid, "%s", id);
}

static int
open_control (struct fault *f)
{
  int fd = open (CONTROL, O_RDWR | O_CLOEXEC);

  if (fd < 0)
    return fault_set (f, FAULT_REMOTE, errno, "open %s", CONTROL);
  return fd;
}

static int
read_size (dev_t dev, uint64_t *size, struct fault *f)
{
  char path[64];
  char text[32];
  unsigned long long sectors;
  ssize_t n;

  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/size", major (dev),
            minor (dev));
  CLEANUP_CLOSE int fd = open (path, O_RDONLY | O_CLOEXEC);

  n = fd < 0 ? -1 : read (fd, text, sizeof text - 1);
  if (n <= 0)
    return fault_set (f, FAULT_IO, errno, "read %s", path);
  text[n] = '\0';
  if (sscanf (text, "%llu", &sectors) != 1)
    return fault_set (f, FAULT_IO, 0, "read %s: no number", path);
  *size = (uint64_t)sectors * SECTOR;
  return 0;
}

int
dm_status (const char *id, struct dm *out, struct fault *f)
{
  CLEANUP_CLOSE int fd = open_control (f);
  struct dm_ioctl io;

  *out = (struct dm){ .active = false };
  if (fd < 0)
    return -1;
  prepare (id, &io);
  if (ioctl (fd, DM_DEV_STATUS, &io) < 0)
    return errno == ENXIO
               ? 0
               : fault_set (f, FAULT_IO, errno, "status of device %s", id);
  out->active = true;
  out->suspended = (io.flags & DM_SUSPEND_FLAG) != 0;
  out->read_only = (io.flags & DM_READONLY_FLAG) != 0;
  out->open_count = io.open_count;
  /* huge_encode_dev of the kernel, which fits what we are given */
  out->dev = makedev ((unsigned)(io.dev >> 8) & 0xfff,
                      (unsigned)(io.dev & 0xff)
                          | (unsigned)((io.dev >> 12) & 0xfff00));
  return read_size (out->dev, &out->size, f);
}

int
dm_remove (const char *id, struct fault *f)
{
  CLEANUP_CLOSE int fd = open_control (f);
  struct dm_ioctl io;

  if (fd < 0)
    return -1;
  prepare (id, &io);
  if (ioctl (fd, DM_DEV_REMOVE, &io) == 0 || errno == ENXIO)
    return 0;
  return fault_set (f, errno == EBUSY ? FAULT_BUSY : FAULT_IO, errno,
                    "remove device %s", id);
}

static int
open_node (const struct dm *d, bool write, struct fault *f)
{
  const int flags = O_DIRECT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  CLEANUP_CLOSE int fd = -1;
  char path[64];
  struct stat st;

  snprintf (path, sizeof path, "/dev/dm-%u", minor (d->dev));
  fd = open (path, flags | (write ? O_RDWR | O_EXCL : O_RDONLY));
  if (fd < 0)
    return fault_set (f,
                      errno == ENOENT || errno == ENXIO ? FAULT_NOTFOUND
                      : errno == EBUSY                  ? FAULT_BUSY
                                                        : FAULT_IO,
                      errno, "open %s", path);
  if (fstat (fd, &st) < 0 || !S_ISBLK (st.st_mode) || st.st_rdev != d->dev)
    return fault_set (f, FAULT_NOTFOUND, 0, "open %s: another device", path);
  return steal_fd (&fd);
}

int
dm_open (const char *id, bool write, struct fault *f)
{
  CLEANUP_CLOSE int fd = -1;
  struct dm before;
  struct dm after;

  if (dm_status (id, &before, f) < 0)
    return -1;
  if (!before.active)
    return fault_set (f, FAULT_NOTFOUND, 0, "it is not active any more");
  fd = open_node (&before, write, f);
  if (fd < 0 || dm_status (id, &after, f) < 0)
    return -1;
  /* held open it cannot go, so its number is its own */
  if (!after.active || after.dev != before.dev)
    return fault_set (f, FAULT_NOTFOUND, 0, "it was activated anew meanwhile");
  return steal_fd (&fd);
}
