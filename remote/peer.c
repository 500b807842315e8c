/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "remote/peer.h"
#include "wire/msg.h"

#define PIPE_SIZE (1024 * 1024)
/* A fault's frame fits into what poll promises of a pipe (PIPE_BUF). */
#define FAREWELL_MAX 4096

void
peer_init (struct peer *p, int fd)
{
  int size = PIPE_SIZE;

  p->fd = fd;
  p->senders = 0;
  pthread_mutex_init (&p->lock, NULL);
  /* best effort: sshd gives a pipe or a socket, and users have limits */
  if (fcntl (fd, F_SETPIPE_SZ, size) < 0)
    setsockopt (fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

/* Nobody hears us any more: close everything by ending. */
static void
put (struct peer *p, struct iovec *iov, int count)
{
  struct fault f = FAULT_INIT;
  int rc;

  atomic_fetch_add (&p->senders, 1);
  pthread_mutex_lock (&p->lock);
  rc = fdio_writev_full (p->fd, iov, count, "stdout", &f);
  pthread_mutex_unlock (&p->lock);
  atomic_fetch_sub (&p->senders, 1);
  if (rc < 0)
    _exit (FAULT_NET);
}

static void
put_buf (struct peer *p, const struct buf *b)
{
  struct iovec iov = { .iov_base = b->data, .iov_len = b->size };

  put (p, &iov, 1);
}

static void
encode_fault (uint32_t id, const struct fault *f, struct buf *out)
{
  struct msg_fault m = { .code = (uint8_t)f->code, .err = (uint32_t)f->err };
  struct buf payload;

  memcpy (m.text, f->text, sizeof m.text);
  if (m.code == FAULT_NONE)
    m.code = FAULT_INTERNAL;
  buf_init (&payload, FRAME_CONTROL_MAX);
  msg_fault_encode (&m, &payload);
  frame_put (out, FRAME_FAULT, id, &payload);
  buf_reset (&payload);
}

void
peer_send (struct peer *p, enum frame_type type, uint32_t id,
           const struct buf *payload)
{
  struct fault f = FAULT_INIT;
  struct buf out;

  buf_init (&out, FRAME_HEADER + FRAME_CONTROL_MAX);
  frame_put (&out, type, id, payload);
  if (!buf_bad (&out))
    put_buf (p, &out);
  else {
    fault_set (&f, FAULT_INTERNAL, 0, "answer %s is too long",
               frame_name (type));
    peer_fault (p, id, &f);
  }
  buf_reset (&out);
}

void
peer_fault (struct peer *p, uint32_t id, const struct fault *f)
{
  struct buf out;

  buf_init (&out, FRAME_HEADER + FRAME_CONTROL_MAX);
  encode_fault (id, f, &out);
  put_buf (p, &out);
  buf_reset (&out);
}

void
peer_zero (struct peer *p, uint32_t id, uint64_t offset, uint64_t length)
{
  uint32_t n;
  struct buf out;

  buf_init (&out, FRAME_HEADER);
  while (length > 0) {
    n = length < FRAME_ZERO_MAX ? (uint32_t)length : FRAME_ZERO_MAX;
    buf_clear (&out);
    frame_put_zero (&out, id, offset, n);
    put_buf (p, &out);
    offset += n;
    length -= n;
  }
  buf_reset (&out);
}

void
peer_data (struct peer *p, uint32_t id, uint64_t offset, const void *raw,
           uint32_t raw_len, enum frame_coding coding, const void *coded,
           uint32_t coded_len)
{
  uint8_t head[FRAME_HEADER + FRAME_TABLE_MAX];
  size_t size = frame_put_data (head, id, offset, raw, raw_len, NULL, coding,
                                coded_len);
  struct iovec iov[2] = {
    { .iov_base = head, .iov_len = size },
    { .iov_base = (void *)coded, .iov_len = coded_len },
  };

  put (p, iov, 2);
}

bool
peer_busy (struct peer *p)
{
  return atomic_load_explicit (&p->senders, memory_order_relaxed) > 1;
}

void
peer_farewell (struct peer *p, const struct fault *f, unsigned ms)
{
  struct pollfd pfd = { .fd = p->fd, .events = POLLOUT };
  struct timespec until;
  struct buf out;

  clock_gettime (CLOCK_REALTIME, &until);
  until.tv_sec += ms / 1000;
  buf_init (&out, FAREWELL_MAX);
  encode_fault (0, f, &out);
  if (pthread_mutex_timedlock (&p->lock, &until) == 0) {
    if (!buf_bad (&out) && poll (&pfd, 1, (int)ms) == 1
        && (pfd.revents & POLLOUT) != 0)
      (void)!write (p->fd, out.data, out.size);
    pthread_mutex_unlock (&p->lock);
  }
  buf_reset (&out);
}
