/* SPDX-License-Identifier: Apache-2.0 */
/* The rhythm of a wait: pauses that grow from poll_ms to ten times that, and
   a deadline. */
#ifndef ENGINE_PACE_H
#define ENGINE_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct engine;
struct fault;

struct pace {
  unsigned ms;     /* next pause */
  unsigned max_ms; /* longest pause */
  uint64_t end;    /* stamp_mono_ms of the deadline */
};

void pace_start (struct pace *pace, const struct engine *engine,
                 unsigned timeout_s);
/* No time left. */
bool pace_over (const struct pace *pace);
/* Sleep; -1 with FAULT_CANCELLED. */
int pace_sleep (struct pace *pace, struct fault *f);

#endif /* ENGINE_PACE_H */
