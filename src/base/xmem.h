/* SPDX-License-Identifier: Apache-2.0 */
/* Memory.  The x functions are for small things of our own and abort when
   there is none; the try functions are for sizes that a peer, an image or a
   file decides, after they were checked against a named maximum. */
#ifndef XMEM_H
#define XMEM_H

#include <stddef.h>

struct fault;

void *xmalloc (size_t size);
void *xcalloc (size_t count, size_t size);
/* Grow or shrink an array to COUNT elements; aborts on overflow too. */
void *xreallocarray (void *p, size_t count, size_t size);
char *xstrdup (const char *s);
char *xstrndup (const char *s, size_t len);
char *xasprintf (const char *format, ...)
    __attribute__ ((format (printf, 1, 2)));

/* Zeroed memory for COUNT elements, or NULL and a fault that names WHAT. */
void *try_calloc (size_t count, size_t size, const char *what, struct fault *f);
/* SIZE bytes aligned to ALIGN (a power of two), not zeroed; or NULL. */
void *try_aligned (size_t align, size_t size, const char *what,
                   struct fault *f);

#endif /* XMEM_H */
