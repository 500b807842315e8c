/* SPDX-License-Identifier: Apache-2.0 */
/* Guest bytes as a foreign decoder gives them, front to back, compared with
   what a reader says: the digest of every data block, zeros elsewhere. */
#ifndef CONTENT_H
#define CONTENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct content;
struct fault;
struct reader;

/* READER is borrowed.  DECODER: its name, for messages. */
struct content *content_new (struct reader *reader, const char *decoder);
void content_free (struct content *c);
CLEANUP_DEFINE (content_free, struct content);
/* The next SIZE bytes of the disk, or (DATA NULL) that many zeros.
   FAULT_CORRUPT at the first block that differs. */
int content_feed (struct content *c, const void *data, uint64_t size,
                  struct fault *f);
/* Bytes fed so far. */
uint64_t content_position (const struct content *c);
/* Was it the whole disk? */
int content_end (struct content *c, struct fault *f);

#endif /* CONTENT_H */
