/* SPDX-License-Identifier: Apache-2.0 */
/* recvfrom without an address is recv, and ppoll without a mask is poll: the
   two that are defined here need nothing of the C library's own. */
#undef _FORTIFY_SOURCE
#include <config.h>

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/xmem.h"
#include "host/gulp.h"

#define GULP_SIZE (512u * 1024)

#ifdef __has_feature
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#    define SANITIZED
#  endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#  define SANITIZED
#endif

struct gulp {
  int fd;
  size_t pos;
  size_t size;
  uint8_t data[GULP_SIZE];
};

/* Of this thread, now. */
static __thread struct gulp *current;

struct gulp *
gulp_new (int fd)
{
  struct gulp *g = xmalloc (sizeof *g);

  g->fd = fd;
  g->pos = 0;
  g->size = 0;
  return g;
}

void
gulp_free (struct gulp *g)
{
  free (g);
}

void
gulp_enter (struct gulp *g)
{
  current = g;
}

void
gulp_leave (void)
{
  current = NULL;
}

#ifndef SANITIZED

ssize_t
recv (int fd, void *data, size_t size, int flags)
{
  struct gulp *g = current;
  ssize_t n;

  if (g == NULL || g->fd != fd || flags != 0)
    return recvfrom (fd, data, size, flags, NULL, NULL);
  if (g->pos == g->size) {
    n = recvfrom (fd, g->data, GULP_SIZE, 0, NULL, NULL);
    if (n <= 0)
      return n;
    g->pos = 0;
    g->size = (size_t)n;
  }
  if (size > g->size - g->pos)
    size = g->size - g->pos;
  memcpy (data, g->data + g->pos, size);
  g->pos += size;
  return (ssize_t)size;
}

enum served {
  NOT_SERVED,
  SERVED,
  SERVED_ALONE, /* and nothing else is asked about that socket */
};

/* Does P ask for what is in the buffer of G? */
static enum served
serve (const struct gulp *g, const struct pollfd *p)
{
  if (g == NULL || p->fd != g->fd || (p->events & POLLIN) == 0
      || g->pos == g->size)
    return NOT_SERVED;
  return p->events == POLLIN ? SERVED_ALONE : SERVED;
}

int
poll (struct pollfd *p, nfds_t count, int timeout)
{
  struct timespec ts
      = { .tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000L };
  struct gulp *g = current;
  enum served most = NOT_SERVED;
  int n;

  for (nfds_t i = 0; i < count; i++) {
    if (serve (g, &p[i]) > most)
      most = serve (g, &p[i]);
  }
  if (most == NOT_SERVED)
    return ppoll (p, count, timeout < 0 ? NULL : &ts, NULL);
  /* The common case needs no system call at all. */
  if (count == 1 && most == SERVED_ALONE) {
    p->revents = POLLIN;
    return 1;
  }
  ts = (struct timespec){ 0 };
  n = ppoll (p, count, &ts, NULL);
  for (nfds_t i = 0; n >= 0 && i < count; i++) {
    if (serve (g, &p[i]) != NOT_SERVED && (p[i].revents & POLLIN) == 0) {
      n += p[i].revents == 0 ? 1 : 0;
      p[i].revents |= POLLIN;
    }
  }
  return n;
}

#endif /* SANITIZED */
