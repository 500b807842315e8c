/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/stamp.h"

void
stamp_format (int64_t seconds, char out[static STAMP_SIZE])
{
  time_t t = (time_t)seconds;
  struct tm tm;

  if (gmtime_r (&t, &tm) == NULL || tm.tm_year < 0 || tm.tm_year > 8099
      || strftime (out, STAMP_SIZE, "%Y%m%dT%H%M%SZ", &tm) == 0)
    memcpy (out, "19700101T000000Z", STAMP_SIZE);
}

/* Broken-down UTC to seconds; false when a field is out of range. */
static int
from_fields (const int v[6], int64_t *seconds)
{
  struct tm tm = { .tm_year = v[0] - 1900,
                   .tm_mon = v[1] - 1,
                   .tm_mday = v[2],
                   .tm_hour = v[3],
                   .tm_min = v[4],
                   .tm_sec = v[5] };

  if (v[0] < 1970 || v[0] > 9999 || v[1] < 1 || v[1] > 12 || v[2] < 1
      || v[2] > 31 || v[3] > 23 || v[4] > 59 || v[5] > 60)
    return -1;
  *seconds = (int64_t)timegm (&tm);
  return 0;
}

int
stamp_parse (const char *s, int64_t *seconds, struct fault *f)
{
  int v[6];
  int end = 0;

  if (strlen (s) != STAMP_SIZE - 1
      || sscanf (s, "%4d%2d%2dT%2d%2d%2dZ%n", &v[0], &v[1], &v[2], &v[3], &v[4],
                 &v[5], &end)
             != 6
      || end != STAMP_SIZE - 1 || from_fields (v, seconds) < 0)
    return fault_set (f, FAULT_USAGE, 0,
                      "time %s is not of the form 20261120T010000Z", s);
  return 0;
}

int
stamp_parse_iso (const char *s, int64_t *seconds, struct fault *f)
{
  int v[6];
  int hours;
  int minutes;
  int end = 0;
  const char *p;
  int64_t zone = 0;

  if (sscanf (s, "%4d-%2d-%2dT%2d:%2d:%2d%n", &v[0], &v[1], &v[2], &v[3], &v[4],
              &v[5], &end)
          != 6
      || end == 0 || from_fields (v, seconds) < 0)
    return fault_set (f, FAULT_PROTO, 0, "date %s is not ISO 8601", s);
  p = s + end;
  if (*p == '.')
    p += 1 + strspn (p + 1, "0123456789");
  if ((*p == '+' || *p == '-')
      && sscanf (p + 1, "%2d:%2d", &hours, &minutes) == 2)
    zone = (*p == '-' ? -1 : 1) * (int64_t)(hours * 3600 + minutes * 60);
  else if (strcmp (p, "Z") != 0)
    return fault_set (f, FAULT_PROTO, 0, "date %s has no time zone", s);
  *seconds -= zone;
  return 0;
}

int64_t
stamp_now (void)
{
  return (int64_t)time (NULL);
}

uint64_t
stamp_mono_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
