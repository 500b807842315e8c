/* SPDX-License-Identifier: Apache-2.0 */
/* The guard is single-threaded and sleeps in poll: on the worker's questions,
   and on signals by signalfd, so that SIGTERM of an administrator or of a
   closing sshd is an ordinary event.  It never touches a volume and never
   reads the controller's stream. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "remote/guard.h"
#include "remote/lv.h"
#include "remote/lvserve.h"
#include "remote/lvstate.h"

#define COMMAND "chainlift-remote"
#define NICENESS 10
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_IDLE (3 << 13)
#define GRACE_MS 10000
#define POLL_MS 1000
#define ENDING_MS 20
#define ENDING_TRIES 100
#define MEMORY_MAX (UINT64_C (1) << 30)
#define CPU_MAX_S (7 * 24 * 3600)
#define FDS_MAX 4096
#define TITLE_SIZE 320

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#  define SANITIZED 1
#elif defined __has_feature
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#    define SANITIZED 1
#  endif
#endif

enum request_op {
  REQUEST_SCAN = 1,
  REQUEST_DIE = 2,
  REQUEST_TITLE = 3,
};

/* Both ends are the same binary on the same machine: structs travel as they
   are. */
struct request {
  uint32_t op; /* enum request_op; from LVSERVE_OPEN on enum lvserve_op */
  uint32_t count;
  union {
    struct scan_file files[SCAN_FILES_MAX];
    char title[TITLE_SIZE];
    struct lv_want want;
  };
};
_Static_assert(sizeof (struct request) >= sizeof (struct lvserve_request),
               "room for each request");

struct reply {
  int32_t failed;
  struct scan_result scan;
  struct fault fault;
};

struct beat {
  _Atomic uint64_t last_ms;
  _Atomic uint32_t limit_ms;
};

struct guard {
  int fd;
  bool root;
  bool vdsm;
  bool orphans;
  struct lv *lv; /* in the guard alone */
  struct beat *beat;
  pthread_mutex_t lock; /* one question at a time */
  struct request request;
};

/* argv and the environment lie one behind the other on the stack; the process
   list shows from argv[0] on.  Set once, before threads. */
static struct {
  char *start;
  size_t size;
} title;

uint64_t
guard_now_ms (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_BOOTTIME, &ts);
  return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- name ------------------------------------------------------------- */

static void
show_title (const char *text)
{
  if (title.size == 0)
    return;
  memset (title.start, 0, title.size);
  /* not snprintf into it: the last byte stays NUL */
  memcpy (title.start, text,
          strlen (text) < title.size ? strlen (text) : title.size - 1);
}

void
guard_name (int argc, char **argv, char **env)
{
  char *end = argv[0];
  int count = 0;

  for (int i = 0; i < argc && argv[i] == end; i++)
    end += strlen (argv[i]) + 1;
  while (env[count] != NULL && env[count] == end)
    end += strlen (env[count++]) + 1;
  title.start = argv[0];
  title.size = (size_t)(end - argv[0]);
}

/* --- set-up ----------------------------------------------------------- */

static void
limit (int resource, uint64_t value)
{
  struct rlimit r = { .rlim_cur = value, .rlim_max = value };
  struct rlimit old;

  if (getrlimit (resource, &old) == 0 && old.rlim_max < value)
    r.rlim_cur = r.rlim_max = old.rlim_max;
  setrlimit (resource, &r);
}

/* The host's work goes first: CPU, disk, and memory when it runs out.  All of
   it is best effort. */
