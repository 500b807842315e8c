/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "host/dial.h"

/* Best effort: a socket without these is slower or hangs longer, no more. */
static void
tune (int fd, unsigned stall_ms)
{
  int on = 1;
  int idle = 30;

  setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
  setsockopt (fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stall_ms, sizeof stall_ms);
}

/* 0 once FD is connected, -1 with errno, -2 when a stop is wanted. */
static int
wait_connected (int fd, uint64_t deadline_ms)
{
  int err = 0;
  socklen_t len = sizeof err;

  for (;;) {
    uint64_t now = stamp_mono_ms ();
    struct pollfd p[2] = {
      { .fd = fd, .events = POLLOUT },
      { .fd = cancel_fd (), .events = POLLIN },
    };

    if (cancel_wanted ())
      return -2;
    if (now >= deadline_ms) {
      errno = ETIMEDOUT;
      return -1;
    }
    if (poll (p, 2, (int)(deadline_ms - now)) > 0 && p[0].revents != 0)
      break;
  }
  if (getsockopt (fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
    return -1;
  errno = err;
  return err == 0 ? 0 : -1;
}

int
dial_tcp (const char *address, unsigned port, uint64_t deadline_ms,
          unsigned stall_ms, struct fault *f)
{
  const struct addrinfo hints
      = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
  struct addrinfo *list = NULL;
  char service[16];
  int last = 0;
  int rc;

  snprintf (service, sizeof service, "%u", port);
  rc = getaddrinfo (address, service, &hints, &list);
  if (rc != 0)
    return fault_set (f, FAULT_NET, 0,
                      "look up the address %s: %s; check the host's address in "
                      "the engine and the resolver of this machine",
                      address,
                      rc == EAI_SYSTEM ? strerror (errno) : gai_strerror (rc));
  for (struct addrinfo *a = list; a != NULL; a = a->ai_next) {
    int fd
        = socket (a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                  a->ai_protocol);

    if (fd < 0) {
      last = errno;
      continue;
    }
    tune (fd, stall_ms);
    rc = connect (fd, a->ai_addr, a->ai_addrlen);
    if (rc < 0 && errno == EINPROGRESS)
      rc = wait_connected (fd, deadline_ms);
    if (rc == 0) {
      freeaddrinfo (list);
      return fd;
    }
    last = errno;
    close (fd);
    if (rc == -2)
      break;
  }
  freeaddrinfo (list);
  if (cancel_check (f) < 0)
    return -1;
  return fault_set (f, FAULT_NET, last,
                    "connect to %s port %u (is the host up, sshd running, and "
                    "the port of hosts.port or ssh.port right?)",
                    address, port);
}

unsigned
dial_rtt_us (int fd)
{
  struct tcp_info info;
  socklen_t len = sizeof info;

  memset (&info, 0, sizeof info);
  if (getsockopt (fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
    return 0;
  return info.tcpi_min_rtt != UINT32_MAX ? info.tcpi_min_rtt : 0;
}

/* --- the private key -------------------------------------------------- */

char *
dial_key_read (const char *path, struct fault *f)
{
  CLEANUP_CLOSE int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  char *text;
  ssize_t n;
  struct stat st;

  if (fd < 0) {
    fault_set (f, FAULT_CONF, errno, "open the SSH key of ssh.key_file %s",
               path);
    return NULL;
  }
  if (fstat (fd, &st) < 0) {
    fault_set (f, FAULT_CONF, errno, "stat the SSH key %s", path);
    return NULL;
  }
  if (!S_ISREG (st.st_mode) || st.st_size > DIAL_KEY_MAX) {
    fault_set (f, FAULT_CONF, 0,
               "ssh.key_file %s is not a regular file of at most %d bytes",
               path, DIAL_KEY_MAX);
    return NULL;
  }
  if ((st.st_mode & 077) != 0) {
    fault_set (f, FAULT_CONF, 0,
               "ssh.key_file %s has the mode %04o: other users can use the "
               "key; run chmod 600 on it",
               path, (unsigned)st.st_mode & 07777);
    return NULL;
  }
  text = xcalloc (1, DIAL_KEY_MAX + 1);
  n = fdio_pread_upto (fd, text, DIAL_KEY_MAX, 0, path, f);
  if (n < 0) {
    dial_key_free (text);
    return NULL;
  }
  return text;
}

void
dial_key_free (char *key)
{
  if (key == NULL)
    return;
  explicit_bzero (key, DIAL_KEY_MAX + 1);
  free (key);
}
