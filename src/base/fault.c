/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"

static const char *const names[] = {
  [FAULT_NONE] = "none",
  [FAULT_USAGE] = "usage",
  [FAULT_CONF] = "conf",
  [FAULT_AUTH] = "auth",
  [FAULT_HOSTKEY] = "hostkey",
  [FAULT_NET] = "net",
  [FAULT_REMOTE] = "remote",
  [FAULT_PROTO] = "proto",
  [FAULT_IO] = "io",
  [FAULT_SPACE] = "space",
  [FAULT_NOTFOUND] = "notfound",
  [FAULT_BUSY] = "busy",
  [FAULT_CORRUPT] = "corrupt",
  [FAULT_CANCELLED] = "cancelled",
  [FAULT_INTERNAL] = "internal",
};

/* Text from peers and from errno ends here: one line, no control bytes. */
static void
sanitize (char *text)
{
  for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++) {
    if (*p < 0x20 || *p == 0x7f)
      *p = ' ';
  }
}

int
fault_set (struct fault *f, enum fault_code code, int err, const char *format,
           ...)
{
  int saved = errno;
  va_list ap;
  size_t used;

  if (f == NULL || f->code != FAULT_NONE)
    return -1;
  if (code == FAULT_IO && (err == ENOSPC || err == EDQUOT))
    code = FAULT_SPACE;
  f->code = code;
  f->err = err;
  va_start (ap, format);
  vsnprintf (f->text, sizeof f->text, format, ap);
  va_end (ap);
  used = strlen (f->text);
  if (err != 0)
    snprintf (f->text + used, sizeof f->text - used, ": %s", strerror (err));
  sanitize (f->text);
  errno = saved;
  return -1;
}

int
fault_prefix (struct fault *f, const char *format, ...)
{
  char prefix[FAULT_TEXT_MAX / 2];
  char old[FAULT_TEXT_MAX];
  va_list ap;

  if (f == NULL)
    return -1;
  va_start (ap, format);
  vsnprintf (prefix, sizeof prefix, format, ap);
  va_end (ap);
  memcpy (old, f->text, sizeof old);
  snprintf (f->text, sizeof f->text, "%s: %.*s", prefix,
            (int)(sizeof f->text - strlen (prefix) - 3), old);
  sanitize (f->text);
  return -1;
}

int
fault_append (struct fault *f, const char *format, ...)
{
  va_list ap;
  size_t used;

  if (f == NULL)
    return -1;
  used = strlen (f->text);
  va_start (ap, format);
  vsnprintf (f->text + used, sizeof f->text - used, format, ap);
  va_end (ap);
  sanitize (f->text);
  return -1;
}

int
fault_copy (struct fault *f, const struct fault *src)
{
  if (f == NULL || f->code != FAULT_NONE)
    return -1;
  *f = *src;
  f->text[sizeof f->text - 1] = '\0';
  sanitize (f->text);
  return -1;
}

void
fault_reset (struct fault *f)
{
  f->code = FAULT_NONE;
  f->err = 0;
  f->text[0] = '\0';
}

const char *
fault_name (enum fault_code code)
{
  if ((size_t)code >= sizeof names / sizeof names[0] || names[code] == NULL)
    return "unknown";
  return names[code];
}

bool
fault_may_retry (enum fault_code code)
{
  return code == FAULT_NET || code == FAULT_BUSY;
}
