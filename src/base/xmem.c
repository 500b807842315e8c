/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"

static void *
must (void *p)
{
  if (p == NULL) {
    fputs ("chainlift: out of memory\n", stderr);
    abort ();
  }
  return p;
}

void *
xmalloc (size_t size)
{
  return must (malloc (size > 0 ? size : 1));
}

void *
xcalloc (size_t count, size_t size)
{
  return must (calloc (count > 0 ? count : 1, size > 0 ? size : 1));
}

void *
xreallocarray (void *p, size_t count, size_t size)
{
  return must (reallocarray (p, count > 0 ? count : 1, size > 0 ? size : 1));
}

char *
xstrdup (const char *s)
{
  return must (strdup (s));
}

char *
xstrndup (const char *s, size_t len)
{
  return must (strndup (s, len));
}

char *
xasprintf (const char *format, ...)
{
  va_list ap;
  char *s = NULL;
  int n;

  va_start (ap, format);
  n = vasprintf (&s, format, ap);
  va_end (ap);
  if (n < 0)
    s = NULL;
  return must (s);
}

void *
try_calloc (size_t count, size_t size, const char *what, struct fault *f)
{
  void *p = calloc (count > 0 ? count : 1, size > 0 ? size : 1);

  if (p == NULL)
    fault_set (f, FAULT_INTERNAL, ENOMEM, "allocate %zu x %zu bytes for %s",
               count, size, what);
  return p;
}

void *
try_aligned (size_t align, size_t size, const char *what, struct fault *f)
{
  void *p = NULL;
  int err = posix_memalign (&p, align, size > 0 ? size : align);

  if (err != 0) {
    fault_set (f, FAULT_INTERNAL, err, "allocate %zu bytes for %s", size, what);
    return NULL;
  }
  return p;
}
