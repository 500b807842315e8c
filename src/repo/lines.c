/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "repo/lines.h"
#include "wire/digest.h"

#define END_SIZE (sizeof "end \n" - 1 + (size_t)(2 * DIGEST_SIZE))

/* Bytes of the well-formed UTF-8 sequence at S (below END), 0 when it is
   none: overlong forms, surrogates and what lies beyond U+10FFFF are none. */
static size_t
utf8_length (const uint8_t *s, const uint8_t *end)
{
  size_t n;

  if (s[0] < 0x80)
    return 1;
  if (s[0] < 0xc2 || s[0] > 0xf4)
    return 0;
  n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
  if ((size_t)(end - s) < n)
    return 0;
  for (size_t i = 1; i < n; i++) {
    if ((s[i] & 0xc0) != 0x80)
      return 0;
  }
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)
      || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
    return 0;
  return n;
}

/* As utf8_length, for what may stand in a value as it is. */
static size_t
plain_length (const uint8_t *s, const uint8_t *end)
{
  if (s[0] < 0x20 || s[0] == 0x7f || s[0] == '\\')
    return 0;
  return utf8_length (s, end);
}

static int
hex_digit (char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  return -1;
}

bool
lines_hex (const char *s, uint8_t *out, size_t size)
{
  if (strlen (s) != 2 * size)
    return false;
  for (size_t i = 0; i < size; i++) {
    int high = hex_digit (s[2 * i]);
    int low = hex_digit (s[2 * i + 1]);

    if (high < 0 || low < 0)
      return false;
    out[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

bool
lines_number (const char *s, uint64_t *out)
{
  uint64_t v = 0;

  if (s[0] == '\0' || (s[0] == '0' && s[1] != '\0'))
    return false;
  for (; *s != '\0'; s++) {
    unsigned digit = (unsigned)(*s - '0');

    if (*s < '0' || *s > '9' || v > ((uint64_t)INT64_MAX - digit) / 10)
      return false;
    v = v * 10 + digit;
  }
  *out = v;
  return true;
}

int
lines_fault (const struct lines *l, struct fault *f, const char *format, ...)
{
  char text[FAULT_TEXT_MAX];
  va_list args;

  va_start (args, format);
  vsnprintf (text, sizeof text, format, args);
  va_end (args);
  return fault_set (f, FAULT_CORRUPT, 0, "%s line %u: %s", l->name, l->number,
                    text);
}

static bool
digest_right (const struct lines *l)
{
  const char *line = l->text + l->end;
  char hex[2 * DIGEST_SIZE + 1];
  uint8_t is[DIGEST_SIZE];
  uint8_t want[DIGEST_SIZE];

  memcpy (hex, line + 4, 2 * DIGEST_SIZE);
  hex[2 * DIGEST_SIZE] = '\0';
  if (!lines_hex (hex, want, sizeof want))
    return false;
  digest_bytes (l->text, l->end, is);
  return digest_equal (is, want);
}

int
lines_open (struct lines *l, const char *name, const char *text, size_t size,
            const char *magic, size_t value_max, struct fault *f)
{
  size_t magic_size = strlen (magic);

  *l = (struct lines){ .name = name, .text = text, .value_max = value_max };
  if (size <= magic_size || memcmp (text, magic, magic_size) != 0
      || text[magic_size] != '\n')
    return fault_set (f, FAULT_CORRUPT, 0, "%s: it does not begin with \"%s\"",
                      name, magic);
  if (size < magic_size + 1 + END_SIZE || text[size - 1] != '\n'
      || text[size - END_SIZE - 1] != '\n'
      || memcmp (text + size - END_SIZE, "end ", 4) != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: the end line is missing, it was cut off", name);
  l->end = size - END_SIZE;
  if (!digest_right (l))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: the digest in its end line is not the one of its "
                      "text, it was changed or damaged",
                      name);
  l->pos = magic_size + 1;
  l->number = 1;
  l->value = xmalloc (value_max + 1);
  return 0;
}

void
lines_close (struct lines *l)
{
  free (l->value);
  l->value = NULL;
}

/* \xHH at S: the byte, which has to be one that needs the escape ('\\', a
   control character, or a byte that is not ASCII), never NUL; -1. */
static int
unescape (const char *s, const char *end)
{
  int high;
  int low;
  int c;

  if (end - s < 4 || s[1] != 'x')
    return -1;
  high = hex_digit (s[2]);
  low = hex_digit (s[3]);
  if (high < 0 || low < 0)
    return -1;
  c = high << 4 | low;
  if (c == 0 || (c >= 0x20 && c < 0x7f && c != '\\'))
    return -1;
  return c;
}

static int
take_value (struct lines *l, const char *s, const char *end, struct fault *f)
{
  size_t out = 0;

  while (s < end) {
    size_t n = plain_length ((const uint8_t *)s, (const uint8_t *)end);
    int c = 0;

    if (n == 0) {
      c = *s == '\\' ? unescape (s, end) : -1;
      if (c < 0)
        return lines_fault (l, f, "byte 0x%02x is not allowed here",
                            (unsigned)(uint8_t)*s);
    }
    if ((n == 0 ? 1 : n) > l->value_max - out)
      return lines_fault (l, f, "the value of %s is longer than %zu bytes",
                          l->key, l->value_max);
    if (n == 0) {
      l->value[out++] = (char)c;
      s += 4;
    }
    else {
      memcpy (l->value + out, s, n);
      out += n;
      s += n;
    }
  }
  if (out == 0)
    return lines_fault (l, f, "%s has no value", l->key);
  l->value[out] = '\0';
  return 1;
}

int
lines_next (struct lines *l, struct fault *f)
{
  const char *line = l->text + l->pos;
  const char *end;
  size_t key = 0;

  if (l->pos >= l->end)
    return 0;
  l->number++;
  end = memchr (line, '\n', l->end - l->pos);
  l->pos += (size_t)(end - line) + 1;
  while (line + key < end && line[key] != ' ') {
    char c = line[key];

    if (key == LINES_KEY_MAX
        || !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.'
             || c == '-'))
      return lines_fault (l, f, "the key is malformed or too long");
    l->key[key++] = c;
  }
  l->key[key] = '\0';
  if (key == 0 || line + key == end)
    return lines_fault (l, f, "it is not of the form \"key value\"");
  return take_value (l, line + key + 1, end, f);
}

void
lines_begin (struct buf *b, const char *magic)
{
  buf_printf (b, "%s\n", magic);
}

void
lines_put (struct buf *b, const char *key, const char *value)
{
  const uint8_t *s = (const uint8_t *)value;
  const uint8_t *end = s + strlen (value);

  if (s == end)
    return;
  buf_printf (b, "%s ", key);
  while (s < end) {
    size_t n = plain_length (s, end);

    if (n == 0)
      buf_printf (b, "\\x%02x", (unsigned)*s++);
    else
      buf_put (b, s, n);
    s += n;
  }
  buf_put (b, "\n", 1);
}

void
lines_end (struct buf *b)
{
  uint8_t digest[DIGEST_SIZE];
  char hex[2 * DIGEST_SIZE + 1];

  if (buf_bad (b))
    return;
  digest_bytes (b->data, b->size, digest);
  digest_format (digest, hex);
  buf_printf (b, "end %s\n", hex);
}
