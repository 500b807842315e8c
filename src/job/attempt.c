/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "host/remote.h"
#include "job/attempt.h"
#include "job/journal.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/pin.h"
#include "job/push.h"
#include "job/reap.h"
#include "job/restore_plan.h"
#include "job/site.h"
#include "job/undo.h"
#include "job/volgroup.h"
#include "job/watch.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/reader.h"

struct new_disk {
  const struct restore_plan_disk *plan;
  struct disk *disk; /* as the engine made it */
  char id[UUID_SIZE];
  unsigned intention; /* 0: nothing was asked for */
  struct pin pin;
};

struct attempt {
  const struct attempt_params *params;
  struct site *site;
  struct lease *lease;
  char lease_id[UUID_SIZE]; /* names this attempt in lease and journal */
  struct new_disk *disks;   /* as many as the plan has */
  struct site_lane lane;
  bool has_opened; /* a helper was asked to open a disk, and may have it */
  bool must_move;
  unsigned host_intention; /* 0: no disk was asked for */
  struct attempt_totals totals;
};

static size_t
disk_count (const struct attempt *a)
{
  return a->params->plan->disk_count;
}

static void
enter (struct attempt *a, enum phase phase, const char *text)
{
  const struct observer *o = a->params->observer;

  if (o->phase != NULL)
    o->phase (o->opaque, a->params->vm_name, phase_name (phase), text);
  phase_stop (phase);
}

/* --- create and hold -------------------------------------------------- */

static int
create_disk (struct attempt *a, struct new_disk *d, struct fault *f)
{
  CLEANUP_FREE char *description = xasprintf ("%s restore of %s", a->site->tag,
                                              a->params->plan->point_text);
  char volume[UUID_SIZE];
  const struct target *t = &d->plan->target;
  struct disk_create create = {
    .id = d->id,
    .volume_id = volume,
    .alias = d->plan->from->alias != NULL ? d->plan->from->alias : d->id,
    .description = description,
    .domain_id = d->plan->domain->id,
    .format = t->cow ? DISK_FORMAT_COW : DISK_FORMAT_RAW,
    .sparse = t->sparse,
    .incremental = t->incremental,
    .wipe_after_delete = d->plan->from->wipe_after_delete,
    .provisioned_size = target_capacity (t, d->plan->from->virtual_size),
    .initial_size = t->initial_size,
    .qcow_version = !t->cow                 ? NULL
                    : t->qcow2_version >= 3 ? "qcow2_v3"
                                            : "qcow2_v2",
  };

  uuid_make (d->id);
  uuid_make (volume);
  if (journal_intend (a->site->journal, "disk", a->lease_id, d->id, description,
                      &d->intention, f)
          < 0
      || disk_create (a->site->engine, &create, &d->disk, f) < 0)
    return -1;
  phase_stop (PHASE_CREATE);
  if (d->disk->provisioned_size < d->plan->from->virtual_size)
    return fault_set (f, FAULT_REMOTE, 0,
                      "the engine made it %llu bytes large, %llu are needed",
                      (unsigned long long)d->disk->provisioned_size,
                      (unsigned long long)d->plan->from->virtual_size);
  if ((d->disk->format == DISK_FORMAT_COW) != t->cow)
    return fault_set (f, FAULT_REMOTE, 0,
                      "the engine made it in another format than was asked "
                      "for");
  return journal_exists (a->site->journal, d->intention, d->id, f);
}

static int
create_phase (struct attempt *a, struct fault *f)
{
  const struct host *host = a->params->host;

  enter (a, PHASE_CREATE, "");
  if (journal_intend (a->site->journal, UNDO_HOST, a->lease_id, host->id,
                      host->name, &a->host_intention, f)
      < 0)
    return -1;
  for (size_t i = 0; i < disk_count (a); i++) {
    if (cancel_check (f) < 0 || create_disk (a, &a->disks[i], f) < 0)
      return fault_prefix (f, "disk %s", a->disks[i].plan->from->alias);
  }
  return 0;
}

