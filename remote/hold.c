/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "remote/direct.h"
#include "remote/guard.h"
#include "remote/hold.h"
#include "remote/lvserve.h"
#include "remote/path.h"

#define BLOCK_DIR PATH_TOP "/mnt/blockSD/"
/* vdsm: blockSD.py metadata_offset */
#define SLOT_BASE_V5 (UINT64_C (1024) * 1024)
#define SLOT_STEP_V5 8192
#define SLOT_STEP 512

struct hold {
  struct guard *guard;
  char sd[UUID_SIZE];
  unsigned version;
  uint32_t count;
};

uint64_t
hold_offset (unsigned version, uint64_t slot)
{
  return version >= 5 ? SLOT_BASE_V5 + slot * SLOT_STEP_V5 : slot * SLOT_STEP;
}

int
hold_want (const char *dir, const struct group_spec *g, enum lv_mode mode,
           struct lv_want *out, struct fault *f)
{
  size_t len = strlen (BLOCK_DIR);

  memset (out, 0, sizeof *out);
  if (strncmp (dir, BLOCK_DIR, len) != 0 || !uuid_valid (dir + len))
    return fault_set (f, FAULT_PROTO, 0,
                      "domain directory %.200s: not " BLOCK_DIR "SD", dir);
  memcpy (out->sd, dir + len, UUID_SIZE);
  out->mode = mode;
  out->version = g->version;
  memcpy (out->pool, g->pool, UUID_SIZE);
  out->lun_count = g->lun_count;
  memcpy (out->luns, g->luns, g->lun_count * sizeof *g->luns);
  return 0;
}

/* Ask OP; the reply to *REPLY, which the caller frees. */
static int
ask (struct guard *g, const struct lvserve_request *rq, size_t size,
     struct lvserve_reply **reply, int *passed, struct fault *f)
{
  CLEANUP_FREE struct lvserve_reply *r = xcalloc (1, sizeof *r);

  if (guard_ask (g, rq, size, r, sizeof *r, LVSERVE_PLAIN, passed, f) < 0)
    return -1;
  if (r->failed)
    return fault_copy (f, &r->fault);
  if (reply != NULL)
    *reply = steal_ptr (&r);
  return 0;
}

static int
ask_short (struct hold *h, enum lvserve_op op, uint32_t index,
           struct lvserve_reply **reply, int *passed, struct fault *f)
{
  struct lvserve_request rq = { .op = op, .index = index };

  return ask (h->guard, &rq, LVSERVE_SHORT, reply, passed, f);
}

struct hold *
hold_open (struct guard *g, const struct lv_want *want, struct fault *f)
{
  CLEANUP_FREE struct lvserve_request *rq = xcalloc (1, sizeof *rq);
  struct hold *h;

  rq->op = LVSERVE_OPEN;
  rq->want = *want;
  if (ask (g, rq, sizeof *rq, NULL, NULL, f) < 0)
    return NULL;
  h = xcalloc (1, sizeof *h);
  h->guard = g;
  memcpy (h->sd, want->sd, UUID_SIZE);
  h->version = want->version;
  h->count = want->count;
  return h;
}

int
hold_activate (struct hold *h, struct fault *f)
{
  return ask_short (h, LVSERVE_ACTIVATE, 0, NULL, NULL, f);
}

int
hold_take (struct hold *h, uint32_t index, struct fault *f)
{
  int fd = -1;

  if (ask_short (h, LVSERVE_TAKE, index, NULL, &fd, f) < 0)
    return -1;
  if (fd < 0)
    return fault_set (f, FAULT_INTERNAL, 0, "the guard gave no descriptor");
  return fd;
}

int
hold_list (struct hold *h, struct fault *f)
{
  return ask_short (h, LVSERVE_LIST, 0, NULL, NULL, f);
}

int
hold_facts (struct hold *h, uint32_t index, struct lv_facts *out,
            struct fault *f)
{
  CLEANUP_FREE struct lvserve_reply *r = NULL;

  if (ask_short (h, LVSERVE_FACTS, index, &r, NULL, f) < 0)
    return -1;
  *out = r->facts;
  return 0;
}

int
hold_slot (struct hold *h, uint32_t index, char out[static HOLD_SLOT_SIZE],
           struct fault *f)
{
  CLEANUP_FREE char *block
      = try_aligned (DIRECT_ALIGN, DIRECT_ALIGN, "metadata", f);
  CLEANUP_CLOSE int metadata = -1;
  struct lv_facts facts;
  struct lv_facts all;
  uint64_t offset;
  uint64_t start;

  if (block == NULL || hold_facts (h, index, &facts, f) < 0
      || hold_facts (h, h->count, &all, f) < 0)
    return -1;
  offset = hold_offset (h->version, (uint64_t)facts.slot);
  if (offset + HOLD_SLOT_SIZE > all.size)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "tag MD_%lld: behind the domain's metadata",
                      (long long)facts.slot);
  start = offset & ~(uint64_t)(DIRECT_ALIGN - 1);
  metadata = hold_take (h, h->count, f);
  if (metadata < 0)
    return -1;
  if (fdio_pread_full (metadata, block, DIRECT_ALIGN, start,
                       "the domain's metadata", f)
      < 0)
    return -1;
  memcpy (out, block + (offset - start), HOLD_SLOT_SIZE);
  return 0;
}

const char *
hold_domain (const struct hold *h)
{
  return h->sd;
}

int
hold_identify (struct hold *h, struct buf *out, struct fault *f)
{
  struct lv_facts all;

  if (hold_list (h, f) < 0 || hold_facts (h, h->count, &all, f) < 0)
    return -1;
  buf_printf (out, "group %s\n", all.vg_uuid);
  buf_printf (out, "version %u\n", h->version);
  return 0;
}

/* A request whose answer is a report. */
static int
ask_report (struct guard *g, enum lvserve_op op, char **report, struct fault *f)
{
  struct lvserve_request rq = { .op = op };
  CLEANUP_FREE struct lvserve_reply *r = NULL;

  if (ask (g, &rq, LVSERVE_SHORT, &r, NULL, f) < 0)
    return -1;
  r->report[MSG_REPORT_MAX] = '\0';
  if (report != NULL)
    *report = xstrdup (r->report);
  return 0;
}

int
hold_close (struct hold *h, char **report, struct fault *f)
{
  int rc = ask_report (h->guard, LVSERVE_CLOSE, report, f);

  free (h);
  return rc;
}

int
hold_reap (struct guard *g, char **report, struct fault *f)
{
  return ask_report (g, LVSERVE_REAP, report, f);
}
