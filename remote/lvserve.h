/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two processes of the helper: what the worker asks of the guard
   about logical volumes.  Structs travel as they are; each request has one
   reply, with a descriptor beside it for LVSERVE_TAKE. */
#ifndef LVSERVE_H
#define LVSERVE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/fault.h"
#include "remote/lv.h"
#include "wire/msg.h"

enum lvserve_op {
  LVSERVE_OPEN = 16,
  LVSERVE_ACTIVATE = 17,
  LVSERVE_TAKE = 18,
  LVSERVE_LIST = 19,
  LVSERVE_FACTS = 20,
  LVSERVE_CLOSE = 21,
  LVSERVE_REAP = 22,
};

struct lvserve_request {
  uint32_t op;
  uint32_t index;      /* of TAKE and FACTS */
  struct lv_want want; /* of OPEN */
};

/* Bytes of a request without WANT. */
#define LVSERVE_SHORT offsetof (struct lvserve_request, want)

struct lvserve_reply {
  int32_t failed;
  struct fault fault;
  struct lv_facts facts;
  char report[MSG_REPORT_MAX + 1]; /* of CLOSE and REAP */
};

/* Bytes of a reply without REPORT. */
#define LVSERVE_PLAIN offsetof (struct lvserve_reply, report)

/* Answer the request RQ of SIZE bytes over FD; -1 when it is none of these, or
   the worker is gone. */
int lvserve (struct lv *l, const void *rq, size_t size, int fd);

#endif /* LVSERVE_H */
