/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "job/tag.h"

void
tag_format (char out[static TAG_SIZE], const char *repository, const char *run)
{
  snprintf (out, TAG_SIZE, TAG_PREFIX "%s:%s", repository, run);
}

bool
tag_parse (const char *description, char repository[static UUID_SIZE],
           char run[static TAG_RUN_SIZE])
{
  const char *p = description + strlen (TAG_PREFIX);
  size_t len;

  if (strncmp (description, TAG_PREFIX, strlen (TAG_PREFIX)) != 0
      || strlen (p) < UUID_SIZE || p[UUID_SIZE - 1] != ':')
    return false;
  memcpy (repository, p, UUID_SIZE - 1);
  repository[UUID_SIZE - 1] = '\0';
  p += UUID_SIZE;
  len = strspn (p, "0123456789abcdef");
  if (!uuid_valid (repository) || len != TAG_RUN_SIZE - 1
      || (p[len] != '\0' && p[len] != ' '))
    return false;
  memcpy (run, p, len);
  run[len] = '\0';
  return true;
}
