/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xmem.h"
#include "remote/lvserve.h"

static bool
with_report (uint32_t op)
{
  return op == LVSERVE_CLOSE || op == LVSERVE_REAP;
}

static int
send_reply (int fd, const struct lvserve_reply *r, size_t size, int passed)
{
  struct iovec iov = { .iov_base = (void *)r, .iov_len = size };
  union {
    char bytes[CMSG_SPACE (sizeof (int))];
    struct cmsghdr align;
  } control = { .bytes = { 0 } };
  struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
  struct cmsghdr *c;

  if (passed >= 0) {
    m.msg_control = control.bytes;
    m.msg_controllen = sizeof control.bytes;
    c = CMSG_FIRSTHDR (&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN (sizeof (int));
    memcpy (CMSG_DATA (c), &passed, sizeof passed);
  }
  return sendmsg (fd, &m, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -1;
}

/* The text of a report; what does not fit is cut at a line. */
static void
put_report (struct buf *text, struct lvserve_reply *r)
{
  size_t size = text->size < MSG_REPORT_MAX ? text->size : MSG_REPORT_MAX;

  while (size > 0 && size < text->size && text->data[size - 1] != '\n')
    size--;
  if (size > 0)
    memcpy (r->report, text->data, size);
  r->report[size] = '\0';
}

static int
act (struct lv *l, const struct lvserve_request *rq, struct lvserve_reply *r,
     struct buf *report, int *passed)
{
  switch (rq->op) {
  case LVSERVE_OPEN:
    return lv_open (l, &rq->want, &r->fault);
  case LVSERVE_ACTIVATE:
    return lv_activate (l, &r->fault);
  case LVSERVE_TAKE:
    *passed = lv_take (l, rq->index, &r->fault);
    return *passed < 0 ? -1 : 0;
  case LVSERVE_LIST:
    return lv_list (l, &r->fault);
  case LVSERVE_FACTS:
    return lv_facts (l, rq->index, &r->facts, &r->fault);
  case LVSERVE_CLOSE:
    lv_close (l, report);
    return 0;
  case LVSERVE_REAP:
    lv_reap (l, report);
    return 0;
  default:
    return fault_set (&r->fault, FAULT_PROTO, 0, "unknown question");
  }
}

int
lvserve (struct lv *l, const void *request, size_t size, int fd)
{
  const struct lvserve_request *rq = request;
  CLEANUP_FREE struct lvserve_reply *r = xcalloc (1, sizeof *r);
  int passed = -1;
  struct buf report;
  int rc;

  if (size < LVSERVE_SHORT || rq->op < LVSERVE_OPEN || rq->op > LVSERVE_REAP
      || size != (rq->op == LVSERVE_OPEN ? sizeof *rq : LVSERVE_SHORT))
    return -1;
  buf_init (&report, 4 * MSG_REPORT_MAX);
  r->failed = act (l, rq, r, &report, &passed) < 0;
  put_report (&report, r);
  buf_reset (&report);
  rc = send_reply (fd, r, with_report (rq->op) ? sizeof *r : LVSERVE_PLAIN,
                   passed);
  if (passed >= 0)
    close (passed);
  return rc;
}
