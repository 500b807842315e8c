/* SPDX-License-Identifier: Apache-2.0 */
/* A point as a new VM.

     plan     where: cluster, domains, host; nothing is changed
     create   one floating disk each, ids chosen by us, journaled before
     hold     where the settings say so, each by an upload transfer (pin.c)
     prove, write, verify    each disk (push.c), one helper
     vm       from the cleaned configuration, under a name that only says
              which run made it
     attach   explicitly, each disk as it was
     release  its final name; helpers gone, journal settled

   A VM that carries the wanted name is therefore always a whole one.  Until
   then a failure removes the VM and the disks again, but a disk only after
   its host has confirmed that no helper has it open. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/vm.h"
#include "host/remote.h"
#include "job/journal.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/pin.h"
#include "job/push.h"
#include "job/quota.h"
#include "job/reap.h"
#include "job/restore.h"
#include "job/restore_plan.h"
#include "job/settle.h"
#include "job/site.h"
#include "job/undo.h"
#include "job/volgroup.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/point.h"
#include "repo/reader.h"

struct new_disk {
  const struct restore_plan_disk *plan;
  struct disk *disk; /* as the engine made it */
  char id[UUID_SIZE];
  unsigned intention; /* 0: nothing was asked for */
  struct pin pin;
};

struct restore {
  const struct restore_options *options;
  const struct observer *observer;
  struct site *site;
  struct restore_plan plan;
  struct lease *lease;
  char lease_id[UUID_SIZE]; /* names this restore in lease and journal */
  struct new_disk *disks;   /* as many as the plan has */
  struct site_lane lane;
  struct quota *quota;
  bool has_opened; /* a helper was asked to open a disk, and may have it */
  unsigned lost;   /* hosts where logical volumes may be left active */
  char vm_id[UUID_SIZE];
  unsigned vm_intention;
  unsigned host_intention; /* 0: no disk was asked for */
  bool finished;           /* the VM has its name: nothing is undone any more */
  struct observer_result result;
};

static void
enter (struct restore *r, enum phase phase, const char *text)
{
  if (r->observer->phase != NULL)
    r->observer->phase (r->observer->opaque, r->options->as, phase_name (phase),
                        text);
  phase_stop (phase);
}

static int
plan_phase (struct restore *r, struct fault *f)
{
  enter (r, PHASE_PLAN, r->options->point);
  if (restore_plan_make (r->site, r->options, r->observer, &r->plan, f) < 0)
    return -1;
  r->disks = xcalloc (r->plan.disk_count, sizeof *r->disks);
  for (size_t i = 0; i < r->plan.disk_count; i++)
    r->disks[i].plan = &r->plan.disks[i];
  return 0;
}

static int
create_disk (struct restore *r, struct new_disk *d, struct fault *f)
{
  CLEANUP_FREE char *description
      = xasprintf ("%s restore of %s", r->site->tag, r->plan.point_text);
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
    .provisioned_size = d->plan->from->virtual_size,
    .initial_size = t->initial_size,
    .qcow_version = !t->cow                 ? NULL
                    : t->qcow2_version >= 3 ? "qcow2_v3"
                                            : "qcow2_v2",
  };

  uuid_make (d->id);
  uuid_make (volume);
  if (journal_intend (r->site->journal, "disk", r->lease_id, d->id, description,
                      &d->intention, f)
          < 0
      || disk_create (r->site->engine, &create, &d->disk, f) < 0)
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
  return journal_exists (r->site->journal, d->intention, d->id, f);
}

static int
create_phase (struct restore *r, struct fault *f)
{
  enter (r, PHASE_CREATE, "");
  if (journal_intend (r->site->journal, UNDO_HOST, r->lease_id,
                      r->plan.host->id, r->plan.host->name, &r->host_intention,
                      f)
      < 0)
    return -1;
  for (size_t i = 0; i < r->plan.disk_count; i++) {
    if (cancel_check (f) < 0 || create_disk (r, &r->disks[i], f) < 0)
      return fault_prefix (f, "disk %s", r->disks[i].plan->from->alias);
  }
  return 0;
}

