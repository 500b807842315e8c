/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <wchar.h>

#include "cli/utf8.h"

static size_t
length_of (unsigned char first)
{
  if (first < 0x80)
    return 1;
  if (first >= 0xc2 && first < 0xe0)
    return 2;
  if (first >= 0xe0 && first < 0xf0)
    return 3;
  if (first >= 0xf0 && first < 0xf5)
    return 4;
  return 0;
}

uint32_t
utf8_next (const char *s, size_t *size)
{
  const unsigned char *p = (const unsigned char *)s;
  size_t n = length_of (p[0]);
  uint32_t c;

  *size = p[0] == '\0' ? 0 : 1;
  if (n == 0)
    return UTF8_BAD;
  if (n == 1)
    return p[0];
  c = p[0] & (0xffu >> (n + 1));
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80)
      return UTF8_BAD;
    c = c << 6 | (p[i] & 0x3fu);
  }
  if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10ffff
      || (c >= 0xd800 && c < 0xe000))
    return UTF8_BAD;
  *size = n;
  return c;
}

int
utf8_columns (uint32_t c)
{
  int n;

  if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == UTF8_BAD)
    return -1;
  /* Direction marks could make a name read as another. */
  if (c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e)
      || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff)
    return -1;
  n = wcwidth ((wchar_t)c);
  return n < 0 ? 1 : n;
}
