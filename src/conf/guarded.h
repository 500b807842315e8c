/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the administrator that nobody else may have touched or read. */
#ifndef GUARDED_H
#define GUARDED_H

#include <stddef.h>
#include <sys/types.h>

struct fault;

/* The contents of PATH (links are followed) as a NUL-terminated string that
   the caller frees, SIZE bytes (may be NULL).  It must be a regular file of
   at most MAX bytes, owned by root or by our user, with none of the
   permission bits FORBIDDEN.  Absent: NULL with FAULT_NOTFOUND; all else is
   FAULT_CONF or FAULT_IO. */
char *guarded_read (const char *path, size_t max, mode_t forbidden,
                    size_t *size, struct fault *f);

#endif /* GUARDED_H */