/* All disks are held before the first byte is written: a refusal costs
   nothing then, and none can be used before all are complete. */
static int
hold_phase (struct restore *r, struct fault *f)
{
  for (size_t i = 0; i < r->plan.disk_count; i++) {
    struct new_disk *d = &r->disks[i];

    if (!pin_wanted (r->site, d->plan->target.block))
      continue;
    enter (r, PHASE_HOLD, d->plan->from->alias);
    if (cancel_check (f) < 0 || lease_check (r->lease, f) < 0
        || pin_take (r->site, r->lease_id, d->id, r->plan.host, &d->pin, f) < 0)
      return fault_prefix (f, "disk %s", d->plan->from->alias);
  }
  return 0;
}

/* Nobody has them open any more. */
static int
end_hold (struct restore *r, struct fault *f)
{
  for (size_t i = 0; i < r->plan.disk_count; i++) {
    if (lease_check (r->lease, f) < 0
        || pin_release (r->site, &r->disks[i].pin, f) < 0)
      return fault_prefix (f, "disk %s", r->disks[i].plan->from->alias);
  }
  return 0;
}

/* What the helper must know of the volume; msg_open_write_reset frees it. */
static int
describe (const struct new_disk *d, struct msg_open_write *m, struct fault *f)
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
  volgroup_fill (d->plan->domain, &m->group);
  return 0;
}

/* PUSH gets what the volume is like. */
static int
prove (struct restore *r, struct new_disk *d, struct push *push,
       struct fault *f)
{
  struct msg_wopened wopened = { .container = 0 };
  struct msg_open_write m;
  int rc;

  enter (r, PHASE_PROVE, d->plan->from->alias);
  if (r->lane.remote == NULL
      && site_lane_open (r->site, r->plan.host, &r->lane, f) < 0)
    return -1;
  if (describe (d, &m, f) < 0)
    return -1;
  r->has_opened = true;
  /* A volume that is held is active by the engine's doing, and stays so. */
  if (m.kind == MSG_BLOCK && d->pin.intention == 0
      && reap_intend (r->site, &r->lane, r->lease_id, f) < 0) {
    msg_open_write_reset (&m);
    return -1;
  }
  rc = remote_open_write (r->lane.remote, &m, &wopened, f);
  push->remote = r->lane.remote;
  push->capacity = m.capacity;
  if (m.kind == MSG_BLOCK)
    push->container = wopened.container;
  if (m.kind == MSG_BLOCK && m.format == MSG_RAW)
    push->capacity = wopened.container;
  msg_wopened_reset (&wopened);
  msg_open_write_reset (&m);
  phase_stop (PHASE_PROVE);
  return rc < 0 ? site_explain (r->site, r->plan.host, f) : 0;
}

static int
push_disk (struct restore *r, struct new_disk *d, struct fault *f)
{
  CLEANUP (reader_close) struct reader *reader = NULL;
  const struct target *t = &d->plan->target;
  struct observer_progress progress = {
    .vm_name = r->options->as,
    .disk_id = d->id,
    .alias = d->plan->from->alias,
    .virtual_size = d->plan->from->virtual_size,
  };
  struct push push = {
    .cow = t->cow,
    .fixed_size = !t->sparse || t->block,
    .zero_holes = t->block,
    .qcow2_version = t->qcow2_version,
    .quota = r->quota,
    .observer = r->observer,
    .progress = &progress,
  };

  if (reader_open (r->site->place, r->plan.point, d->plan->from->id, &reader, f)
          < 0
      || prove (r, d, &push, f) < 0)
    return -1;
  push.reader = reader;
  if (lease_check (r->lease, f) < 0)
    return -1;
  if (push_run (&push, f) < 0) {
    if (f->code == FAULT_SPACE)
      fault_append (f,
                    "; make room on storage domain %s or choose another "
                    "with --storage",
                    d->plan->domain->name);
    return -1;
  }
  r->result.bytes_virtual += d->plan->from->virtual_size;
  r->result.bytes_data += progress.bytes_total;
  r->result.bytes_wire += push.written;
  r->result.disk_count++;
  return reap_close (&r->lane, f);
}