static void
behave (void)
{
  const struct sigaction child
      = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP };
  int fd = open ("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

  if (fd >= 0) {
    if (fdio_write_full (fd, "1000", 4, "oom_score_adj", NULL) < 0)
      errno = 0;
    close (fd);
  }
  setpriority (PRIO_PROCESS, 0, NICENESS);
  syscall (SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
  prctl (PR_SET_NAME, COMMAND);
  show_title (COMMAND);
  limit (RLIMIT_CORE, 0);
  limit (RLIMIT_CPU, CPU_MAX_S);
#ifndef SANITIZED
  limit (RLIMIT_AS, MEMORY_MAX);
#endif
  umask (077);
  if (chdir ("/") < 0)
    errno = 0;
  signal (SIGPIPE, SIG_IGN);
#ifdef M_ARENA_MAX
  /* one heap, whose pages are kept: frames come and go all the time */
  mallopt (M_ARENA_MAX, 1);
  mallopt (M_MMAP_THRESHOLD, 32 * 1024 * 1024);
  mallopt (M_TRIM_THRESHOLD, 64 * 1024 * 1024);
#endif
  /* a stopped worker has not ended */
  sigaction (SIGCHLD, &child, NULL);
}

/* Whatever sshd, sudo or a shell left open is not ours; KEEP is. */
static void
close_others (int keep)
{
  for (int fd = 3; fd < FDS_MAX; fd++) {
    if (fd != keep)
      close (fd);
  }
}

/* --- worker ----------------------------------------------------------- */

/* Become vdsm for good.  -1 when something of root is left. */
static int
drop_root (struct fault *f)
{
  const gid_t gid = GUARD_VDSM_ID;
  const uid_t uid = GUARD_VDSM_ID;

  if (setgroups (1, &gid) < 0 || setresgid (gid, gid, gid) < 0
      || setresuid (uid, uid, uid) < 0)
    return fault_set (f, FAULT_REMOTE, errno, "become vdsm (uid %d)",
                      GUARD_VDSM_ID);
  if (geteuid () != uid || setuid (0) == 0)
    return fault_set (f, FAULT_REMOTE, 0, "become vdsm: root came back");
  return 0;
}

static void
start_worker (struct guard *g, pid_t guard_pid, const sigset_t *mask,
              int (*work) (struct guard *g, void *opaque), void *opaque)
{
  struct fault f = FAULT_INIT;

  close_others (g->fd);
  sigprocmask (SIG_SETMASK, mask, NULL);
  if (g->root && drop_root (&f) < 0) {
    fprintf (stderr, COMMAND ": %s\n", f.text);
    _exit (FAULT_REMOTE);
  }
  prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  /* a change of ids clears it, so not earlier; the guard may be gone already */
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != guard_pid)
    _exit (FAULT_REMOTE);
  g->vdsm = geteuid () == GUARD_VDSM_ID;
  _exit (work (g, opaque));
}

bool
guard_is_root (const struct guard *g)
{
  return g->root;
}

bool
guard_is_vdsm (const struct guard *g)
{
  return g->vdsm;
}

void
guard_set_limit (struct guard *g, uint32_t ms)
{
  atomic_store (&g->beat->limit_ms, ms);
}

uint32_t
guard_left_ms (const struct guard *g)
{
  uint64_t end
      = atomic_load (&g->beat->last_ms) + atomic_load (&g->beat->limit_ms);
  uint64_t now = guard_now_ms ();

  return now >= end ? 0 : (uint32_t)(end - now);
}

bool
guard_beat (struct guard *g)
{
  if (guard_left_ms (g) == 0)
    return false;
  atomic_store (&g->beat->last_ms, guard_now_ms ());
  return true;
}

int
guard_scan (struct guard *g, const struct scan_file *files, uint32_t count,
            struct scan_result *out, struct fault *f)
{
  SCOPED_LOCK (&g->lock);
  struct reply reply;
  size_t size = offsetof (struct request, files) + count * sizeof *files;

  if (count > SCAN_FILES_MAX)
    return fault_set (f, FAULT_PROTO, 0, "scan: more than %d files",
                      SCAN_FILES_MAX);
  g->request.op = REQUEST_SCAN;
  g->request.count = count;
  memcpy (g->request.files, files, count * sizeof *files);
  if (send (g->fd, &g->request, size, MSG_NOSIGNAL) != (ssize_t)size
      || recv (g->fd, &reply, sizeof reply, 0) != sizeof reply)
    return fault_set (f, FAULT_INTERNAL, errno, "ask the guard process");
  if (reply.failed)
    return fault_copy (f, &reply.fault);
  *out = reply.scan;
  return 0;
}

bool
guard_has_orphans (const struct guard *g)
{
  return g->orphans;
}

/* The descriptor that came with M, or -1. */
static int
passed_fd (struct msghdr *m)
{
  struct cmsghdr *c = CMSG_FIRSTHDR (m);
  int fd = -1;

  if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS
      && c->cmsg_len == CMSG_LEN (sizeof fd))
    memcpy (&fd, CMSG_DATA (c), sizeof fd);
  return fd;
}

