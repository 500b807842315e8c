/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "remote/direct.h"
#include "remote/hold.h"
#include "remote/receive.h"
#include "remote/send.h"
#include "remote/session.h"

#define HEARTBEAT_MIN_MS 1000
#define HEARTBEAT_MAX_MS 600000
#define FAREWELL_MS 2000
#define PIPE_SIZE (1024 * 1024)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define CONTROL_STACK ((size_t)1024 * 1024)

/* What must be true for a request; a wrong order is the controller's fault. */
enum rights {
  NEEDS_NO_HELLO = 1,
  NEEDS_HELLO = 2,
  NEEDS_NOTHING_OPEN = 4,
  NEEDS_READING = 8,
  NEEDS_WRITING = 16,
  NEEDS_OPEN = 32,
};

struct handler {
  enum frame_type type;
  unsigned rights;
  int (*answer) (struct session *s, uint32_t id, struct buf *payload,
                 struct fault *f);
};

static int answer_hello (struct session *s, uint32_t id, struct buf *payload,
                         struct fault *f);
static int answer_identify (struct session *s, uint32_t id, struct buf *payload,
                            struct fault *f);
static int answer_reap (struct session *s, uint32_t id, struct buf *payload,
                        struct fault *f);
static int answer_look (struct session *s, uint32_t id, struct buf *payload,
                        struct fault *f);
static int answer_close (struct session *s, uint32_t id, struct buf *payload,
                         struct fault *f);

static const struct handler handlers[] = {
  { FRAME_HELLO, NEEDS_NO_HELLO, answer_hello },
  { FRAME_OPEN_READ, NEEDS_HELLO | NEEDS_NOTHING_OPEN, send_open },
  { FRAME_MAP, NEEDS_READING, send_map },
  { FRAME_READ, NEEDS_READING, send_read },
  { FRAME_IDENTIFY, NEEDS_OPEN, answer_identify },
  { FRAME_OPEN_WRITE, NEEDS_HELLO | NEEDS_NOTHING_OPEN, receive_open },
  { FRAME_TRUNCATE, NEEDS_WRITING, receive_truncate },
  { FRAME_FLUSH, NEEDS_WRITING, receive_flush },
  { FRAME_CHECK, NEEDS_WRITING, receive_check },
  { FRAME_SEAL, NEEDS_WRITING, receive_seal },
  { FRAME_CLOSE, NEEDS_OPEN, answer_close },
  { FRAME_REAP, NEEDS_HELLO | NEEDS_NOTHING_OPEN, answer_reap },
  { FRAME_LOOK, NEEDS_HELLO | NEEDS_NOTHING_OPEN, answer_look },
};

static bool
allowed (const struct session *s, unsigned rights)
{
  bool open = s->reading != NULL || s->writing != NULL;

  return ((rights & NEEDS_NO_HELLO) == 0 || s->hello.version == 0)
         && ((rights & ~(unsigned)NEEDS_NO_HELLO) == 0 || s->hello.version != 0)
         && ((rights & NEEDS_NOTHING_OPEN) == 0 || !open)
         && ((rights & NEEDS_READING) == 0 || s->reading != NULL)
         && ((rights & NEEDS_WRITING) == 0 || s->writing != NULL)
         && ((rights & NEEDS_OPEN) == 0 || open);
}

/* --- test hook -------------------------------------------------------- */

void
session_stop (struct session *s, const char *phase)
{
#ifdef ENABLE_TEST_HOOKS
  const char *colon = strchr (s->hello.stop_phase, ':');
  size_t len = colon == NULL ? strlen (s->hello.stop_phase)
                             : (size_t)(colon - s->hello.stop_phase);
  unsigned nth = colon == NULL ? 1 : (unsigned)strtoul (colon + 1, NULL, 10);

  if (len == 0 || len != strlen (phase)
      || memcmp (phase, s->hello.stop_phase, len) != 0)
    return;
  if (__atomic_add_fetch (&s->stop_count, 1, __ATOMIC_RELAXED) == nth)
    guard_die (s->guard);
#else
  (void)s;
  (void)phase;
#endif
}

/* --- answers ---------------------------------------------------------- */

