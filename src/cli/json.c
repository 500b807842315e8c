/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cli/json.h"
#include "cli/utf8.h"

static void
put_text (struct json *j, const char *s)
{
  buf_put (&j->b, s, strlen (s));
}

static void
put_quoted (struct json *j, const char *s)
{
  size_t n;

  put_text (j, "\"");
  for (; *s != '\0'; s += n) {
    uint32_t c = utf8_next (s, &n);

    if (c == UTF8_BAD)
      put_text (j, "\xef\xbf\xbd");
    else if (c == '"' || c == '\\')
      buf_printf (&j->b, "\\%c", (int)c);
    else if (c == '\n')
      put_text (j, "\\n");
    else if (c == '\t')
      put_text (j, "\\t");
    else if (c < 0x20 || c == 0x7f || c == 0x2028 || c == 0x2029)
      buf_printf (&j->b, "\\u%04x", (unsigned)c);
    else
      buf_put (&j->b, s, n);
  }
  put_text (j, "\"");
}

/* The comma and the name in front of a value. */
static void
put_name (struct json *j, const char *name)
{
  if (j->comma)
    put_text (j, ",");
  j->comma = true;
  if (name != NULL) {
    put_quoted (j, name);
    put_text (j, ":");
  }
}

void
json_begin (struct json *j, const char *type)
{
  buf_init (&j->b, JSON_LINE_MAX);
  j->comma = true;
  put_text (j, "{\"v\":1,\"type\":");
  put_quoted (j, type);
}

void
json_string (struct json *j, const char *name, const char *value)
{
  put_name (j, name);
  if (value == NULL)
    put_text (j, "null");
  else
    put_quoted (j, value);
}

void
json_u64 (struct json *j, const char *name, uint64_t value)
{
  put_name (j, name);
  buf_printf (&j->b, "%" PRIu64, value);
}

void
json_i64 (struct json *j, const char *name, int64_t value)
{
  put_name (j, name);
  buf_printf (&j->b, "%" PRId64, value);
}

void
json_bool (struct json *j, const char *name, bool value)
{
  put_name (j, name);
  put_text (j, value ? "true" : "false");
}

void
json_time (struct json *j, const char *name, int64_t seconds)
{
  time_t t = (time_t)seconds;
  char text[64];
  struct tm tm;

  if (gmtime_r (&t, &tm) == NULL
      || strftime (text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
    json_string (j, name, NULL);
    return;
  }
  json_string (j, name, text);
}

static void
put_open (struct json *j, const char *name, const char *bracket)
{
  put_name (j, name);
  put_text (j, bracket);
  j->comma = false;
}

static void
put_close (struct json *j, const char *bracket)
{
  put_text (j, bracket);
  j->comma = true;
}

void
json_object_begin (struct json *j, const char *name)
{
  put_open (j, name, "{");
}

void
json_object_end (struct json *j)
{
  put_close (j, "}");
}

void
json_array_begin (struct json *j, const char *name)
{
  put_open (j, name, "[");
}

void
json_array_end (struct json *j)
{
  put_close (j, "]");
}

void
json_end (struct json *j, FILE *stream)
{
  put_text (j, "}\n");
  if (buf_bad (&j->b))
    fputs ("{\"v\":1,\"type\":\"error\",\"code\":\"internal\","
           "\"message\":\"a result is too long to be printed\"}\n",
           stream);
  else
    fwrite (j->b.data, 1, j->b.size, stream);
  fflush (stream);
  buf_reset (&j->b);
}