static int
vm_phase (struct restore *r, struct fault *f)
{
  CLEANUP_FREE char *name = xasprintf ("chainlift-%s", r->site->run_id);
  CLEANUP_FREE char *description
      = xasprintf ("%s restore of %s", r->site->tag, r->plan.point_text);
  size_t count;
  struct vm_create create = {
    .name = name,
    .cluster_id = r->plan.cluster->id,
    .description = description,
    .ovf = r->plan.ovf,
    /* Beside the original the new VM needs an id of its own. */
    .regenerate_ids
    = site_vm (r->site, r->plan.manifest->vm_id, &count) != NULL,
  };

  enter (r, PHASE_VM, "");
  if (lease_check (r->lease, f) < 0
      || journal_intend (r->site->journal, "vm", r->lease_id, NULL, description,
                         &r->vm_intention, f)
             < 0
      || vm_create_from_ovf (r->site->engine, &create, r->vm_id, f) < 0)
    return -1;
  phase_stop (PHASE_VM);
  return journal_exists (r->site->journal, r->vm_intention, r->vm_id, f);
}

static int
attach_phase (struct restore *r, struct fault *f)
{
  enter (r, PHASE_ATTACH, "");
  for (size_t i = 0; i < r->plan.disk_count; i++) {
    const struct manifest_disk *from = r->disks[i].plan->from;
    struct vm_disk attach = { .bootable = from->bootable,
                              .active = from->active,
                              .read_only = from->read_only,
                              .pass_discard = from->pass_discard };

    memcpy (attach.disk.id, r->disks[i].id, sizeof attach.disk.id);
    snprintf (attach.interface, sizeof attach.interface, "%s",
              from->interface != NULL ? from->interface : "virtio");
    if (vm_attach_disk (r->site->engine, r->vm_id, &attach, f) < 0)
      return fault_prefix (f, "attach disk %s", from->alias);
    phase_stop (PHASE_ATTACH);
  }
  return 0;
}

/* The new VM gets its name, our marks go, the journal is settled. */
static int
release_phase (struct restore *r, struct fault *f)
{
  CLEANUP_FREE char *description
      = xasprintf ("Restored from %s by chainlift", r->plan.point_text);
  struct vm_update update
      = { .name = r->options->as, .description = description };
  int rc = 0;

  enter (r, PHASE_RELEASE, "");
  for (size_t i = 0; i < r->plan.disk_count; i++) {
    const char *text = r->disks[i].plan->from->description;

    if (vm_update_disk (r->site->engine, r->vm_id, r->disks[i].id,
                        text != NULL ? text : "", f)
        < 0)
      return -1;
  }
  phase_stop (PHASE_RELEASE);
  if (vm_update (r->site->engine, r->vm_id, &update, f) < 0)
    return fault_prefix (f, "name the new VM %s", r->options->as);
  r->finished = true;
  phase_stop (PHASE_RELEASE);
  for (size_t i = 0; i < r->plan.disk_count; i++) {
    if (journal_settle (r->site->journal, r->disks[i].intention, f) < 0)
      rc = -1;
  }
  if (journal_settle (r->site->journal, r->vm_intention, f) < 0
      || journal_settle (r->site->journal, r->host_intention, f) < 0)
    rc = -1;
  return rc;
}

static int
run_phases (struct restore *r, struct fault *f)
{
  if ((!r->options->dry_run && settle_gone (r->site, false, NULL, NULL, f) < 0)
      || plan_phase (r, f) < 0)
    return -1;
  if (r->options->dry_run)
    return 0;
  uuid_make (r->lease_id);
  if (lease_take (r->site->place, r->lease_id, r->site->run_id, &r->lease, f)
          < 0
      || create_phase (r, f) < 0 || hold_phase (r, f) < 0)
    return -1;
  for (size_t i = 0; i < r->plan.disk_count; i++) {
    if (push_disk (r, &r->disks[i], f) < 0)
      return fault_prefix (f, "disk %s", r->disks[i].plan->from->alias);
  }
  if (site_lane_stop (r->site, &r->lane, f) < 0)
    return -1;
  r->has_opened = false;
  r->lost = reap_lost (r->site);
  if (end_hold (r, f) < 0 || vm_phase (r, f) < 0 || attach_phase (r, f) < 0
      || release_phase (r, f) < 0)
    return -1;
  if (r->options->start && vm_start (r->site->engine, r->vm_id, f) < 0)
    return fault_prefix (f, "VM %s is restored, but does not start",
                         r->options->as);
  return 0;
}

