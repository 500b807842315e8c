/* SPDX-License-Identifier: Apache-2.0 */
/* The child inherits the descriptors of the images and one end of a socket
   pair, on which it finds the disk to convert to; no path and no address is
   named that somebody else could replace. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "repo/qemuimg.h"

#define TEXT_MAX 2048u
#define JSON_MAX (96u << 10) /* Linux takes 128 KiB in one argument */

/* What a child is started with. */
struct child {
  const char *program;
  const char *const *argv;
  const int *fds; /* that it inherits under their numbers */
  unsigned fd_count;
  int out;    /* its stdout, or -1 */
  int errors; /* its stderr */
  rlim_t cpu_s;
};

static void
limit (int resource, rlim_t value)
{
  struct rlimit r = { .rlim_cur = value, .rlim_max = value };

  (void)setrlimit (resource, &r);
}

/* In the child, between fork and exec: calls that are safe there only. */
static void
run_child (const struct child *c)
{
  int null = open ("/dev/null", O_RDWR | O_CLOEXEC);
  int out = c->out < 0 ? null : c->out;

  if (null < 0 || dup2 (null, 0) < 0 || dup2 (out, 1) < 0
      || dup2 (c->errors, 2) < 0)
    _exit (126);
  for (unsigned i = 0; i < c->fd_count; i++) {
    if (fcntl (c->fds[i], F_SETFD, 0) < 0)
      _exit (126);
  }
  limit (RLIMIT_CORE, 0);
  limit (RLIMIT_FSIZE, TEXT_MAX);
  limit (RLIMIT_CPU, c->cpu_s);
  limit (RLIMIT_AS, QEMUIMG_MEMORY_MAX);
  execvp (c->program, (char *const *)c->argv);
  _exit (127);
}

static pid_t
start_child (const struct child *c, struct fault *f)
{
  pid_t pid = fork ();

  if (pid == 0)
    run_child (c);
  if (pid < 0)
    fault_set (f, FAULT_IO, errno, "start %s", c->program);
  return pid;
}

/* Wait for the end of PID; its status. */
static int
reap (pid_t pid)
{
  int status = -1;

  while (waitpid (pid, &status, 0) < 0 && errno == EINTR)
    continue;
  return status;
}

/* What stands in the memory file FD, its first line. */
static void
read_note (int fd, char text[static TEXT_MAX])
{
  ssize_t n = fdio_pread_upto (fd, text, TEXT_MAX - 1, 0, "output", NULL);

  text[n < 0 ? 0 : n] = '\0';
  text[strcspn (text, "\n")] = '\0';
}

static int
check_status (const char *program, int status, int errors, struct fault *f)
{
  char text[TEXT_MAX];

  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return 0;
  if (WIFEXITED (status) && WEXITSTATUS (status) >= 126)
    return fault_set (f, FAULT_NOTFOUND, 0,
                      "%s cannot be run; install qemu-utils", program);
  read_note (errors, text);
  if (WIFSIGNALED (status))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s was ended by signal %d (it has limits on CPU and "
                      "memory)",
                      program, WTERMSIG (status));
  return fault_set (f, FAULT_CORRUPT, 0, "%s refuses the image: %s", program,
                    text);
}

int
qemuimg_version (const char *program, char out[static QEMUIMG_VERSION_SIZE],
                 struct fault *f)
{
  CLEANUP_CLOSE int note = memfd_create ("version", MFD_CLOEXEC);
  CLEANUP_CLOSE int errors = memfd_create ("errors", MFD_CLOEXEC);
  const char *argv[] = { program, "--version", NULL };
  struct child c = { .program = program,
                     .argv = argv,
                     .out = note,
                     .errors = errors,
                     .cpu_s = QEMUIMG_CPU_BASE_S };
  char text[TEXT_MAX];
  char number[32];
  pid_t pid;