/* All disks are held before the first byte is written: a refusal costs
   nothing then, and none can be used before all are complete. */
static int
hold_phase (struct attempt *a, struct fault *f)
{
  for (size_t i = 0; i < disk_count (a); i++) {
    struct new_disk *d = &a->disks[i];

    if (!pin_wanted (a->site, d->plan->target.block))
      continue;
    enter (a, PHASE_HOLD, d->plan->from->alias);
    if (cancel_check (f) < 0 || lease_check (a->lease, f) < 0
        || pin_take (a->site, a->lease_id, d->id, a->params->host, &d->pin, f)
               < 0)
      return fault_prefix (f, "disk %s", d->plan->from->alias);
  }
  return 0;
}

/* Nobody has them open any more. */
static int
end_hold (struct attempt *a, struct fault *f)
{
  for (size_t i = 0; i < disk_count (a); i++) {
    if (lease_check (a->lease, f) < 0
        || pin_release (a->site, &a->disks[i].pin, f) < 0)
      return fault_prefix (f, "disk %s", a->disks[i].plan->from->alias);
  }
  return 0;
}

/* --- prove, write, verify --------------------------------------------- */

/* What the helper must know of the volume; msg_open_write_reset frees it. */
static int
describe (const struct attempt *a, const struct new_disk *d,
          struct msg_open_write *m, struct fault *f)
{
  const struct target *t = &d->plan->target;

  *m = (struct msg_open_write){
    .kind = t->block ? MSG_BLOCK : MSG_FILE,
    .format = t->cow ? MSG_COW : MSG_RAW,
    .flags = MSG_WRITE_FRESH | (d->pin.intention != 0 ? MSG_WRITE_LOCKED : 0u),
    .capacity = target_capacity (t, d->disk->provisioned_size),
  };
  if (domain_dir (d->plan->domain, m->dir, f) < 0)
    return -1;
  snprintf (m->image, sizeof m->image, "%s", d->disk->id);
  snprintf (m->volume, sizeof m->volume, "%s", d->disk->volume_id);
  if (!t->block)
    return 0;
  m->need = t->cow ? t->image_size : m->capacity;
  return volgroup_ask (a->site->engine, d->plan->domain, &m->group, f);
}

/* What the helper has found in the place of D.  The image gets the capacity of
   its volume; of a raw logical volume every byte is written. */
static int
take_sizes (const struct new_disk *d, const struct msg_wopened *found,
            struct push *push, struct fault *f)
{
  const struct target *t = &d->plan->target;
  uint64_t told = d->disk->provisioned_size;

  if (!target_fits (t, told, found->capacity))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "volume %s has the capacity %llu, the engine says %llu",
                      d->disk->volume_id, (unsigned long long)found->capacity,
                      (unsigned long long)told);
  push->container = t->block ? found->container : 0;
  push->capacity = t->block && !t->cow ? found->container : found->capacity;
  return 0;
}

/* PUSH gets what the volume is like. */
static int
prove (struct attempt *a, struct new_disk *d, struct push *push,
       struct fault *f)
{
  struct msg_wopened wopened = { .container = 0 };
  struct msg_open_write m;
  int rc;

  enter (a, PHASE_PROVE, d->plan->from->alias);
  if (site_lane_open (a->site, a->params->host, &a->lane, f) < 0)
    return -1;
  if (describe (a, d, &m, f) < 0)
    return -1;
  a->has_opened = true;
  /* Also of one that is held, which stays active: a helper that is killed leaves
     its record there. */
  if (m.kind == MSG_BLOCK
      && reap_intend (a->site, &a->lane, a->lease_id, f) < 0) {
    msg_open_write_reset (&m);
    return -1;
  }
  rc = remote_open_write (a->lane.remote, &m, &wopened, f);
  msg_open_write_reset (&m);
  phase_stop (PHASE_PROVE);
  if (rc < 0)
    return site_explain (a->site, a->params->host, f);
  push->remote = a->lane.remote;
  rc = take_sizes (d, &wopened, push, f);
  msg_wopened_reset (&wopened);
  return rc;
}

