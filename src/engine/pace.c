/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/cancel.h"
#include "base/stamp.h"
#include "engine/pace.h"
#include "engine/session.h"

void
pace_start (struct pace *pace, const struct engine *engine, unsigned timeout_s)
{
  pace->ms = engine->poll_ms;
  pace->max_ms = engine->poll_ms * 10;
  pace->end = stamp_mono_ms () + (uint64_t)timeout_s * 1000;
}

bool
pace_over (const struct pace *pace)
{
  return stamp_mono_ms () >= pace->end;
}

int
pace_sleep (struct pace *pace, struct fault *f)
{
  unsigned ms = pace->ms;

  pace->ms = pace->ms + pace->ms / 2;
  if (pace->ms > pace->max_ms)
    pace->ms = pace->max_ms;
  return cancel_sleep_ms (ms, f);
}
