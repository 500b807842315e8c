/* SPDX-License-Identifier: Apache-2.0 */
/* A host that is read from or written to, as the engine sees it: one that is put into
   maintenance, is fenced or loses its storage is left at once, since the
   engine does not know of us and waits for nobody. */
#ifndef WATCH_H
#define WATCH_H

#include <stdbool.h>

#include "base/cleanup.h"

struct domain;
struct fault;
struct host;
struct site;
struct watch;

/* Called by a thread of the watch when HOST is to be left: WHY has the code
   FAULT_NET, or another one when no host is better.  Once more, with LATE, when
   watch_end has not come some seconds after: what waits for the host's storage
   may wait for minutes.  NULL: watch_check is asked. */
typedef void (*watch_fn) (const struct fault *why, bool late, void *opaque);

/* What is looked at; all borrowed. */
struct watch_what {
  const struct host *host;
  const struct domain *domain;
  const char *name;    /* of the VM, for messages */
  const char *disk_id; /* a new disk that is written; NULL: one that is read */
  bool held;           /* that one, by a transfer of ours */
};

/* Look every few seconds until watch_end.  NULL when there is no thread: then
   nobody looks. */
struct watch *watch_begin (struct site *site, const struct watch_what *what,
                           watch_fn fn, void *opaque);
/* Milliseconds between two looks. */
unsigned watch_pause_ms (const struct site *site);
/* Does not wait for an answer of the engine.  NULL is a no-op. */
void watch_end (struct watch *w);
/* Has the host to be left, as far as W has seen?  -1 with the reason, as in
   watch_fn.  NULL: 0. */
int watch_check (struct watch *w, struct fault *f);

/* Is F a fault of the host or its way to the storage, so that another host may do
   better? */
bool watch_is_of_host (const struct fault *f);
/* Is HOST up?  -1 with FAULT_NET; what the engine does not answer is no
   reason. */
int watch_host (struct site *site, const struct host *host, struct fault *f);
/* Is HOST to be left now?  -1 with the reason, as in watch_fn; what the engine
   does not answer is no reason. */
int watch_look (struct site *site, const struct host *host,
                const struct domain *domain, struct fault *f);
/* Another host of the data center than FROM: PREFER_ID if it is up, else as the
   plan chooses.  The inventory's states of hosts are refreshed. */
int watch_other (struct site *site, const char *center_id,
                 const char *prefer_id, const struct host *from,
                 const struct host **to, struct fault *f);
/* The same for the disks of VM_ID: that on which it runs is preferred. */
int watch_elsewhere (struct site *site, const char *vm_id,
                     const struct host *from, const struct host **to,
                     struct fault *f);

#endif /* WATCH_H */