/* Open, fill and close the volume, by a helper that is not there before and not
   after it. */
static int
write_disk (struct attempt *a, struct new_disk *d, struct push *push,
            struct fault *f)
{
  if (prove (a, d, push, f) < 0 || lease_check (a->lease, f) < 0)
    return -1;
  if (push_run (push, f) < 0) {
    if (f->code == FAULT_SPACE)
      fault_append (f,
                    "; make room on storage domain %s or choose another "
                    "with --storage",
                    d->plan->domain->name);
    return -1;
  }
  if (reap_close (&a->lane, f) < 0 || site_lane_stop (a->site, &a->lane, f) < 0)
    return -1;
  a->has_opened = false;
  return 0;
}

/* What has to be read of the repository first takes its time: no helper is there
   to hear nothing meanwhile. */
static int
push_disk (struct attempt *a, struct new_disk *d, struct push *push,
           struct fault *f)
{
  CLEANUP (reader_close) struct reader *reader = NULL;
  uint64_t capacity
      = target_capacity (&d->plan->target, d->disk->provisioned_size);
  int rc = -1;

  if (reader_open (a->site->place, a->params->plan->point, d->plan->from->id,
                   &reader, f)
          == 0
      && push_prepare (push, reader, capacity, f) == 0
      && watch_check (push->watch, f) == 0)
    rc = write_disk (a, d, push, f);
  push_reset (push);
  return rc;
}

/* May another host do better?  It may when this one does not answer, cannot
   reach the storage, or its LVM does not tell any more whose the volume is. */
static bool
must_move (const struct push *push, const struct fault *f)
{
  if (watch_is_of_host (f))
    return true;
  return push->host_failed
         && (f->code == FAULT_IO || f->code == FAULT_REMOTE
             || f->code == FAULT_BUSY);
}

/* watch_fn: what waits for the host waits no longer. */
static void
on_watch (const struct fault *why, bool late, void *opaque)
{
  atomic_bool *hurry = opaque;

  (void)why;
  *hurry = late;
}

/* push_disk, which ends with the reason of the watch when that has spoken. */
static int
push_watched (struct attempt *a, struct new_disk *d, struct push *push,
              const struct watch_what *what, struct fault *f)
{
  atomic_bool hurry = false;
  int rc;

  push->watch = watch_begin (a->site, what, on_watch, &hurry);
  cancel_on (&hurry);
  rc = push_disk (a, d, push, f);
  cancel_on (NULL);
  if (rc < 0 && f->code == FAULT_CANCELLED && !cancel_wanted ()) {
    fault_reset (f);
    rc = watch_check (push->watch, f);
  }
  watch_end (push->watch);
  return rc;
}

/* One disk, while somebody looks at the host in the engine. */
static int
fill_disk (struct attempt *a, struct new_disk *d, struct fault *f)
{
  const struct target *t = &d->plan->target;
  struct observer_progress progress = {
    .vm_name = a->params->vm_name,
    .disk_id = d->id,
    .alias = d->plan->from->alias,
    .virtual_size = d->plan->from->virtual_size,
  };
  struct push push = {
    .cow = t->cow,
    .fixed_size = !t->sparse || t->block,
    .zero_holes = t->block && !t->cow,
    .qcow2_version = t->qcow2_version,
    .quota = a->params->quota,
    .observer = a->params->observer,
    .progress = &progress,
  };
  const struct watch_what what = { .host = a->params->host,
                                   .domain = d->plan->domain,
                                   .name = a->params->vm_name,
                                   .disk_id = d->id,
                                   .held = d->pin.intention != 0 };

  if (push_watched (a, d, &push, &what, f) < 0) {
    a->must_move = must_move (&push, f);
    return fault_prefix (f, "disk %s", progress.alias);
  }
  a->totals.bytes_virtual += progress.virtual_size;
  a->totals.bytes_data += push.data;
  a->totals.bytes_wire += push.written;
  a->totals.disk_count++;
  return 0;
}

