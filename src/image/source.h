/* SPDX-License-Identifier: Apache-2.0 */
/* Where the bytes of one layer (its container) come from.  src/image does no
   I/O of its own: the helper reads with O_DIRECT, the controller with pread,
   tests from memory. */
#ifndef SOURCE_H
#define SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct fault;

/* Every read of tables has this alignment of offset, size and memory, so that
   it may go to a descriptor that was opened with O_DIRECT. */
#define SOURCE_ALIGN 4096

struct source {
  void *opaque;
  const char *name;  /* for messages: a path or a volume id; borrowed */
  uint64_t size;     /* bytes of the container */
  unsigned align;    /* of data reads by chain_read: 1, or SOURCE_ALIGN when
                        read_at needs it (O_DIRECT); 0 means SOURCE_ALIGN */
  bool block_device; /* the bytes behind the image's end are somebody's old
                        ones; nothing is a hole */
  /* Read exactly SIZE bytes at OFFSET (OFFSET < size).  What lies beyond the
     end of the container is filled with zeros: a last block may be short. */
  int (*read_at) (void *opaque, uint64_t offset, void *data, size_t size,
                  struct fault *f);
  /* The first byte at or after OFFSET that is not in a hole, and the end of
     that data (SEEK_DATA, SEEK_HOLE); *DATA = *HOLE = size when there is none.
     NULL: everything is data. */
  int (*next_data) (void *opaque, uint64_t offset, uint64_t *data,
                    uint64_t *hole, struct fault *f);
  void (*close) (void *opaque); /* by source_free; may be NULL */
};

/* A source over a local file or block device: NAME below DIRFD, opened
   read-only, no symbolic link followed in its last component (O_NOFOLLOW),
   anything but a regular file or a block device refused.  PATH is what
   messages call it (copied). */
int source_open_file (int dirfd, const char *name, const char *path,
                      struct source **out, struct fault *f);
/* The descriptor of a source_open_file source (borrowed). */
int source_fd (const struct source *s);
/* A source over SIZE bytes at DATA, borrowed (tests, fuzz targets). */
struct source *source_memory (const void *data, size_t size);
void source_free (struct source *s);
CLEANUP_DEFINE (source_free, struct source);

#endif /* SOURCE_H */
