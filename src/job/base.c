/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/login.h"
#include "engine/snapshot.h"
#include "engine/task.h"
#include "job/base.h"
#include "job/site.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/reader.h"

int
base_kept (const struct site *site, const char *vm_id,
           char id[static UUID_SIZE], struct fault *f)
{
  struct point_list points;
  const struct point *point;

  id[0] = '\0';
  if (site->place == NULL || !site->settings->snapshot.keep)
    return 0;
  if (point_list (site->place, vm_id, &points, f) < 0)
    return -1;
  point = plan_point (&points, site->settings->snapshot.differential);
  if (point != NULL && point->manifest != NULL)
    memcpy (id, point->manifest->snapshot_id, UUID_SIZE);
  point_list_reset (&points);
  return 0;
}

/* Can every disk of that point be read?  Its chain is walked, not its
   data. */
static int
check_images (const struct site *site, struct base *b, struct fault *f)
{
  const struct point *point = b->facts.point;

  for (size_t i = 0; i < point->manifest->disk_count; i++) {
    CLEANUP (reader_close) struct reader *reader = NULL;
    struct fault why = FAULT_INIT;

    if (reader_open (site->place, point, point->manifest->disks[i].id, &reader,
                     &why)
        < 0) {
      if (why.code == FAULT_CANCELLED)
        return fault_copy (f, &why);
      log_warn ("point %s is not built on: %s", point->name, why.text);
      b->facts.damaged = true;
      return 0;
    }
    if (reader_depth (reader) > b->facts.depth)
      b->facts.depth = reader_depth (reader);
  }
  return 0;
}

static int
ask_snapshot (struct site *site, const char *vm_id, struct base *b,
              struct fault *f)
{
  const char *id = b->facts.point->manifest->snapshot_id;
  struct fault why = FAULT_INIT;

  if (id[0] != '\0'
      && snapshot_get (site->engine, vm_id, id, &b->snapshot, &why) == 0
      && snapshot_disks (site->engine, vm_id, id, &b->disks, &why) == 0) {
    b->facts.snapshot = b->snapshot;
    b->facts.disks = b->disks;
    return 0;
  }
  if (id[0] == '\0' || why.code == FAULT_NOTFOUND)
    return 0;
  return fault_copy (f, &why);
}

/* 357, 359: a snapshot was not removed, or not from all disks; 376: a snapshot
   of one disk was not. */
static const unsigned failed_merges[] = { 357, 359, 376, 0 };

/* Is the making of the point's own snapshot among EVENTS?  It must be. */
static bool
has_own (const struct task_events *events, const struct manifest *m)
{
  char mark[TASK_CORRELATION_SIZE];
  size_t size = (size_t)snprintf (mark, sizeof mark, "cl-%s-", m->run_id);

  for (size_t i = 0; i < events->count; i++) {
    const struct task_event *e = &events->items[i];

    if ((e->code == 45 || e->code == 68)
        && strncmp (e->correlation, mark, size) == 0)
      return true;
  }
  return false;
}

/* What the events since the point's snapshot say of merges.  An empty answer of
   a search may be a misunderstanding: then all events are looked through. */
static int
ask_events (struct site *site, const char *vm_id, struct base *b,
            struct fault *f)
{
  const struct manifest *m = b->facts.point->manifest;
  CLEANUP (task_events_free) struct task_events *events = NULL;

  b->facts.merges = PLAN_MERGES_FINE;
  if (m->event == 0)
    return 0;
  if (task_vm_events_since (site->engine, m->event, vm_id, &events, f) < 0)
    return -1;
  if (!has_own (events, m)) {
    task_events_free (events);
    events = NULL;
    if (task_events_since (site->engine, m->event, vm_id, &events, f) < 0)
      return -1;
  }
  if (task_find_event (events, failed_merges) != NULL)
    b->facts.merges = PLAN_MERGES_FAILED;
  else if (!has_own (events, m))
    b->facts.merges = PLAN_MERGES_UNKNOWN;
  return 0;
}

int
base_get (struct site *site, const char *vm_id, bool full, struct base **out,
          struct fault *f)
{
  CLEANUP (base_free) struct base *b = xcalloc (1, sizeof *b);

  b->facts.full = full;
  b->facts.keep = site->settings->snapshot.keep;
  b->facts.differential = site->settings->snapshot.differential;
  b->facts.engine_id = login_about (site->engine)->instance_id;
  if (site->place != NULL) {
    b->facts.repository_id = place_id (site->place);
    if (point_list (site->place, vm_id, &b->points, f) < 0)
      return -1;
  }
  b->facts.point = plan_point (&b->points, b->facts.differential);
  b->facts.damaged = b->facts.point != NULL && b->facts.point->manifest == NULL;
  if (b->facts.keep && b->facts.point != NULL && !b->facts.damaged
      && (check_images (site, b, f) < 0 || ask_snapshot (site, vm_id, b, f) < 0
          || (b->snapshot != NULL && ask_events (site, vm_id, b, f) < 0)))
    return -1;
  *out = steal_ptr (&b);
  return 0;
}

void
base_free (struct base *b)
{
  if (b == NULL)
    return;
  point_list_reset (&b->points);
  snapshot_free (b->snapshot);
  disk_list_free (b->disks);
  free (b);
}
