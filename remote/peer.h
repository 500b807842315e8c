/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to the controller, from any thread.  Writes block as long as the
   controller's end of the pipe is full: the thread that watches the heartbeat
   never writes and ends the process when it has to.  A pipe without a reader
   ends the process at once. */
#ifndef PEER_H
#define PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"

struct buf;
struct fault;

struct peer {
  int fd;
  pthread_mutex_t lock; /* one frame after another */
  _Atomic int senders;  /* threads that send or wait to */
};

/* FD is borrowed; its pipe is made as large as the system lets us. */
void peer_init (struct peer *p, int fd);
/* A control frame; PAYLOAD may be NULL.  A payload that went bad is sent as a
   fault instead. */
void peer_send (struct peer *p, enum frame_type type, uint32_t id,
                const struct buf *payload);
void peer_fault (struct peer *p, uint32_t id, const struct fault *f);
void peer_zero (struct peer *p, uint32_t id, uint64_t offset, uint64_t length);
/* One DATA frame of RAW_LEN bytes; CODED stands for them on the wire. */
void peer_data (struct peer *p, uint32_t id, uint64_t offset, const void *raw,
                uint32_t raw_len, enum frame_coding coding, const void *coded,
                uint32_t coded_len);
/* Is the wire slower than we are: does another thread wait to send? */
bool peer_busy (struct peer *p);
/* The last words of a session, in the time that they are given; for the thread
   that must not block. */
void peer_farewell (struct peer *p, const struct fault *f, unsigned ms);

#endif /* PEER_H */
