/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

#define LOG_LINE_MAX 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the hook */
static void (*hook_function) (bool before, void *opaque);
static void *hook_opaque;
static const char *program_name = "chainlift";
static enum log_level log_level = LOG_LEVEL_INFO;
static bool colour;
static __thread char thread_context[128];

void
log_setup (const char *program, enum log_level level)
{
  program_name = program;
  log_level = level;
  colour = isatty (STDERR_FILENO) != 0;
}

bool
log_wants (enum log_level level)
{
  return level <= log_level;
}

void
log_context (const char *context)
{
  snprintf (thread_context, sizeof thread_context, "%s",
            context != NULL ? context : "");
}

void
log_hook (void (*hook) (bool before, void *opaque), void *opaque)
{
  SCOPED_LOCK (&lock);
  hook_function = hook;
  hook_opaque = opaque;
}

static const char *
level_mark (enum log_level level)
{
  switch (level) {
  case LOG_LEVEL_ERROR:
    return colour ? "\033[31merror:\033[0m " : "error: ";
  case LOG_LEVEL_WARN:
    return colour ? "\033[33mwarning:\033[0m " : "warning: ";
  case LOG_LEVEL_DEBUG:
    return "debug: ";
  case LOG_LEVEL_INFO:
    break;
  }
  return "";
}

__attribute__ ((format (printf, 2, 0))) static void
print (enum log_level level, const char *format, va_list ap)
{
  int saved = errno;
  char text[LOG_LINE_MAX];
  char line[LOG_LINE_MAX];
  bool known; /* the text says itself what it is about */
  size_t used;

  if (!log_wants (level))
    return;
  vsnprintf (text, sizeof text, format, ap);
  used = strlen (thread_context);
  known = used == 0
          || (strncmp (text, thread_context, used) == 0 && text[used] == ':');
  snprintf (line, sizeof line - 1, "%s: %s%s%s%.*s", program_name,
            level_mark (level), known ? "" : thread_context, known ? "" : ": ",
            (int)(sizeof line - 256), text);
  used = strnlen (line, sizeof line - 2);
  line[used] = '\n';
  line[used + 1] = '\0';
  {
    SCOPED_LOCK (&lock);
    if (hook_function != NULL)
      hook_function (true, hook_opaque);
    fputs (line, stderr);
    fflush (stderr);
    if (hook_function != NULL)
      hook_function (false, hook_opaque);
  }
  errno = saved;
}

void
log_error (const char *format, ...)
{
  va_list ap;

  va_start (ap, format);
  print (LOG_LEVEL_ERROR, format, ap);
  va_end (ap);
}

void
log_warn (const char *format, ...)
{
  va_list ap;

  va_start (ap, format);
  print (LOG_LEVEL_WARN, format, ap);
  va_end (ap);
}

void
log_info (const char *format, ...)
{
  va_list ap;

  va_start (ap, format);
  print (LOG_LEVEL_INFO, format, ap);
  va_end (ap);
}

void
log_debug (const char *format, ...)
{
  va_list ap;

  va_start (ap, format);
  print (LOG_LEVEL_DEBUG, format, ap);
  va_end (ap);
}
