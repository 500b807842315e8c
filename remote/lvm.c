/* SPDX-License-Identifier: Apache-2.0 */
/* The command is none of ours any more once it runs: it has a session of its
   own, no limits, ordinary priority (it holds locks that vdsm waits for), and
   it ignores SIGPIPE, so that our end does not become its. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "remote/guard.h"
#include "remote/lvm.h"
#include "remote/proc.h"

#define PROBE_WAIT_MS 30000
#define POLL_MS 10
#define TRIES 4
#define PAUSE_MS 100 /* doubled each time */
#define STEP 65536
#define CONFIG_MAX (64 * 1024)
#define COMMAND_MAX (256 * 1024) /* bytes of a command line */
#define IOPRIO_WHO_PROCESS 1

static const char *const paths[]
    = { "/usr/sbin/lvm", "/sbin/lvm", "/usr/bin/lvm", "/bin/lvm" };

/* --- child ------------------------------------------------------------ */

static void
lift (int resource)
{
  const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };

  setrlimit (resource, &none);
}

/* Undo what the helper does to itself. */
static void
behave_as_root_does (void)
{
  sigset_t none;
  int fd = open ("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

  if (fd >= 0) {
    if (fdio_write_full (fd, "0", 1, "oom_score_adj", NULL) < 0)
      errno = 0;
    close (fd);
  }
  lift (RLIMIT_AS);
  lift (RLIMIT_CPU);
  setpriority (PRIO_PROCESS, 0, 0);
  syscall (SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0);
  umask (022);
  setsid ();
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
}

static void
exec_child (const char *path, const char *const *argv, int out, int errors)
{
  static const char *const env[]
      = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/",
          "LVM_SUPPRESS_FD_WARNINGS=1", NULL };
  int null = open ("/dev/null", O_RDWR | O_CLOEXEC);

  behave_as_root_does ();
  if (null < 0 || dup2 (null, 0) < 0 || dup2 (out, 1) < 0
      || dup2 (errors, 2) < 0)
    _exit (127);
  /* POSIX: execve changes neither */
  execve (path, (char *const *)argv, (char *const *)env);
  _exit (127);
}

/* --- parent ----------------------------------------------------------- */

struct child {
  pid_t pid;
  int fds[2]; /* its stdout and stderr; -1 once they ended */
  struct buf out;
  char *errors;
  size_t errors_size;
  bool cut;
};

static int
start (struct child *c, const char *path, const char *const *argv,
       struct fault *f)
{
  int out[2] = { -1, -1 };
  int errors[2] = { -1, -1 };

  if (pipe2 (out, O_CLOEXEC) < 0 || pipe2 (errors, O_CLOEXEC) < 0)
    goto err;
  c->pid = fork ();
  if (c->pid < 0)
    goto err;
  if (c->pid == 0)
    exec_child (path, argv, out[1], errors[1]);
  close (out[1]);
  close (errors[1]);
  c->fds[0] = out[0];
  c->fds[1] = errors[0];
  return 0;

err:
  fault_set (f, FAULT_REMOTE, errno, "run %s", path);
  for (int i = 0; i < 2; i++) {
    if (out[i] >= 0)
      close (out[i]);
    if (errors[i] >= 0)
      close (errors[i]);
  }
  return -1;
}

/* Keep what fits, throw away the rest: the command never waits for us. */
static void
keep (struct child *c, int which, const char *data, size_t size)
{
  size_t room;

  if (which == 0) {
    if (c->out.size + size > LVTEXT_OUT_MAX)
      c->cut = true;
    else
      buf_put (&c->out, data, size);
    return;
  }
  room = LVM_ERRORS_SIZE - 1 - c->errors_size;
  size = size < room ? size : room;
  memcpy (c->errors + c->errors_size, data, size);
  c->errors_size += size;
  c->errors[c->errors_size] = '\0';
}

static void
drain (struct child *c, int which)
{
  char data[STEP];
  ssize_t n = read (c->fds[which], data, sizeof data);

  if (n > 0)
    keep (c, which, data, (size_t)n);
  else if (n == 0 || errno != EINTR) {
    close (c->fds[which]);
    c->fds[which] = -1;
  }
}