/* --- an attempt ------------------------------------------------------- */

struct attempt *
attempt_new (const struct attempt_params *params)
{
  struct attempt *a = xcalloc (1, sizeof *a);

  a->params = params;
  a->site = params->site;
  uuid_make (a->lease_id);
  a->disks = xcalloc (params->plan->disk_count, sizeof *a->disks);
  for (size_t i = 0; i < params->plan->disk_count; i++)
    a->disks[i].plan = &params->plan->disks[i];
  return a;
}

void
attempt_free (struct attempt *a)
{
  if (a == NULL)
    return;
  for (size_t i = 0; i < disk_count (a); i++)
    disk_free (a->disks[i].disk);
  free (a->disks);
  lease_drop (a->lease);
  free (a);
}

int
attempt_run (struct attempt *a, struct fault *f)
{
  if (lease_take (a->site->place, a->lease_id, a->site->run_id, &a->lease, f)
          < 0
      || create_phase (a, f) < 0 || hold_phase (a, f) < 0)
    return -1;
  for (size_t i = 0; i < disk_count (a); i++) {
    if (fill_disk (a, &a->disks[i], f) < 0)
      return -1;
  }
  return end_hold (a, f);
}

bool
attempt_must_move (const struct attempt *a)
{
  return a->must_move;
}

void
attempt_totals (const struct attempt *a, struct attempt_totals *out)
{
  *out = a->totals;
}

struct lease *
attempt_lease (const struct attempt *a)
{
  return a->lease;
}

const char *
attempt_lease_id (const struct attempt *a)
{
  return a->lease_id;
}

const char *
attempt_disk_id (const struct attempt *a, size_t index)
{
  return a->disks[index].id;
}

int
attempt_quiet (struct attempt *a, bool wait, struct fault *f)
{
  struct fault ignored = FAULT_INIT;

  /* Only a helper that says goodbye is known to be gone. */
  if (a->lane.remote != NULL && remote_alive (a->lane.remote)
      && site_lane_leave (a->site, &a->lane, &ignored) == 0)
    a->has_opened = false;
  site_lane_drop (a->site, &a->lane);
  if (!a->has_opened)
    return 0;
  if (!wait)
    return fault_set (f, FAULT_BUSY, 0, "host %s may still write to its disks",
                      a->params->host->name);
  if (undo_wait_helper (a->site, a->params->host, f) < 0)
    return -1;
  a->has_opened = false;
  return 0;
}

int
attempt_undo (struct attempt *a, struct fault *f)
{
  int rc = 0;

  for (size_t i = 0; i < disk_count (a); i++) {
    struct new_disk *d = &a->disks[i];

    if (d->intention == 0)
      continue;
    if (pin_undo (a->site, d->id, &d->pin, f) < 0
        || undo_disk (a->site, d->id, d->intention, f) < 0)
      rc = -1;
    else
      d->intention = 0;
  }
  if (rc < 0)
    return -1;
  if (a->host_intention != 0
      && journal_settle (a->site->journal, a->host_intention, f) < 0)
    return -1;
  a->host_intention = 0;
  return 0;
}

int
attempt_settle (struct attempt *a, struct fault *f)
{
  int rc = 0;

  for (size_t i = 0; i < disk_count (a); i++) {
    if (journal_settle (a->site->journal, a->disks[i].intention, f) < 0)
      rc = -1;
  }
  if (journal_settle (a->site->journal, a->host_intention, f) < 0)
    rc = -1;
  return rc;
}
