/* SPDX-License-Identifier: Apache-2.0 */
/* The moment at which the bytes so far are paid for runs ahead of the clock
   when the limit is exceeded; the distance is the rest. */
#include <config.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "host/remote.h"
#include "job/quota.h"

#define BURST_US 1000000u
#define REST_MS 1000u /* at once, between heartbeats */

struct quota {
  pthread_mutex_t lock;
  uint64_t rate;    /* bytes a second */
  uint64_t paid_us; /* under lock */
};

struct quota *
quota_new (uint64_t bytes_per_s)
{
  struct quota *q = xcalloc (1, sizeof *q);

  pthread_mutex_init (&q->lock, NULL);
  q->rate = bytes_per_s;
  return q;
}

void
quota_free (struct quota *q)
{
  if (q == NULL)
    return;
  pthread_mutex_destroy (&q->lock);
  free (q);
}

unsigned
quota_take (struct quota *q, uint64_t bytes, uint64_t now_ms)
{
  uint64_t now = now_ms * 1000;

  if (q->rate == 0)
    return 0;
  SCOPED_LOCK (&q->lock);
  if (q->paid_us + BURST_US < now)
    q->paid_us = now - BURST_US;
  q->paid_us += bytes * 1000000 / q->rate;
  return q->paid_us <= now ? 0 : (unsigned)((q->paid_us - now) / 1000);
}

int
quota_rest (struct quota *q, uint64_t bytes, struct remote *remote,
            struct fault *f)
{
  unsigned ms = quota_take (q, bytes, stamp_mono_ms ());

  while (ms > 0) {
    unsigned part = ms < REST_MS ? ms : REST_MS;

    if (cancel_sleep_ms (part, f) < 0 || remote_ping (remote, f) < 0)
      return -1;
    ms -= part;
  }
  return 0;
}
