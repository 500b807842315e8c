/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/stamp.h"

#define OWN_POLL_MS 200

/* Set by signal handlers and by threads; lock-free. */
static atomic_bool wanted;
static __thread unsigned shields;
/* Of this thread alone. */
static __thread const atomic_bool *own;
static __thread uint64_t own_end_ms; /* stamp_mono_ms; 0: none */
static int pipe_fds[2] = { -1, -1 };

void
cancel_request (void)
{
  int saved = errno;

  wanted = true;
  if (pipe_fds[1] >= 0 && write (pipe_fds[1], "", 1) < 0) {
    /* Full: it is readable already. */
  }
  errno = saved;
}

static void
on_signal (int sig)
{
  (void)sig;
  cancel_request ();
}

int
cancel_setup (struct fault *f)
{
  static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
  struct sigaction sa
      = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND | SA_RESTART };

  if (pipe2 (pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
    return fault_set (f, FAULT_INTERNAL, errno, "create the cancel pipe");
  sigemptyset (&sa.sa_mask);
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    sigaction (signals[i], &sa, NULL);
  sa.sa_handler = SIG_IGN;
  sa.sa_flags = 0;
  sigaction (SIGPIPE, &sa, NULL);
  return 0;
}

void
cancel_on (const atomic_bool *flag)
{
  own = flag;
}

void
cancel_within (unsigned ms)
{
  own_end_ms = ms > 0 ? stamp_mono_ms () + ms : 0;
}

bool
cancel_wanted (void)
{
  return (wanted && shields == 0) || (own != NULL && *own)
         || (own_end_ms != 0 && stamp_mono_ms () >= own_end_ms);
}

void
cancel_shield (void)
{
  shields++;
}

void
cancel_unshield (void)
{
  shields--;
}

int
cancel_check (struct fault *f)
{
  if (cancel_wanted ())
    return fault_set (f, FAULT_CANCELLED, 0, "stopped on request");
  return 0;
}

int
cancel_fd (void)
{
  return shields == 0 ? pipe_fds[0] : -1;
}

int
cancel_sleep_ms (unsigned ms, struct fault *f)
{
  struct pollfd p = { .fd = cancel_fd (), .events = POLLIN };
  bool by_itself = own != NULL || own_end_ms != 0;
  struct timespec now;
  struct timespec end;
  long left = (long)ms;

  clock_gettime (CLOCK_MONOTONIC, &end);
  end.tv_sec += ms / 1000;
  end.tv_nsec += (long)(ms % 1000) * 1000000;
  while (left > 0 && !cancel_wanted ()) {
    poll (&p, 1, by_itself && left > OWN_POLL_MS ? OWN_POLL_MS : (int)left);
    clock_gettime (CLOCK_MONOTONIC, &now);
    left = (end.tv_sec - now.tv_sec) * 1000
           + (end.tv_nsec - now.tv_nsec) / 1000000;
  }
  return cancel_check (f);
}
