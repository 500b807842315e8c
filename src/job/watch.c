/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/vm.h"
#include "job/plan.h"
#include "job/site.h"
#include "job/watch.h"

#define PAUSE_POLLS 5 /* of engine.poll_ms between two looks ... */
#define PAUSE_MAX_MS 10000
#define GRACE_MS 15000 /* for what is under way on a host that is left */
/* In the inventory: this run has left it, the engine may say that it is up. */
#define HOST_LEFT "left"

struct watch {
  struct site *site;
  struct watch_what what;
  watch_fn fn;
  void *opaque;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  atomic_bool end;  /* written under lock */
  struct fault why; /* under lock: to be left, when it has a code */
};

bool
watch_is_of_host (const struct fault *f)
{
  return f->code == FAULT_NET || (f->code == FAULT_REMOTE && f->err == ENODEV);
}

int
watch_host (struct site *site, const struct host *host, struct fault *f)
{
  CLEANUP (host_free) struct host *now = NULL;
  struct fault ignored = FAULT_INIT;

  if (host_get (site->engine, host->id, &now, &ignored) == 0
      && !host_is_up (now))
    return fault_set (f, FAULT_NET, 0, "host %s is %s in the engine",
                      host->name, now->status);
  return 0;
}

int
watch_look (struct site *site, const struct host *host,
            const struct domain *domain, struct fault *f)
{
  struct fault ignored = FAULT_INIT;
  char status[sizeof domain->status];

  if (watch_host (site, host, f) < 0)
    return -1;
  if (domain_status (site->engine, domain, status, &ignored) == 0
      && strcmp (status, "active") != 0)
    return fault_set (f, FAULT_BUSY, 0, "storage domain %s is %s in the engine",
                      domain->name, status);
  return 0;
}

/* A new disk is floating, and as it was made or held, until we attach it:
   whoever does something to it now would do it to what we are writing. */
static int
look_at_disk (struct watch *w, struct fault *f)
{
  CLEANUP (disk_free) struct disk *d = NULL;
  struct fault why = FAULT_INIT;
  const char *id = w->what.disk_id;

  if (disk_get (w->site->engine, id, &d, &why) < 0)
    return why.code == FAULT_NOTFOUND
               ? fault_set (f, FAULT_BUSY, 0,
                            "disk %s was removed in the engine while it was "
                            "written",
                            id)
               : 0;
  if (d->vm_id[0] != '\0')
    return fault_set (f, FAULT_BUSY, 0,
                      "disk %s was attached to VM %s while it was written: its "
                      "contents are not whole, detach it",
                      id, d->vm_id);
  if (strcmp (d->status, w->what.held ? "locked" : "ok") != 0)
    return fault_set (f, FAULT_BUSY, 0,
                      "disk %s is %s in the engine while it is written: %s", id,
                      d->status,
                      w->what.held ? "its upload transfer was ended by others"
                                   : "others work on it");
  return 0;
}

static int
look (struct watch *w, struct fault *f)
{
  if (watch_look (w->site, w->what.host, w->what.domain, f) < 0)
    return -1;
  return w->what.disk_id != NULL ? look_at_disk (w, f) : 0;
}

unsigned
watch_pause_ms (const struct site *site)
{
  unsigned ms = site->settings->engine.poll_ms * PAUSE_POLLS;

  return ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS;
}

/* Sleep; false: it is the end. */
static bool
pause_watch (struct watch *w, unsigned ms)
{
  struct timespec until;
  int rc = 0;

  clock_gettime (CLOCK_REALTIME, &until);
  until.tv_sec += ms / 1000;
  until.tv_nsec += (long)(ms % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_nsec -= 1000000000;
    until.tv_sec++;
  }
  SCOPED_LOCK (&w->lock);
  while (!w->end && rc == 0)
    rc = pthread_cond_timedwait (&w->changed, &w->lock, &until);
  return !w->end;
}

