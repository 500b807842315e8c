/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/uuid.h"

bool
uuid_valid (const char *s)
{
  for (int i = 0; i < UUID_SIZE - 1; i++) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (s[i] != '-')
        return false;
    }
    else if (!isxdigit ((unsigned char)s[i]))
      return false;
  }
  return s[UUID_SIZE - 1] == '\0';
}

/* getrandom does not fail or return short for so few bytes once the kernel is
   seeded; without it there is no safe way on. */
static void
random_bytes (uint8_t *out, size_t size)
{
  if (getrandom (out, size, 0) != (ssize_t)size)
    abort ();
}

void
uuid_make (char out[static UUID_SIZE])
{
  uint8_t b[16];

  random_bytes (b, sizeof b);
  b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
  b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
  snprintf (out, UUID_SIZE,
            "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x"
            "%02x%02x",
            b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
            b[11], b[12], b[13], b[14], b[15]);
}

void
uuid_hex (char *out, unsigned count)
{
  static const char digits[] = "0123456789abcdef";
  uint8_t b;

  for (unsigned i = 0; i < count; i++) {
    random_bytes (&b, 1);
    out[i] = digits[b & 15];
  }
  out[count] = '\0';
}