int
guard_ask (struct guard *g, const void *request, size_t size, void *reply,
           size_t reply_size, size_t least, int *passed, struct fault *f)
{
  SCOPED_LOCK (&g->lock);
  struct iovec iov = { .iov_base = reply, .iov_len = reply_size };
  union {
    char bytes[CMSG_SPACE (sizeof (int))];
    struct cmsghdr align;
  } control = { .bytes = { 0 } };
  struct msghdr m = { .msg_iov = &iov,
                      .msg_iovlen = 1,
                      .msg_control = control.bytes,
                      .msg_controllen = sizeof control.bytes };
  ssize_t n = -1;
  int fd;

  if (send (g->fd, request, size, MSG_NOSIGNAL) == (ssize_t)size)
    n = recvmsg (g->fd, &m, MSG_CMSG_CLOEXEC);
  if (n < (ssize_t)least)
    return fault_set (f, FAULT_INTERNAL, errno, "ask the guard process");
  fd = passed_fd (&m);
  if (passed != NULL)
    *passed = fd;
  else if (fd >= 0)
    close (fd);
  return 0;
}

void
guard_title (struct guard *g, const char *run_id)
{
  SCOPED_LOCK (&g->lock);
  size_t size = offsetof (struct request, title) + TITLE_SIZE;

  g->request.op = REQUEST_TITLE;
  g->request.count = 0;
  snprintf (g->request.title, TITLE_SIZE, COMMAND " %s", run_id);
  show_title (g->request.title);
  /* for the eyes of an administrator: no answer, no fault */
  if (send (g->fd, &g->request, size, MSG_NOSIGNAL) < 0)
    errno = 0;
}

void
guard_die (struct guard *g)
{
  uint32_t request[2] = { REQUEST_DIE, 0 };

  if (send (g->fd, request, sizeof request, MSG_NOSIGNAL) < 0)
    kill (getpid (), SIGKILL);
  for (;;)
    pause ();
}

/* --- guard ------------------------------------------------------------ */

