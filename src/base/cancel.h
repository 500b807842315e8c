/* SPDX-License-Identifier: Apache-2.0 */
/* The wish of the user to stop: SIGINT, SIGTERM, SIGHUP.  Long loops ask
   cancel_check; blocking waits poll cancel_fd beside their own descriptor. */
#ifndef CANCEL_H
#define CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

struct fault;

/* Install the handlers; SIGPIPE is ignored.  A second signal of the same kind
   ends the process at once with the default action. */
int cancel_setup (struct fault *f);
bool cancel_wanted (void);
/* 0, or -1 with FAULT_CANCELLED. */
int cancel_check (struct fault *f);
/* Readable once a stop is wanted; never read it.  -1 before cancel_setup. */
int cancel_fd (void);
/* While an odd job of cleaning up runs, this thread does not see the wish:
   what was begun must be undone.  Shields nest. */
void cancel_shield (void);
void cancel_unshield (void);
/* This thread is also to stop when FLAG becomes true; borrowed, NULL ends it.
   No shield covers it. */
void cancel_on (const atomic_bool *flag);
/* This thread is also to stop in MS milliseconds from now; 0 ends that.  No
   shield covers it. */
void cancel_within (unsigned ms);
/* As if a signal had come (a failed sibling job, tests). */
void cancel_request (void);
/* Sleep MS milliseconds; 0, or -1 with FAULT_CANCELLED as soon as a stop is
   wanted. */
int cancel_sleep_ms (unsigned ms, struct fault *f);

#endif /* CANCEL_H */