/* Take in what its pipes hold, after waiting at most MS for it; false when
   there was nothing. */
static bool
take_in (struct child *c, int ms)
{
  struct pollfd p[2];

  for (int i = 0; i < 2; i++)
    p[i] = (struct pollfd){ .fd = c->fds[i], .events = POLLIN };
  if (poll (p, 2, ms) <= 0)
    return false;
  for (int i = 0; i < 2; i++) {
    if (p[i].revents != 0)
      drain (c, i);
  }
  return true;
}

/* Has it ended within its time?  A daemon that it started may hold the pipes:
   its own end counts. */
static bool
wait_child (struct child *c, unsigned ms, int *status)
{
  uint64_t end = guard_now_ms () + ms;
  pid_t pid = 0;

  while (pid == 0 && guard_now_ms () < end) {
    if (!take_in (c, POLL_MS))
      pid = waitpid (c->pid, status, WNOHANG);
  }
  while (pid != 0 && take_in (c, 0))
    continue;
  return pid == c->pid;
}

static void
close_child (struct child *c)
{
  for (int i = 0; i < 2; i++) {
    if (c->fds[i] >= 0)
      close (c->fds[i]);
  }
}

/* Has a command that was left alone still not ended? */
static bool
hangs (struct lvm *l)
{
  if (l->hung != 0 && waitpid (l->hung, NULL, WNOHANG) != 0)
    l->hung = 0;
  return l->hung != 0;
}

static int
run (struct lvm *l, const char *const *argv, unsigned ms,
     struct lvm_result *out, struct fault *f)
{
  struct child c = { .fds = { -1, -1 } };
  int status = 0;

  memset (out, 0, sizeof *out);
  c.errors = out->errors;
  if (hangs (l))
    return fault_set (f, FAULT_BUSY, 0,
                      "lvm (process %d) still hangs; look at multipath -ll and "
                      "dmsetup info for a suspended device",
                      (int)l->hung);
  buf_init (&c.out, LVTEXT_OUT_MAX + 1);
  if (start (&c, l->path, argv, f) < 0)
    return -1;
  if (!wait_child (&c, ms, &status)) {
    l->hung = c.pid;
    close_child (&c);
    buf_reset (&c.out);
    return fault_set (f, FAULT_BUSY, 0,
                      "lvm %s (process %d) did not end in %u s and is left "
                      "alone; look at multipath -ll and dmsetup info for a "
                      "suspended device",
                      argv[1], (int)c.pid, ms / 1000);
  }
  close_child (&c);
  buf_put_u8 (&c.out, 0);
  out->out = (char *)c.out.data;
  out->cut = c.cut;
  out->status = WIFEXITED (status) ? WEXITSTATUS (status) : -1;
  return 0;
}

void
lvm_result_reset (struct lvm_result *r)
{
  free (r->out);
  r->out = NULL;
}

/* --- calls ------------------------------------------------------------ */

static bool
trusted (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 && S_ISREG (st.st_mode) && st.st_uid == 0
         && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static int
find_path (struct lvm *l, struct fault *f)
{
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    if (trusted (paths[i])) {
      l->path = paths[i];
      return 0;
    }
  }
  return fault_set (f, FAULT_REMOTE, 0,
                    "no lvm in /usr/sbin, /sbin, /usr/bin, /bin that belongs "
                    "to root alone");
}

int
lvm_probe (struct lvm *l, struct fault *f)
{
  struct lvm_result version = { .out = NULL };
  struct lvm_result help = { .out = NULL };
  const char *const ask_version[] = { "lvm", "version", NULL };
  const char *const ask_help[] = { "lvm", "lvs", "--help", NULL };
  int rc = -1;

  if (l->path != NULL)
    return 0;
  if (find_path (l, f) == 0
      && run (l, ask_version, PROBE_WAIT_MS, &version, f) == 0
      && run (l, ask_help, PROBE_WAIT_MS, &help, f) == 0)
    rc = lvtext_style (version.out, help.out, &l->style, f);
  lvm_result_reset (&version);
  lvm_result_reset (&help);
  if (rc < 0)
    l->path = NULL;
  return rc;
}

