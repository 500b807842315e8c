/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong, once: a code that decides what happens next, and one line
   for the administrator that names object, operation, reason and next step. */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stddef.h>

#define FAULT_TEXT_MAX 1024

/* The values are exit statuses and stand on the wire: they never change. */
enum fault_code {
  FAULT_NONE = 0,
  FAULT_USAGE = 2,
  FAULT_CONF = 3,
  FAULT_AUTH = 4,
  FAULT_HOSTKEY = 5,
  FAULT_NET = 6,
  FAULT_REMOTE = 7,
  FAULT_PROTO = 8,
  FAULT_IO = 9,
  FAULT_SPACE = 10,
  FAULT_NOTFOUND = 11,
  FAULT_BUSY = 12,
  FAULT_CORRUPT = 13,
  FAULT_CANCELLED = 14,
  FAULT_INTERNAL = 15,
};

struct fault {
  enum fault_code code;
  int err; /* errno, or 0 */
  char text[FAULT_TEXT_MAX];
};

#define FAULT_INIT                                                             \
  {                                                                            \
    .code = FAULT_NONE                                                         \
  }

/* Fill F (the first fault wins: a fault that is already set stays) and return
   -1.  ERR is an errno value whose description is appended, or 0.  ENOSPC and
   EDQUOT with FAULT_IO become FAULT_SPACE.  F may be NULL.  errno is kept. */
int fault_set (struct fault *f, enum fault_code code, int err,
               const char *format, ...) __attribute__ ((format (printf, 4, 5)));

/* Put "PREFIX: " before the text of F, which must be set; return -1. */
int fault_prefix (struct fault *f, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));

/* Append ": TEXT" or ", TEXT" style next steps: the string is appended as it
   is; return -1. */
int fault_append (struct fault *f, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));

/* Copy SRC, whose text may come from a peer: control characters are replaced.
   Returns -1. */
int fault_copy (struct fault *f, const struct fault *src);

void fault_reset (struct fault *f);

/* The name of a code as it stands in JSON and man pages ("net", "busy"). */
const char *fault_name (enum fault_code code);

/* True for codes after which the same operation may be tried again (net,
   busy). */
bool fault_may_retry (enum fault_code code);

#endif /* FAULT_H */
