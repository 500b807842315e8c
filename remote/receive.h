/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: an empty volume that was proven and is open for writing. */
#ifndef RECEIVE_H
#define RECEIVE_H

#include <stdint.h>

struct buf;
struct fault;
struct session;
struct session_buffer;
struct writing;

/* The handlers of OPEN_WRITE, TRUNCATE, FLUSH, CHECK, SEAL; called by the
   control thread.  They begin when all data that came before is written. */
int receive_open (struct session *s, uint32_t id, struct buf *payload,
                  struct fault *f);
int receive_truncate (struct session *s, uint32_t id, struct buf *payload,
                      struct fault *f);
int receive_flush (struct session *s, uint32_t id, struct buf *payload,
                   struct fault *f);
int receive_check (struct session *s, uint32_t id, struct buf *payload,
                   struct fault *f);
int receive_seal (struct session *s, uint32_t id, struct buf *payload,
                  struct fault *f);
/* Write the DATA or ZERO frame in B, which this takes; called by the reader.
   Failures are told by a FAULT of the OPEN_WRITE's id. */
void receive_data (struct writing *w, struct session_buffer *b);
/* The identity text, NUL-terminated. */
int receive_identify (struct writing *w, struct buf *text, struct fault *f);
int receive_close (struct writing *w, struct fault *f);

#endif /* RECEIVE_H */
