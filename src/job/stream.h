/* SPDX-License-Identifier: Apache-2.0 */
/* The data of one disk, from the helpers of one host into the repository,
   over several SSH sessions at once.

   The disk is cut into ranges; each lane (a session with a helper) takes the
   next range when it has fewer than two under way, so that a slow lane does
   not hold up the others.  Blocks are written as they arrive: they carry
   their place and were checked against their digests.  A lane whose
   connection breaks is opened again a few times, must show the same identity
   as at t0, and asks again for its ranges; blocks that had arrived before are
   not written twice.  When the engine says that the host is not up any more,
   all go on from another host, with the same identity. */
#ifndef STREAM_H
#define STREAM_H

#include <stddef.h>
#include <stdint.h>

#define STREAM_LANES_MAX 16

struct domain;
struct fault;
struct host;
struct msg_open_read;
struct observer;
struct observer_progress;
struct quota;
struct remote_map;
struct site;
struct site_lane;
struct writer;

struct stream {
  struct site *site;
  const struct host *host;          /* may be another one afterwards */
  const struct domain *domain;      /* both are watched */
  const char *vm_id;                /* whose disk it is, for the journal */
  const struct msg_open_read *open; /* what each lane opens */
  const char *identity;             /* of t0 */
  const struct remote_map *map;     /* spans without data are not asked for */
  uint64_t virtual_size;
  struct writer *writer;
  struct quota *quota;
  const struct observer *observer;
  struct observer_progress *progress; /* names are filled in by the caller;
                                         the counts here */
  /* Lane 0 has the layers open; the others are opened when they are needed
     (remote NULL) and stay for the next disk. */
  struct site_lane *lanes;
  unsigned lane_count;
};

/* Read the whole disk.  The lanes stay open, with the layers open. */
int stream_run (struct stream *s, struct fault *f);
/* Close the layers on all lanes that are open; the helpers stay for the next
   disk.  All is read and proven by then: a helper that cannot is told and let
   go, what it left active is looked for when the run ends. */
int stream_close (struct site *site, struct site_lane *lanes, unsigned count,
                  struct fault *f);
/* Leave the host of COUNT lanes, whatever they do.  Helpers that answer end in
   order, which puts their volumes back; behind one that does not nobody waits for
   the others. */
void stream_leave (struct site *site, struct site_lane *lanes, unsigned count);
/* The same of *HOST, for the fault WHY, and choose another one, which *HOST is
   then.  -1: with WHY, and why none is better. */
int stream_elsewhere (struct site *site, struct site_lane *lanes,
                      unsigned count, const char *vm_id,
                      const struct host **host, const struct fault *why,
                      struct fault *f);

#endif /* STREAM_H */
