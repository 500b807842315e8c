/* SPDX-License-Identifier: Apache-2.0 */
/* Lines on stderr for the administrator.  Thread-safe, errno is kept, colour
   only on a terminal, one write a line.  Each thread may set a context that
   is printed before its lines ("vm web1 disk d1"). */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

enum log_level {
  LOG_LEVEL_ERROR = 0,
  LOG_LEVEL_WARN = 1,
  LOG_LEVEL_INFO = 2,
  LOG_LEVEL_DEBUG = 3,
};

/* Called once by main before threads start. */
void log_setup (const char *program, enum log_level level);
bool log_wants (enum log_level level);
/* Copied; NULL removes it.  A line that begins with it and ":" gets it once. */
void log_context (const char *context);
/* A hook that is called with OPAQUE before and after a line is printed, so
   that a progress bar can clear itself and come back; NULL removes it.  The
   hook must not log. */
void log_hook (void (*hook) (bool before, void *opaque), void *opaque);

void log_error (const char *format, ...)
    __attribute__ ((format (printf, 1, 2)));
void log_warn (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
void log_info (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
void log_debug (const char *format, ...)
    __attribute__ ((format (printf, 1, 2)));

#endif /* LOG_H */
