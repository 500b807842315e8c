/* SPDX-License-Identifier: Apache-2.0 */
/* Names come from an engine that took them from anyone: UTF-8, or not. */
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_BAD UINT32_MAX

/* The code point at S, and its bytes in *SIZE (at least 1).  Anything that is
   not strict UTF-8 (overlong, surrogate, cut) is UTF8_BAD with size 1.  At
   the end of the string 0 with size 0. */
uint32_t utf8_next (const char *s, size_t *size);

/* Columns on a terminal: 0 for combining marks, 2 for wide ones, -1 for what
   must not be sent to one (controls, direction marks). */
int utf8_columns (uint32_t c);

#endif /* UTF8_H */
