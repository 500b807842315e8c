/* SPDX-License-Identifier: Apache-2.0 */
/* The far end of `qemu-img convert`: an NBD server for one client, that stores
   nothing and hands on what is written to it.  qemu-img writes to no pipe; this
   is how its output is read without room for a second image.

   Fixed newstyle negotiation, simple replies; of the commands WRITE,
   WRITE_ZEROES, FLUSH and DISC (https://github.com/NetworkBlockDevice/nbd,
   doc/proto.md). */
#ifndef NBDSINK_H
#define NBDSINK_H

#include <stdint.h>

struct fault;

/* Most bytes in one write, and in one option of the negotiation. */
#define NBDSINK_WRITE_MAX (32u << 20)
#define NBDSINK_OPTION_MAX 8192u

/* SIZE bytes at OFFSET; DATA NULL: zeros.  -1 ends the service. */
typedef int (*nbdsink_fn) (void *opaque, uint64_t offset, const void *data,
                           uint64_t size, struct fault *f);

/* Serve the client on the stream socket FD (borrowed) as a disk of SIZE bytes
   until it disconnects.  -1: FN's fault, FAULT_PROTO, FAULT_IO, or
   FAULT_CANCELLED. */
int nbdsink_serve (int fd, uint64_t size, nbdsink_fn fn, void *opaque,
                   struct fault *f);

#endif /* NBDSINK_H */