/* Answer one question; -1 when the worker closed its end. */
static int
answer (struct guard *g, pid_t worker)
{
  struct request *rq = &g->request;
  struct reply reply = { .fault = FAULT_INIT };
  const pid_t self[2] = { getpid (), worker };
  ssize_t n = recv (g->fd, rq, sizeof *rq, 0);

  if (n <= 0)
    return n < 0 && errno == EINTR ? 0 : -1;
  if (n < (ssize_t)offsetof (struct request, files))
    return -1;
  if (rq->op >= LVSERVE_OPEN)
    return lvserve (g->lv, rq, (size_t)n, g->fd);
  if (rq->op == REQUEST_DIE) {
    kill (worker, SIGKILL);
    kill (getpid (), SIGKILL);
  }
  if (rq->op == REQUEST_TITLE
      && n == (ssize_t)offsetof (struct request, title) + TITLE_SIZE) {
    rq->title[TITLE_SIZE - 1] = '\0';
    show_title (rq->title);
    return 0;
  }
  if (rq->op != REQUEST_SCAN || rq->count > SCAN_FILES_MAX
      || (size_t)n
             != offsetof (struct request, files)
                    + rq->count * sizeof rq->files[0])
    return -1;
  reply.failed
      = scan_writers (rq->files, rq->count, self, &reply.scan, &reply.fault)
        < 0;
  return send (g->fd, &reply, sizeof reply, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static bool
overdue (const struct guard *g)
{
  return guard_now_ms () >= atomic_load (&g->beat->last_ms)
                                + atomic_load (&g->beat->limit_ms) + GRACE_MS;
}

/* Is the signal that came the end of the worker, or one to end us?  Commands
   of LVM end too. */
static bool
to_end (int signals, pid_t worker)
{
  struct signalfd_siginfo info;
  siginfo_t child = { .si_pid = 0 };

  if (read (signals, &info, sizeof info) != (ssize_t)sizeof info
      || info.ssi_signo != SIGCHLD)
    return true;
  return waitid (P_PID, (id_t)worker, &child, WEXITED | WNOHANG | WNOWAIT) < 0
         || child.si_pid == worker;
}

/* Serve until the worker closes its end, a signal comes, or the worker is
   overdue.  Whatever it was, the worker is to end now. */
static void
serve (struct guard *g, pid_t worker, int signals)
{
  struct pollfd p[2] = { { .fd = g->fd, .events = POLLIN },
                         { .fd = signals, .events = POLLIN } };

  for (;;) {
    p[0].revents = p[1].revents = 0;
    if (poll (p, 2, POLL_MS) < 0 && errno != EINTR)
      return;
    if (overdue (g) || (p[1].revents != 0 && to_end (signals, worker)))
      return;
    if (p[0].revents != 0 && answer (g, worker) < 0)
      return;
  }
}

/* Has the worker closed its end, which it does only when it ends? */
static bool
ending (const struct guard *g)
{
  char byte;

  return recv (g->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

/* The worker's exit status; one that does not end by itself is killed.  What
   hangs in the kernel cannot be killed: then this waits as long as it does,
   and the helper is found by its name. */
static int
reap (struct guard *g, pid_t worker)
{
  int status;
  int tries = ENDING_TRIES;
  pid_t pid = waitpid (worker, &status, WNOHANG);

  while (pid == 0 && tries-- > 0 && ending (g)) {
    poll (NULL, 0, ENDING_MS);
    pid = waitpid (worker, &status, WNOHANG);
  }
  if (pid == 0) {
    kill (worker, SIGKILL);
    do
      pid = waitpid (worker, &status, 0);
    while (pid < 0 && errno == EINTR);
  }
  return pid == worker && WIFEXITED (status) ? WEXITSTATUS (status)
                                             : FAULT_INTERNAL;
}

/* Read no stream of the controller, hold none open. */
static void
leave_streams (void)
{
  int null = open ("/dev/null", O_RDWR | O_CLOEXEC);

  if (null < 0) {
    close (0);
    close (1);
    return;
  }
  dup2 (null, 0);
  dup2 (null, 1);
  if (null > 1)
    close (null);
}

/* The worker is gone, and with it all that it had open: what it did not give
   back is put back now. */
static void
put_back (struct guard *g)
{
  struct buf report;

  buf_init (&report, MSG_REPORT_MAX);
  lv_close (g->lv, &report);
  if (report.size > 0)
    fprintf (stderr, COMMAND ": %.*s", (int)report.size, (char *)report.data);
  buf_reset (&report);
}

static int
run_guard (struct guard *g, pid_t worker, const sigset_t *watched)
{
  int signals = signalfd (-1, watched, SFD_CLOEXEC);
  int status;

  leave_streams ();
  g->lv = lv_new ();
  if (signals >= 0)
    serve (g, worker, signals);
  status = reap (g, worker);
  put_back (g);
  free (g->lv);
  free (g);
  return status;
}

static struct beat *
share_beat (void)
{
  struct beat *beat = mmap (NULL, sizeof *beat, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);

  if (beat == MAP_FAILED)
    return NULL;
  atomic_store (&beat->last_ms, guard_now_ms ());
  atomic_store (&beat->limit_ms, GUARD_LIMIT_MS);
  return beat;
}

int
guard_run (int (*work) (struct guard *g, void *opaque), void *opaque)
{
  struct guard *g = xcalloc (1, sizeof *g);
  pid_t self = getpid ();
  sigset_t watched;
  sigset_t old;
  pid_t worker;
  int pair[2];

  behave ();
  close_others (-1);
  sigemptyset (&watched);
  sigaddset (&watched, SIGTERM);
  sigaddset (&watched, SIGHUP);
  sigaddset (&watched, SIGINT);
  sigaddset (&watched, SIGCHLD);
  sigprocmask (SIG_BLOCK, &watched, &old);
  pthread_mutex_init (&g->lock, NULL);
  g->root = geteuid () == 0;
  g->orphans = g->root && lvstate_orphans ();
  g->beat = share_beat ();
  if (g->beat == NULL
      || socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
    return FAULT_INTERNAL;
  worker = fork ();
  if (worker < 0)
    return FAULT_INTERNAL;
  g->fd = pair[worker == 0];
  close (pair[worker != 0]);
  if (worker == 0)
    start_worker (g, self, &old, work, opaque);
  return run_guard (g, worker, &watched);
}