  if (note < 0 || errors < 0)
    return fault_set (f, FAULT_IO, errno, "memory file");
  pid = start_child (&c, f);
  if (pid < 0 || check_status (program, reap (pid), errors, f) < 0)
    return -1;
  read_note (note, text);
  if (sscanf (text, "qemu-img version %31[0-9.]", number) != 1)
    return fault_set (f, FAULT_NOTFOUND, 0, "%s is no qemu-img", program);
  snprintf (out, QEMUIMG_VERSION_SIZE, "qemu-img %s", number);
  return 0;
}

/* The node of the chain, each image with its backing image inside. */
static char *
chain_json (const int *fds, unsigned count, struct fault *f)
{
  struct buf b;

  buf_init (&b, JSON_MAX);
  buf_printf (&b, "json:");
  for (unsigned i = 0; i < count; i++)
    buf_printf (&b,
                "{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
                "\"filename\":\"/proc/self/fd/%d\"},\"backing\":",
                fds[i]);
  buf_printf (&b, "null");
  for (unsigned i = 0; i < count; i++)
    buf_printf (&b, "}");
  buf_put_u8 (&b, 0);
  if (!buf_bad (&b))
    return (char *)b.data;
  buf_reset (&b);
  fault_set (f, FAULT_INTERNAL, 0, "%u images are too many for qemu-img",
             count);
  return NULL;
}

/* Start qemu-img on the chain with SOCKET as its output. */
static pid_t
start_convert (const char *program, const int *fds, unsigned count,
               uint64_t size, int socket, int errors, struct fault *f)
{
  CLEANUP_FREE char *source = chain_json (fds, count, f);
  CLEANUP_FREE char *target
      = xasprintf ("driver=raw,file.driver=nbd,file.server.type=fd,"
                   "file.server.str=%d",
                   socket);
  CLEANUP_FREE int *inherit = xcalloc (count + 1, sizeof *inherit);
  /* -n: the output is there; -U: no lock is asked for; -S 64k: holes come as
     WRITE_ZEROES of any length, which -S 0 would spell out. */
  const char *argv[]
      = { program, "convert", "-n", "-U", "-S", "64k", "--target-image-opts",
          source,  target,    NULL };
  struct child c = { .program = program,
                     .argv = argv,
                     .fds = inherit,
                     .fd_count = count + 1,
                     .out = -1,
                     .errors = errors,
                     .cpu_s = QEMUIMG_CPU_BASE_S + size / QEMUIMG_CPU_BYTES };

  if (source == NULL)
    return -1;
  memcpy (inherit, fds, count * sizeof *fds);
  inherit[count] = socket;
  return start_child (&c, f);
}

int
qemuimg_decode (const char *program, const int *fds, unsigned count,
                uint64_t size, nbdsink_fn fn, void *opaque, struct fault *f)
{
  CLEANUP_CLOSE int errors = memfd_create ("errors", MFD_CLOEXEC);
  CLEANUP_CLOSE int ours = -1;
  CLEANUP_CLOSE int theirs = -1;
  struct fault local = FAULT_INIT;
  int pair[2];
  int status;
  pid_t pid;

  if (errors < 0
      || socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
    return fault_set (f, FAULT_IO, errno, "socket pair for %s", program);
  ours = pair[0];
  theirs = pair[1];
  pid = start_convert (program, fds, count, size, theirs, errors, f);
  if (pid < 0)
    return -1;
  close (steal_fd (&theirs));
  if (nbdsink_serve (ours, size, fn, opaque, &local) == 0)
    return check_status (program, reap (pid), errors, f);
  /* A fault of its own ends the connection too: then its message says more. */
  close (steal_fd (&ours));
  if (local.code != FAULT_PROTO && local.code != FAULT_IO)
    kill (pid, SIGKILL);
  status = reap (pid);
  if ((local.code == FAULT_PROTO || local.code == FAULT_IO)
      && check_status (program, status, errors, f) < 0)
    return -1;
  return fault_copy (f, &local);
}