static void
fill_welcome (const struct session *s, struct msg_welcome *m)
{
  struct utsname u;
  int fd = open (BOOT_ID, O_RDONLY | O_CLOEXEC);
  ssize_t n = -1;

  memset (m, 0, sizeof *m);
  m->version = MSG_VERSION;
  m->pid = (uint32_t)getpid ();
  m->uid = geteuid ();
  m->flags = (guard_is_root (s->guard) ? MSG_WELCOME_ROOT : 0)
             | (guard_is_vdsm (s->guard) ? MSG_WELCOME_VDSM : 0)
             | (s->unlinked ? MSG_WELCOME_UNLINKED : 0)
             | (guard_has_orphans (s->guard) ? MSG_WELCOME_REAP : 0);
#ifdef ENABLE_TEST_HOOKS
  m->flags |= MSG_WELCOME_TEST_HOOKS;
#endif
  snprintf (m->program, sizeof m->program, "%s", PACKAGE_VERSION);
  if (uname (&u) == 0) {
    snprintf (m->hostname, sizeof m->hostname, "%s", u.nodename);
    snprintf (m->machine, sizeof m->machine, "%s", u.machine);
    snprintf (m->kernel, sizeof m->kernel, "%s", u.release);
  }
  if (fd >= 0) {
    n = read (fd, m->boot_id, UUID_SIZE - 1);
    close (fd);
  }
  m->boot_id[n > 0 ? n : 0] = '\0';
}

static int
answer_hello (struct session *s, uint32_t id, struct buf *payload,
              struct fault *f)
{
  struct msg_hello hello;
  struct msg_welcome welcome;
  struct buf out;

  if (msg_hello_decode (payload, &hello, f) < 0)
    return -1;
  if (hello.version != MSG_VERSION)
    return fault_set (f, FAULT_PROTO, 0,
                      "the controller speaks version %u, this helper (%s) "
                      "version %d: install the helper of its release",
                      hello.version, PACKAGE_VERSION, MSG_VERSION);
  if (hello.heartbeat_ms < HEARTBEAT_MIN_MS
      || hello.heartbeat_ms > HEARTBEAT_MAX_MS)
    return fault_set (f, FAULT_PROTO, 0,
                      "heartbeat of %u ms: %d to %d are allowed",
                      hello.heartbeat_ms, HEARTBEAT_MIN_MS, HEARTBEAT_MAX_MS);
  guard_set_limit (s->guard, hello.heartbeat_ms);
  guard_title (s->guard, hello.run_id);
  s->hello = hello;
  session_stop (s, "hello");
  fill_welcome (s, &welcome);
  buf_init (&out, FRAME_CONTROL_MAX);
  msg_welcome_encode (&welcome, &out);
  peer_send (&s->peer, FRAME_WELCOME, id, &out);
  buf_reset (&out);
  return 0;
}

static int
answer_identify (struct session *s, uint32_t id, struct buf *payload,
                 struct fault *f)
{
  struct msg_identity m;
  struct buf text;
  struct buf out;
  int rc;

  (void)payload;
  work_drain (s->work);
  session_stop (s, "t1");
  buf_init (&text, MSG_TEXT_MAX);
  buf_init (&out, FRAME_CONTROL_MAX);
  rc = s->reading != NULL ? send_identify (s->reading, &text, f)
                          : receive_identify (s->writing, &text, f);
  if (rc == 0) {
    m.text = (char *)text.data;
    msg_identity_encode (&m, &out);
    peer_send (&s->peer, FRAME_IDENTITY, id, &out);
  }
  buf_reset (&text);
  buf_reset (&out);
  return rc;
}

static void
send_closed (struct session *s, uint32_t id)
{
  struct msg_report m = { .report = s->report };
  struct buf out;

  buf_init (&out, FRAME_CONTROL_MAX);
  msg_report_encode (&m, &out);
  peer_send (&s->peer, FRAME_CLOSED, id, &out);
  buf_reset (&out);
  free (s->report);
  s->report = NULL;
}

static int
answer_reap (struct session *s, uint32_t id, struct buf *payload,
             struct fault *f)
{
  struct msg_report m = { .report = NULL };
  struct buf out;

  (void)payload;
  if (hold_reap (s->guard, &m.report, f) < 0)
    return -1;
  buf_init (&out, FRAME_CONTROL_MAX);
  msg_report_encode (&m, &out);
  peer_send (&s->peer, FRAME_REAPED, id, &out);
  buf_reset (&out);
  msg_report_reset (&m);
  return 0;
}

/* Everything of OPEN_READ that does not depend on a volume. */
static int
look (struct session *s, const struct msg_look *m, struct fault *f)
{
  CLEANUP_FREE struct lv_want *want = xcalloc (1, sizeof *want);
  struct hold *h;

  if (hold_want (m->dir, &m->group, LV_LOOK, want, f) < 0)
    return -1;
  h = hold_open (s->guard, want, f);
  return h == NULL ? -1 : hold_close (h, NULL, f);
}

