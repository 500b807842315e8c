/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "cli/output.h"
#include "cli/utf8.h"

void
output_size (uint64_t bytes, char out[static OUTPUT_WORD_SIZE])
{
  static const char *const units[]
      = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
  double value = (double)bytes / 1024;
  unsigned unit = 0;

  if (bytes < 1024) {
    snprintf (out, OUTPUT_WORD_SIZE, "%" PRIu64 " B", bytes);
    return;
  }
  /* 1023.96 KiB would print as 1024.0 KiB */
  while (value >= 1023.95 && unit < 5) {
    value /= 1024;
    unit++;
  }
  snprintf (out, OUTPUT_WORD_SIZE, "%.1f %s", value, units[unit]);
}

void
output_rate (uint64_t bytes_per_second, char out[static OUTPUT_WORD_SIZE])
{
  output_size (bytes_per_second, out);
  strncat (out, "/s", OUTPUT_WORD_SIZE - strlen (out) - 1);
}

void
output_duration (uint64_t ms, char out[static OUTPUT_WORD_SIZE])
{
  uint64_t s = (ms + 500) / 1000;
  size_t size = OUTPUT_WORD_SIZE;

  if (ms < 9950)
    snprintf (out, size, "%.1f s", (double)ms / 1000);
  else if (s < 60)
    snprintf (out, size, "%" PRIu64 " s", s);
  else if (s < 3600)
    snprintf (out, size, "%" PRIu64 " min %02" PRIu64 " s", s / 60, s % 60);
  else if (s < 86400)
    snprintf (out, size, "%" PRIu64 " h %02" PRIu64 " min", s / 3600,
              s / 60 % 60);
  else
    snprintf (out, size, "%" PRIu64 " d %02" PRIu64 " h", s / 86400,
              s / 3600 % 24);
}

void
output_time (int64_t seconds, char out[static OUTPUT_WORD_SIZE])
{
  time_t t = (time_t)seconds;
  struct tm tm;

  if (localtime_r (&t, &tm) == NULL
      || strftime (out, OUTPUT_WORD_SIZE, "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
    snprintf (out, OUTPUT_WORD_SIZE, "-");
}

unsigned
output_width (int fd)
{
  struct winsize size;

  if (!isatty (fd))
    return 0;
  if (ioctl (fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
    return 80;
  return size.ws_col;
}

size_t
output_columns (const char *s)
{
  size_t columns = 0;
  size_t n;

  for (; *s != '\0'; s += n) {
    int c = utf8_columns (utf8_next (s, &n));

    columns += c < 0 ? 1 : (size_t)c;
  }
  return columns;
}

char *
output_clean (const char *s)
{
  char *clean = xmalloc (strlen (s) + 1);
  size_t used = 0;
  size_t n;

  for (; *s != '\0'; s += n) {
    if (utf8_columns (utf8_next (s, &n)) < 0) {
      clean[used++] = '?';
      continue;
    }
    memcpy (clean + used, s, n);
    used += n;
  }
  clean[used] = '\0';
  return clean;
}

char *
output_cut (const char *s, size_t columns)
{
  CLEANUP_FREE char *clean = output_clean (s);
  size_t used = 0;
  size_t width = 0;
  size_t n;

  if (output_columns (clean) <= columns)
    return steal_ptr (&clean);
  if (columns == 0)
    return xstrdup ("");
  for (; clean[used] != '\0'; used += n) {
    size_t c = (size_t)utf8_columns (utf8_next (clean + used, &n));

    if (width + c > columns - 1)
      break;
    width += c;
  }
  return xasprintf ("%.*s\xe2\x80\xa6", (int)used, clean);
}

bool
output_gone (void)
{
  struct pollfd fd = { .fd = STDOUT_FILENO };

  return poll (&fd, 1, 0) == 1 && (fd.revents & POLLERR) != 0;
}

int
output_flush (struct fault *f)
{
  if (fflush (stdout) != 0)
    return fault_set (f, FAULT_IO, errno, "write to standard output");
  if (ferror (stdout)) /* an earlier write; its errno is gone */
    return fault_set (f, FAULT_IO, 0,
                      "write to standard output: it is full or closed");
  return 0;
}
