/* SPDX-License-Identifier: Apache-2.0 */
/* A volume's file or device, read and written past the page cache: what another
   host wrote is seen, and the memory of the hypervisor stays its guests'. */
#ifndef DIRECT_H
#define DIRECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "image/source.h"

struct fault;

/* Offsets, sizes and memory of calls marked aligned are multiples of it; 4096
   fits all storage that oVirt supports. */
#define DIRECT_ALIGN SOURCE_ALIGN

/* Not to be moved while it is open: source points to it. */
struct direct {
  int fd;
  int tail_fd;   /* for writing: the same file without O_DIRECT; else -1 */
  bool buffered; /* this file system knows no O_DIRECT (tmpfs, some FUSE) */
  bool device;   /* a logical volume: dev is its number, ino 0 */
  uint64_t size; /* bytes, when it was opened or set */
  uint64_t dev;
  uint64_t ino;
  char name[UUID_SIZE];
  struct source source; /* over fd, for src/image */
};

/* A struct direct is no open file; direct_close may be called on it. */
void direct_init (struct direct *d);
/* Open the regular file NAME (a UUID) below DIR_FD for reading; no link is
   followed. */
int direct_open_read (struct direct *d, int dir_fd, const char *name,
                      struct fault *f);
/* The same for reading and writing; nothing is created or cut. */
int direct_open_write (struct direct *d, int dir_fd, const char *name,
                       struct fault *f);
/* Take over FD, a logical volume's device of SIZE bytes that was opened with
   O_DIRECT; it is called NAME.  FD is closed in any case. */
int direct_take (struct direct *d, int fd, const char *name, uint64_t size,
                 struct fault *f);
int direct_close (struct direct *d, struct fault *f);

/* Read exactly SIZE bytes; aligned.  What lies beyond the end of the file is
   filled with zeros; what became shorter is FAULT_CORRUPT. */
int direct_read (const struct direct *d, uint64_t offset, void *data,
                 size_t size, struct fault *f);
/* Write SIZE bytes of aligned memory at an aligned OFFSET; SIZE may be any:
   the end that is not aligned goes through the page cache.  On a device SIZE
   is aligned. */
int direct_write (struct direct *d, uint64_t offset, const void *data,
                  size_t size, struct fault *f);
/* Make a range read as zeros without changing the file's size, with as little
   writing as the file system or device allows.  Any numbers below the file's
   size; on a device aligned ones. */
int direct_zero (struct direct *d, uint64_t offset, uint64_t length,
                 struct fault *f);
int direct_truncate (struct direct *d, uint64_t size, struct fault *f);
/* Everything is on stable storage, and the page cache holds nothing of it. */
int direct_flush (struct direct *d, struct fault *f);

#endif /* DIRECT_H */