static int
answer_look (struct session *s, uint32_t id, struct buf *payload,
             struct fault *f)
{
  struct msg_look m;
  int rc = msg_look_decode (payload, &m, f);

  if (rc == 0)
    rc = look (s, &m, f);
  msg_look_reset (&m);
  if (rc == 0)
    peer_send (&s->peer, FRAME_LOOKED, id, NULL);
  return rc;
}

/* The first line of REPORT (may be NULL) on what is still active, or NULL. */
static const char *
find_left (const char *report)
{
  static const char word[] = "left ";

  while (report != NULL && strncmp (report, word, strlen (word)) != 0) {
    report = strchr (report, '\n');
    if (report != NULL)
      report++;
  }
  return report;
}

int
session_release (struct session *s, struct hold *h, struct fault *f)
{
  char *report = NULL;
  const char *left;
  int rc = hold_close (h, &report, f);

  left = find_left (report);
  if (f != NULL && f->code != FAULT_NONE && left != NULL)
    fault_append (f, "; %.*s", (int)strcspn (left, "\n"), left);
  free (s->report);
  s->report = report;
  return rc;
}

static int
close_volumes (struct session *s, struct fault *f)
{
  struct writing *w = s->writing;
  int rc = 0;

  pthread_mutex_lock (&s->lock);
  s->writing = NULL;
  pthread_mutex_unlock (&s->lock);
  work_drain (s->work);
  if (s->reading != NULL)
    rc = send_close (s->reading, f);
  s->reading = NULL;
  if (w != NULL && receive_close (w, f) < 0)
    rc = -1;
  return rc;
}

static int
answer_close (struct session *s, uint32_t id, struct buf *payload,
              struct fault *f)
{
  (void)payload;
  if (close_volumes (s, f) < 0)
    return -1;
  send_closed (s, id);
  return 0;
}

/* --- control ---------------------------------------------------------- */

static void
free_request (struct session_request *r)
{
  if (r->payload != NULL)
    buf_reset (r->payload);
  free (r->payload);
  free (r);
}

static void
answer (struct session *s, struct session_request *r)
{
  struct fault f = FAULT_INIT;
  const struct handler *h = NULL;
  int rc;

  for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
    if (handlers[i].type == r->frame.type)
      h = &handlers[i];
  }
  if (h == NULL || !allowed (s, h->rights))
    rc = fault_set (&f, FAULT_PROTO, 0, "%s is not expected now",
                    frame_name (r->frame.type));
  else
    rc = h->answer (s, r->frame.id, r->payload, &f);
  if (rc < 0)
    peer_fault (&s->peer, r->frame.id, &f);
}

static struct session_request *
next_request (struct session *s)
{
  SCOPED_LOCK (&s->lock);
  struct session_request *r;

  while (s->first == NULL)
    pthread_cond_wait (&s->changed, &s->lock);
  r = s->first;
  s->first = r->link;
  if (s->first == NULL)
    s->last = NULL;
  s->requests--;
  return r;
}

static void *
control (void *opaque)
{
  struct session *s = opaque;
  struct session_request *r;
  bool bye = false;

  while (!bye) {
    r = next_request (s);
    bye = r->frame.type == FRAME_BYE;
    if (!bye)
      answer (s, r);
    free_request (r);
  }
  close_volumes (s, NULL);
  /* BYE without CLOSE: for whoever reads the log */
  if (s->report != NULL)
    fputs (s->report, stderr);
  pthread_mutex_lock (&s->lock);
  s->left = find_left (s->report) != NULL;
  s->done = true;
  pthread_cond_broadcast (&s->changed);
  pthread_mutex_unlock (&s->lock);
  return NULL;
}

/* --- reader ----------------------------------------------------------- */

/* Read SIZE bytes of the controller's stream, watching the heartbeat; every
   byte is a sign of life, as a large frame over a slow line takes long.  1, 0
   at the end of the stream before the first byte, -1. */
