/* SPDX-License-Identifier: Apache-2.0 */
/* qemu-img as a decoder of an image chain of ours: explicit formats and nodes,
   descriptors instead of paths, limits on CPU, memory and files. */
#ifndef QEMUIMG_H
#define QEMUIMG_H

#include <stddef.h>
#include <stdint.h>

#include "repo/nbdsink.h"

#define QEMUIMG_VERSION_SIZE 64
/* Address space of the process: 256 layers with their caches. */
#define QEMUIMG_MEMORY_MAX ((uint64_t)8 << 30)
/* CPU: a minute, and a second for each 32 MiB of the disk. */
#define QEMUIMG_CPU_BASE_S 60u
#define QEMUIMG_CPU_BYTES ((uint64_t)32 << 20)

struct fault;

/* "qemu-img 7.2.22" of PROGRAM.  FAULT_NOTFOUND: it cannot be run. */
int qemuimg_version (const char *program, char out[static QEMUIMG_VERSION_SIZE],
                     struct fault *f);

/* Decode the chain of qcow2 images behind FDS (COUNT of them, the top one
   first; borrowed) as a disk of SIZE bytes; FN gets the bytes in ascending
   order.  FAULT_CORRUPT with its message when qemu-img refuses. */
int qemuimg_decode (const char *program, const int *fds, unsigned count,
                    uint64_t size, nbdsink_fn fn, void *opaque,
                    struct fault *f);

#endif /* QEMUIMG_H */
