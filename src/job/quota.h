/* SPDX-License-Identifier: Apache-2.0 */
/* A limit in bytes a second that all streams of a run share. */
#ifndef QUOTA_H
#define QUOTA_H

#include <stdint.h>

struct fault;
struct quota;
struct remote;

/* BYTES_PER_S 0: no limit. */
struct quota *quota_new (uint64_t bytes_per_s);
void quota_free (struct quota *q);
/* Count BYTES at NOW_MS (stamp_mono_ms); how many milliseconds the caller has
   to rest before it moves more.  Thread-safe.  What was not used is not saved
   for later beyond one second. */
unsigned quota_take (struct quota *q, uint64_t bytes, uint64_t now_ms);
/* Count BYTES now and rest for as long as that says, with the helper of REMOTE
   kept alive.  -1: the user stops, or the connection is broken. */
int quota_rest (struct quota *q, uint64_t bytes, struct remote *remote,
                struct fault *f);

#endif /* QUOTA_H */