static int
read_full (struct session *s, void *data, size_t size, struct fault *f)
{
  struct pollfd p = { .fd = 0, .events = POLLIN };
  size_t done = 0;
  ssize_t n;
  int rc;

  while (done < size) {
    rc = poll (&p, 1, (int)guard_left_ms (s->guard));
    if (rc < 0 && errno == EINTR)
      continue;
    if (rc == 0 || guard_left_ms (s->guard) == 0)
      return fault_set (f, FAULT_NET, 0,
                        "no sign of life from the controller for its "
                        "heartbeat time");
    n = read (0, (char *)data + done, size - done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fault_set (f, FAULT_NET, errno, "read from the controller");
    if (n == 0 && done == 0)
      return 0;
    if (n == 0)
      return fault_set (f, FAULT_NET, 0,
                        "the controller's stream ends inside a frame");
    if (!guard_beat (s->guard))
      return fault_set (f, FAULT_NET, 0, "the controller was silent too long");
    done += (size_t)n;
  }
  return 1;
}

/* As read_full, where the stream may not end. */
static int
read_more (struct session *s, void *data, size_t size, struct fault *f)
{
  int rc = size == 0 ? 1 : read_full (s, data, size, f);

  if (rc == 0)
    fault_set (f, FAULT_NET, 0, "the controller's stream ends inside a frame");
  return rc == 1 ? 0 : -1;
}

static void
queue (struct session *s, struct session_request *r)
{
  SCOPED_LOCK (&s->lock);

  if (s->last == NULL)
    s->first = r;
  else
    s->last->link = r;
  s->last = r;
  s->requests++;
  pthread_cond_broadcast (&s->changed);
}

static bool
queue_full (struct session *s)
{
  SCOPED_LOCK (&s->lock);

  return s->requests >= SESSION_REQUESTS_MAX
         || work_count (s->work) >= SESSION_REQUESTS_MAX;
}

/* Read the payload of a control frame and queue it. */
static int
take_control (struct session *s, const uint8_t head[static FRAME_HEADER],
              const struct frame *fr, struct fault *f)
{
  struct session_request *r;
  uint8_t *data;

  if (queue_full (s))
    return fault_set (f, FAULT_PROTO, 0, "more than %d requests at once",
                      SESSION_REQUESTS_MAX);
  r = xcalloc (1, sizeof *r);
  r->frame = *fr;
  r->payload = xcalloc (1, sizeof *r->payload);
  data = try_calloc (1, fr->payload_len + 1, "request", f);
  if (data == NULL || read_more (s, data, fr->payload_len, f) < 0
      || frame_verify (head, fr, data, f) < 0) {
    free (data);
    free_request (r);
    return -1;
  }
  buf_init (r->payload, fr->payload_len);
  buf_put (r->payload, data, fr->payload_len);
  free (data);
  queue (s, r);
  return 0;
}

struct pong {
  struct work_job job;
  struct session *session;
  uint32_t id;
};

static int
send_pong (struct work_job *j, struct worker *w, uint64_t index,
           struct fault *f)
{
  struct pong *p = (struct pong *)j;

  (void)w;
  (void)index;
  (void)f;
  peer_send (&p->session->peer, FRAME_PONG, p->id, NULL);
  return 0;
}

static void
free_pong (struct work_job *j, struct worker *w)
{
  (void)w;
  free (j);
}

/* The reader itself never writes: a full pipe would stop it. */
static int
take_ping (struct session *s, const uint8_t head[static FRAME_HEADER],
           const struct frame *fr, struct fault *f)
{
  struct pong *p;

  if (fr->payload_len != 0)
    return fault_set (f, FAULT_PROTO, 0, "PING with a payload");
  if (frame_verify (head, fr, NULL, f) < 0)
    return -1;
  if (queue_full (s))
    return 0; /* it has been heard; an answer is on its way anyway */
  p = xcalloc (1, sizeof *p);
  p->job
      = (struct work_job){ .step = send_pong, .finish = free_pong, .steps = 1 };
  p->session = s;
  p->id = fr->id;
  work_add_first (s->work, &p->job);
  return 0;
}

void
session_give_buffer (struct session *s, struct session_buffer *b)
{
  SCOPED_LOCK (&s->lock);

  s->held -= b->held;
  s->frames--;
  free (b->coded);
  free (b);
  pthread_cond_broadcast (&s->changed);
}

/* Wait until SIZE more bytes may be held.  A controller keeps less in flight,
   so that this does not wait; one that does not is left alone until its time
   is up. */
static int
wait_room_locked (struct session *s, size_t size, struct fault *f)
{
  struct timespec until;

  while (s->writing != NULL
         && (s->held + size > SESSION_HELD_MAX
             || s->frames >= SESSION_FRAMES_MAX)) {
    if (guard_left_ms (s->guard) == 0)
      return fault_set (f, FAULT_NET, 0,
                        "storage did not take what was sent within the "
                        "heartbeat time");
    clock_gettime (CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    pthread_cond_timedwait (&s->changed, &s->lock, &until);
  }
  if (s->writing == NULL)
    return fault_set (f, FAULT_PROTO, 0, "data without an open volume");
  return 0;
}

/* Memory for a frame with SIZE coded bytes. */
static struct session_buffer *
take_buffer (struct session *s, size_t size, struct fault *f)
{
  SCOPED_LOCK (&s->lock);
  struct session_buffer *b;
  /* whole blocks, and never none */
  size_t held = (size + DIRECT_ALIGN) & ~(size_t)(DIRECT_ALIGN - 1);

  if (wait_room_locked (s, held, f) < 0)
    return NULL;
  b = xcalloc (1, sizeof *b);
  b->coded = try_aligned (DIRECT_ALIGN, held, "frame", f);
  if (b->coded == NULL) {
    free (b);
    return NULL;
  }
  b->held = held;
  s->held += held;
  s->frames++;
  return b;
}

/* Read the payload of a DATA or ZERO frame and hand it to the workers. */
static int
take_data (struct session *s, const uint8_t head[static FRAME_HEADER],
           const struct frame *fr, struct fault *f)
{
  size_t table = frame_checked_size (fr);
  size_t coded = fr->payload_len - table;
  struct session_buffer *b = take_buffer (s, coded, f);

  if (b == NULL)
    return -1;
  b->frame = *fr;
  if (read_more (s, b->table, table, f) < 0
      || frame_verify (head, fr, b->table, f) < 0
      || read_more (s, b->coded, coded, f) < 0) {
    session_give_buffer (s, b);
    return -1;
  }
  pthread_mutex_lock (&s->lock);
  if (s->writing != NULL)
    receive_data (s->writing, b);
  else
    fault_set (f, FAULT_PROTO, 0, "data without an open volume");
  pthread_mutex_unlock (&s->lock);
  if (f->code == FAULT_NONE)
    return 0;
  session_give_buffer (s, b);
  return -1;
}

/* One frame: 1, 0 at the end of the stream, -1. */
static int
take_frame (struct session *s, bool *bye, struct fault *f)
{
  uint8_t head[FRAME_HEADER];
  struct frame fr;
  int rc = read_full (s, head, sizeof head, f);

  if (rc <= 0)
    return rc;
  if (frame_decode (head, &fr, f) < 0)
    return -1;
  *bye = fr.type == FRAME_BYE;
  if (fr.type == FRAME_PING)
    rc = take_ping (s, head, &fr, f);
  else if (fr.type == FRAME_DATA || fr.type == FRAME_ZERO)
    rc = take_data (s, head, &fr, f);
  else
    rc = take_control (s, head, &fr, f);
  return rc < 0 ? -1 : 1;
}

/* BYE was queued: wait until everything is closed. */
static int
wait_done (struct session *s)
{
  SCOPED_LOCK (&s->lock);
  struct timespec until;

  while (!s->done && guard_left_ms (s->guard) > 0) {
    clock_gettime (CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    pthread_cond_timedwait (&s->changed, &s->lock, &until);
  }
  if (!s->done)
    return FAULT_NET;
  return s->left ? FAULT_BUSY : 0;
}

static int
start (struct session *s, struct fault *f)
{
  pthread_attr_t attr;
  pthread_t thread;
  int size = PIPE_SIZE;
  int rc;

  if (fcntl (0, F_SETPIPE_SZ, size) < 0)
    setsockopt (0, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  s->work = work_new (f);
  if (s->work == NULL)
    return -1;
  pthread_attr_init (&attr);
  pthread_attr_setstacksize (&attr, CONTROL_STACK);
  rc = pthread_create (&thread, &attr, control, s);
  pthread_attr_destroy (&attr);
  if (rc != 0)
    return fault_set (f, FAULT_REMOTE, rc, "start a thread");
  pthread_detach (thread);
  return 0;
}

int
session_run (struct guard *g, bool unlinked)
{
  struct session *s = xcalloc (1, sizeof *s);
  struct fault f = FAULT_INIT;
  bool bye = false;
  int rc;

  s->guard = g;
  s->unlinked = unlinked;
  pthread_mutex_init (&s->lock, NULL);
  pthread_cond_init (&s->changed, NULL);
  peer_init (&s->peer, 1);
  rc = start (s, &f) < 0 ? -1 : 1;
  while (rc == 1 && !bye)
    rc = take_frame (s, &bye, &f);
  if (bye && rc == 1)
    return wait_done (s);
  if (rc == 0) /* the end of the stream: the controller is gone */
    return FAULT_NET;
  peer_farewell (&s->peer, &f, FAREWELL_MS);
  return (int)f.code;
}
