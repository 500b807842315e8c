/* SPDX-License-Identifier: Apache-2.0 */
/* libqcow as a second opinion: a decoder that is not ours, for images that we
   wrote ourselves.  It returns wrong bytes for many other images, so only
   verify uses it, after its guard.  The one place that knows libqcow. */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct fault;
struct oracle;

/* "libqcow 20201213", or NULL when built without it. */
const char *oracle_version (void);
/* Open the image behind FD (borrowed until oracle_close).  NAME is for
   messages. */
int oracle_open (int fd, const char *name, struct oracle **out,
                 struct fault *f);
void oracle_close (struct oracle *o);
CLEANUP_DEFINE (oracle_close, struct oracle);
/* The virtual size. */
uint64_t oracle_size (const struct oracle *o);
/* Exactly SIZE bytes at OFFSET. */
int oracle_read (struct oracle *o, uint64_t offset, void *data, size_t size,
                 struct fault *f);

#endif /* ORACLE_H */
