/* SPDX-License-Identifier: Apache-2.0 */
/* Which process of this host has a volume open for writing?  The one proof
   that QEMU really left a layer: an engine may report a live snapshot as done
   while QEMU goes on writing into the old volume. */
#ifndef SCAN_H
#define SCAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/uuid.h"

struct fault;

#define SCAN_FILES_MAX 512
#define SCAN_COMMAND_SIZE 64

struct scan_file {
  bool device; /* a block device: dev is its number, ino unused */
  uint64_t dev;
  uint64_t ino;
  uint64_t info_ino;    /* scan_info_ino of the one who opened it */
  char name[UUID_SIZE]; /* the last component of its path */
};

struct scan_result {
  uint32_t hidden; /* processes that could not be looked into */
  int32_t pid;     /* of a writer, 0: none */
  uint32_t file;   /* index of the file that it writes */
  char command[SCAN_COMMAND_SIZE];
};

/* The inode of our own descriptor FD as /proc/self/fdinfo tells it, which may
   be another number than stat's; 0 when this kernel does not. */
uint64_t scan_info_ino (int fd);
/* Look through /proc.  Processes of SELF (our own two) are passed over. */
int scan_writers (const struct scan_file *files, uint32_t count,
                  const pid_t self[static 2], struct scan_result *out,
                  struct fault *f);

#endif /* SCAN_H */