/* Take back what a failed restore made.  NOTE gets what could not be. */
static void
take_back (struct restore *r, char *note, size_t size)
{
  struct fault f = FAULT_INIT;
  int rc = 0;

  if (r->finished)
    return;
  cancel_shield ();
  /* Only a helper that says goodbye is known to be gone. */
  if (r->lane.remote != NULL && remote_alive (r->lane.remote)
      && site_lane_stop (r->site, &r->lane, &f) == 0)
    r->has_opened = false;
  site_lane_drop (r->site, &r->lane);
  fault_reset (&f);
  if (r->has_opened)
    rc = undo_wait_helper (r->site, r->plan.host, &f);
  /* Before their disks go: a mapping would outlive the volume. */
  if (rc == 0)
    r->lost += reap_lost (r->site);
  if (rc == 0 && r->vm_intention != 0)
    rc = undo_vm (r->site, r->vm_id, r->vm_intention, &f);
  for (size_t i = 0; rc == 0 && r->disks != NULL && i < r->plan.disk_count;
       i++) {
    if (r->disks[i].intention == 0)
      continue;
    rc = pin_undo (r->site, r->disks[i].id, &r->disks[i].pin, &f);
    if (rc == 0)
      rc = undo_disk (r->site, r->disks[i].id, r->disks[i].intention, &f);
  }
  if (rc == 0 && r->host_intention != 0)
    rc = journal_settle (r->site->journal, r->host_intention, &f);
  cancel_unshield ();
  if (rc < 0)
    snprintf (note, size, "left behind (chainlift leftovers lists it): %.400s",
              f.text);
}

static void
finish (struct restore *r, struct observer_tally *tally)
{
  observer_count (tally, &r->result);
  if (r->result.note != NULL)
    tally->leftovers++;
  tally->leftovers += r->lost;
  if (r->observer->result != NULL)
    r->observer->result (r->observer->opaque, &r->result);
}

static void
restore_free (struct restore *r)
{
  for (size_t i = 0; r->disks != NULL && i < r->plan.disk_count; i++)
    disk_free (r->disks[i].disk);
  free (r->disks);
  restore_plan_reset (&r->plan);
  lease_drop (r->lease);
  quota_free (r->quota);
  site_close (r->site);
}

int
restore_vm (const struct restore_options *options,
            const struct observer *observer, struct observer_tally *tally,
            struct fault *f)
{
  struct restore r = { .options = options, .observer = observer };
  char note[512] = "";
  uint64_t begin = stamp_mono_ms ();

  r.quota = quota_new (options->settings->transfer.bandwidth);
  if (site_open (options->settings, SITE_MUST, &r.site, f) < 0) {
    restore_free (&r);
    return -1;
  }
  r.result.state = options->dry_run ? OBSERVER_PLANNED : OBSERVER_DONE;
  log_context (options->as);
  if (run_phases (&r, f) < 0) {
    take_back (&r, note, sizeof note);
    r.result.state = OBSERVER_FAILED;
    r.result.fault = f;
  }
  log_context (NULL);
  r.result.vm_name = options->as;
  r.result.vm_id = r.plan.manifest != NULL ? r.plan.manifest->vm_id : NULL;
  r.result.point
      = r.plan.point_text != NULL ? r.plan.point_text : options->point;
  r.result.new_vm_name = options->as;
  r.result.new_vm_id = r.finished ? r.vm_id : NULL;
  r.result.note = note[0] != '\0' ? note : NULL;
  r.result.duration_ms = stamp_mono_ms () - begin;
  finish (&r, tally);
  restore_free (&r);
  /* The result has told the fault. */
  fault_reset (f);
  return 0;
}