static void
speak (struct watch *w, const struct fault *why)
{
  {
    SCOPED_LOCK (&w->lock);
    fault_copy (&w->why, why);
  }
  if (w->fn == NULL)
    return;
  w->fn (why, false, w->opaque);
  if (pause_watch (w, GRACE_MS))
    w->fn (why, true, w->opaque);
}

static void *
watch_main (void *opaque)
{
  struct watch *w = opaque;
  struct fault f = FAULT_INIT;

  log_context (w->what.name);
  /* Nobody waits for an engine that does not answer. */
  cancel_on (&w->end);
  while (pause_watch (w, watch_pause_ms (w->site))) {
    if (look (w, &f) < 0) {
      speak (w, &f);
      break;
    }
  }
  return NULL;
}

int
watch_check (struct watch *w, struct fault *f)
{
  if (w == NULL)
    return 0;
  SCOPED_LOCK (&w->lock);
  return w->why.code != FAULT_NONE ? fault_copy (f, &w->why) : 0;
}

struct watch *
watch_begin (struct site *site, const struct watch_what *what, watch_fn fn,
             void *opaque)
{
  struct watch *w = xcalloc (1, sizeof *w);

  w->site = site;
  w->what = *what;
  w->fn = fn;
  w->opaque = opaque;
  pthread_mutex_init (&w->lock, NULL);
  pthread_cond_init (&w->changed, NULL);
  if (pthread_create (&w->thread, NULL, watch_main, w) == 0)
    return w;
  log_warn ("no thread looks at the state of host %s", what->host->name);
  free (w);
  return NULL;
}

void
watch_end (struct watch *w)
{
  if (w == NULL)
    return;
  {
    SCOPED_LOCK (&w->lock);
    w->end = true;
    pthread_cond_signal (&w->changed);
  }
  pthread_join (w->thread, NULL);
  pthread_cond_destroy (&w->changed);
  pthread_mutex_destroy (&w->lock);
  free (w);
}

/* The states of now into the inventory, whose hosts others point to; FROM may
   be one that is up and no good.  FRESH: also of those that were left before. */
static void
refresh_hosts (struct site *site, const struct host_list *now,
               const struct host *from, bool fresh)
{
  for (size_t i = 0; i < site->hosts->count; i++) {
    struct host *h = &site->hosts->items[i];
    bool left = h == from || (!fresh && strcmp (h->status, HOST_LEFT) == 0);

    if (left)
      snprintf (h->status, sizeof h->status, HOST_LEFT);
    for (size_t k = 0; !left && k < now->count; k++) {
      if (strcmp (h->id, now->items[k].id) == 0) {
        memcpy (h->status, now->items[k].status, sizeof h->status);
        h->is_spm = now->items[k].is_spm;
      }
    }
  }
}

int
watch_other (struct site *site, const char *center_id, const char *prefer_id,
             const struct host *from, const struct host **to, struct fault *f)
{
  CLEANUP (host_list_free) struct host_list *now = NULL;
  struct plan_input input
      = { .hosts = site->hosts, .clusters = site->clusters };
  const struct host *found;

  if (host_list (site->engine, &now, f) < 0)
    return -1;
  refresh_hosts (site, now, from, false);
  found = plan_host (&input, center_id, prefer_id);
  if (found == NULL) {
    refresh_hosts (site, now, from, true);
    found = plan_host (&input, center_id, prefer_id);
  }
  if (found == NULL)
    return fault_set (f, FAULT_NET, 0,
                      "no other host of its data center is up");
  *to = found;
  return 0;
}

int
watch_elsewhere (struct site *site, const char *vm_id, const struct host *from,
                 const struct host **to, struct fault *f)
{
  CLEANUP (vm_free) struct vm *vm = NULL;

  if (vm_get (site->engine, vm_id, &vm, f) < 0)
    return -1;
  return watch_other (site, cluster_center (site->clusters, vm->cluster_id),
                      vm->host_id, from, to, f);
}