/* What lvm_changes looks for. */
struct changed {
  char name[2 * UUID_SIZE]; /* SD/VOLUME, or SD/ for any that is activated */
  size_t length;
  bool any;
  char *text; /* COMMAND_MAX bytes */
};

/* The command line: words that end in NUL. */
static bool
is_change (pid_t pid, void *opaque)
{
  const struct changed *c = opaque;
  ssize_t size = proc_read (pid, "cmdline", c->text, COMMAND_MAX);
  size_t length = c->any ? c->length : c->length + 1;
  const char *before = "";
  bool command = false;
  bool named = false;

  for (ssize_t i = 0; i < size; i += (ssize_t)strlen (c->text + i) + 1) {
    const char *word = c->text + i;

    command = command || strcmp (word, "lvchange") == 0;
    named = named || strncmp (word, c->name, length) == 0;
    if (c->any && strcmp (before, "--available") == 0
        && strcmp (word, "n") == 0)
      return false;
    before = word;
  }
  return command && named;
}

pid_t
lvm_changes (const char *sd, const char *volume)
{
  CLEANUP_FREE char *text = xmalloc (COMMAND_MAX);
  struct changed c = { .any = volume == NULL, .text = text };

  c.length = (size_t)snprintf (c.name, sizeof c.name, "%s/%s", sd,
                               volume != NULL ? volume : "");
  return proc_find (is_change, &c);
}

static size_t
list_length (const char *const *list)
{
  size_t n = 0;

  while (list[n] != NULL)
    n++;
  return n;
}

int
lvm_run (struct lvm *l, const char *sd, const struct group_spec *g,
         bool read_only, const char *command, const char *const *args,
         const char *const *names, struct lvm_result *out, struct fault *f)
{
  size_t count = list_length (args) + list_length (names);
  CLEANUP_FREE const char **argv = xcalloc (count + 8, sizeof *argv);
  CLEANUP_FREE char **full = xcalloc (count + 1, sizeof *full);
  struct buf config;
  struct buf devices;
  size_t n = 0;
  size_t made = 0;
  int rc = -1;

  buf_init (&config, CONFIG_MAX);
  buf_init (&devices, CONFIG_MAX);
  lvtext_config (l->style, g, read_only ? sd : NULL, &config);
  lvtext_devices (l->style, g, &devices);
  argv[n++] = "lvm";
  argv[n++] = command;
  if (devices.data[0] != '\0') {
    argv[n++] = "--devices";
    argv[n++] = (char *)devices.data;
  }
  argv[n++] = "--config";
  argv[n++] = (char *)config.data;
  for (; *args != NULL; args++)
    argv[n++] = *args;
  for (; *names != NULL; names++)
    argv[n++] = full[made++]
        = (*names)[0] == '\0' ? xstrdup (sd) : xasprintf ("%s/%s", sd, *names);
  if (buf_bad (&config) || buf_bad (&devices))
    fault_set (f, FAULT_INTERNAL, 0, "too many LUNs");
  else
    rc = run (l, argv, LVM_WAIT_MS, out, f);
  while (made > 0)
    free (full[--made]);
  buf_reset (&config);
  buf_reset (&devices);
  return rc;
}

int
lvm_try (struct lvm *l, const char *sd, const struct group_spec *g,
         bool read_only, const char *command, const char *const *args,
         const char *const *names, struct lvm_result *out, struct fault *f)
{
  for (int i = 0; i < TRIES; i++) {
    enum lvtext_error class;

    if (i > 0) {
      poll (NULL, 0, PAUSE_MS << i);
      lvm_result_reset (out);
    }
    if (lvm_run (l, sd, g, read_only, command, args, names, out, f) < 0)
      return -1;
    class = lvtext_classify (out->errors);
    if (out->status == 0 || class == LVTEXT_NOT_FOUND || class == LVTEXT_FLAGS)
      break;
  }
  return 0;
}
