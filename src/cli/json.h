/* SPDX-License-Identifier: Apache-2.0 */
/* One JSON object a line.  json_begin writes {"v":1,"type":"TYPE", members
   follow, json_end gives the line.  Strings may hold any bytes: what is not
   UTF-8 becomes U+FFFD, control characters are escaped.  NULL strings become
   null.  Inside an array the name is NULL. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

#define JSON_LINE_MAX (16u << 20)

struct json {
  struct buf b;
  bool comma; /* the next member needs one before it */
};

void json_begin (struct json *j, const char *type);
void json_string (struct json *j, const char *name, const char *value);
void json_u64 (struct json *j, const char *name, uint64_t value);
void json_i64 (struct json *j, const char *name, int64_t value);
void json_bool (struct json *j, const char *name, bool value);
/* Seconds since the epoch as "2026-11-20T01:00:00Z". */
void json_time (struct json *j, const char *name, int64_t seconds);
void json_object_begin (struct json *j, const char *name);
void json_object_end (struct json *j);
void json_array_begin (struct json *j, const char *name);
void json_array_end (struct json *j);
/* Close the object, write it and a newline to STREAM, flush, and reset J.
   A line that would pass JSON_LINE_MAX is an "error" object instead. */
void json_end (struct json *j, FILE *stream);

#endif /* JSON_H */
