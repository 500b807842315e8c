/* SPDX-License-Identifier: Apache-2.0 */
/* The text files of the repository: a first line "NAME VERSION", lines of
   "key value", a last line "end DIGEST" over all bytes before it.  Keys are
   lower-case letters, digits, '.', '-'.  Values are UTF-8 without control
   characters; '\\' and whatever is no UTF-8 or a control character stand as
   \xHH.  A value is never empty. */
#ifndef LINES_H
#define LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define LINES_KEY_MAX 64

struct fault;

struct lines {
  const char *name; /* of the file, for messages */
  const char *text;
  size_t end; /* where the end line begins */
  size_t pos;
  unsigned number; /* of the line that was read last */
  char key[LINES_KEY_MAX + 1];
  char *value; /* unescaped; good until the next call */
  size_t value_max;
};

/* Check first line, end line and digest of SIZE bytes at TEXT (borrowed).
   MAGIC is the whole first line.  VALUE_MAX: bytes of a value.  FAULT_CORRUPT.
   To be ended by lines_close in every case. */
int lines_open (struct lines *l, const char *name, const char *text,
                size_t size, const char *magic, size_t value_max,
                struct fault *f);
/* The next line into KEY and VALUE.  1, 0 after the last one, -1. */
int lines_next (struct lines *l, struct fault *f);
/* FAULT_CORRUPT that names file and line; -1. */
int lines_fault (const struct lines *l, struct fault *f, const char *format,
                 ...) __attribute__ ((format (printf, 3, 4)));
void lines_close (struct lines *l);

/* Writing: a buffer that begins with the first line. */
void lines_begin (struct buf *b, const char *magic);
void lines_put (struct buf *b, const char *key, const char *value);
void lines_end (struct buf *b);

/* Exactly 2 * SIZE lower-case hexadecimal digits to SIZE bytes. */
bool lines_hex (const char *s, uint8_t *out, size_t size);
/* Decimal without sign or leading zeros, at most 2^63 - 1. */
bool lines_number (const char *s, uint64_t *out);

#endif /* LINES_H */
