/* SPDX-License-Identifier: Apache-2.0 */
/* The command gets its own process group, so that a hanging password agent
   goes as a whole when its time is over or the user stops us. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "conf/guarded.h"
#include "conf/secret.h"
#include "conf/settings.h"

void
secret_free (char *secret)
{
  if (secret == NULL)
    return;
  explicit_bzero (secret, strlen (secret));
  free (secret);
}

/* The first line of TEXT becomes the secret. */
static char *
first_line (const char *text, const char *what, struct fault *f)
{
  size_t n = strcspn (text, "\r\n");

  if (n == 0 || n > SECRET_MAX) {
    fault_set (f, FAULT_CONF, 0, "%s: its first line is %s", what,
               n == 0 ? "empty" : "too long for a password");
    return NULL;
  }
  return xstrndup (text, n);
}

static char *
from_file (const char *path, struct fault *f)
{
  CLEANUP (secret_free) char *text = NULL;

  text = guarded_read (path, SECRET_MAX * 4, 077, NULL, f);
  if (text == NULL) {
    if (f != NULL && f->code == FAULT_NOTFOUND) {
      f->code = FAULT_CONF;
      fault_append (f, "; write the password into it: (umask 077; cat >%s)",
                    path);
    }
    fault_prefix (f, "engine.password_file");
    return NULL;
  }
  return first_line (text, "engine.password_file", f);
}

/* In the child: never returns. */
static void
run_command (const char *command, int out)
{
  int null = open ("/dev/null", O_RDWR | O_CLOEXEC);

  setpgid (0, 0);
  signal (SIGPIPE, SIG_DFL);
  if (null < 0 || dup2 (null, STDIN_FILENO) < 0
      || dup2 (out, STDOUT_FILENO) < 0)
    _exit (126);
  execl ("/bin/sh", "sh", "-c", command, (char *)NULL);
  _exit (127);
}

/* Read until the end of the output: 0, or -1 after the time is over. */
static int
collect (int fd, char *text, size_t size, struct fault *f)
{
  uint64_t end = stamp_mono_ms () + SECRET_COMMAND_S * 1000;
  size_t used = 0;

  for (;;) {
    struct pollfd fds[2] = { { fd, POLLIN, 0 }, { cancel_fd (), POLLIN, 0 } };
    uint64_t now = stamp_mono_ms ();
    ssize_t n;

    if (now >= end)
      return fault_set (f, FAULT_CONF, 0,
                        "engine.password_command: no end after %d s",
                        SECRET_COMMAND_S);
    if (poll (fds, 2, (int)(end - now)) < 0 && errno != EINTR)
      return fault_set (f, FAULT_IO, errno, "engine.password_command: poll");
    if (cancel_check (f) != 0)
      return -1;
    if (fds[0].revents == 0)
      continue;
    if (used == size - 1)
      return fault_set (f, FAULT_CONF, 0,
                        "engine.password_command: more than %zu bytes",
                        size - 1);
    n = fdio_read_some (fd, text + used, size - 1 - used,
                        "engine.password_command", f);
    if (n < 0)
      return -1;
    if (n == 0)
      return 0;
    used += (size_t)n;
    text[used] = '\0';
  }
}

static int
reap (pid_t pid, bool kill_it, struct fault *f)
{
  int status = 0;

  if (kill_it)
    kill (-pid, SIGKILL);
  while (waitpid (pid, &status, 0) < 0) {
    if (errno != EINTR)
      return fault_set (f, FAULT_IO, errno, "engine.password_command: wait");
  }
  if (kill_it)
    return -1;
  if (!WIFEXITED (status))
    return fault_set (f, FAULT_CONF, 0,
                      "engine.password_command: ended by signal %d",
                      WTERMSIG (status));
  if (WEXITSTATUS (status) != 0)
    return fault_set (f, FAULT_CONF, 0,
                      "engine.password_command: exit status %d",
                      WEXITSTATUS (status));
  return 0;
}

static char *
from_command (const char *command, struct fault *f)
{
  CLEANUP_CLOSE int in = -1;
  CLEANUP_CLOSE int out = -1;
  char text[SECRET_MAX * 4] = "";
  char *secret = NULL;
  int fds[2];
  pid_t pid;
  int rc;

  if (pipe2 (fds, O_CLOEXEC) != 0) {
    fault_set (f, FAULT_IO, errno, "engine.password_command: pipe");
    return NULL;
  }
  in = fds[0];
  out = fds[1];
  pid = fork ();
  if (pid < 0) {
    fault_set (f, FAULT_IO, errno, "engine.password_command: fork");
    return NULL;
  }
  if (pid == 0)
    run_command (command, out);
  setpgid (pid, pid); /* here too: whoever comes first */
  close (steal_fd (&out));
  rc = collect (in, text, sizeof text, f);
  rc = reap (pid, rc != 0, f);
  if (rc == 0)
    secret = first_line (text, "engine.password_command", f);
  explicit_bzero (text, sizeof text);
  return secret;
}

char *
secret_engine_password (const struct settings *s, struct fault *f)
{
  if (settings_need_engine (s, f) != 0)
    return NULL;
  if (s->engine.password_file != NULL)
    return from_file (s->engine.password_file, f);
  return from_command (s->engine.password_command, f);
}
