/* SPDX-License-Identifier: Apache-2.0 */
/* A point as a new VM.

     plan     where: cluster, domains, host; nothing is changed
     create, hold, prove, write, verify    all disks, by one host (attempt.c);
              when that must be left, all over again by another one
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
#include "engine/host.h"
#include "engine/vm.h"
#include "job/attempt.h"
#include "job/journal.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/quota.h"
#include "job/reap.h"
#include "job/restore.h"
#include "job/restore_plan.h"
#include "job/settle.h"
#include "job/site.h"
#include "job/undo.h"
#include "job/watch.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/point.h"

/* Hosts that are left before a restore gives up. */
#define ATTEMPTS_MAX 4

struct restore {
  const struct restore_options *options;
  const struct observer *observer;
  struct site *site;
  struct restore_plan plan;
  struct quota *quota;
  struct attempt_params params[ATTEMPTS_MAX];
  struct attempt *attempts[ATTEMPTS_MAX]; /* the last one counts */
  unsigned attempt_count;
  char vm_id[UUID_SIZE];
  unsigned vm_intention;
  bool finished; /* the VM has its name: it is not undone any more */
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
  return restore_plan_make (r->site, r->options, r->observer, &r->plan, f);
}

static struct attempt *
current (const struct restore *r)
{
  return r->attempts[r->attempt_count - 1];
}

static int
attempt_on (struct restore *r, const struct host *host, struct fault *f)
{
  struct attempt_params *p = &r->params[r->attempt_count];

  *p = (struct attempt_params){ .site = r->site,
                                .plan = &r->plan,
                                .host = host,
                                .vm_name = r->options->as,
                                .observer = r->observer,
                                .quota = r->quota };
  r->attempts[r->attempt_count++] = attempt_new (p);
  return attempt_run (current (r), f);
}

/* What helpers left active on HOST: a mapping would outlive the disks. */
static int
put_back (struct restore *r, const struct host *host, struct fault *f)
{
  if (reap_lost (r->site, host) == 0)
    return 0;
  return fault_set (f, FAULT_BUSY, 0,
                    "host %s may have the logical volumes of new disks active: "
                    "they are left alone; chainlift leftovers --clean tries "
                    "again",
                    host->name);
}

/* The disks of a host that was left are removed at once when its helper has
   said goodbye; else at the end, they wait for nobody. */
static void
give_up (struct restore *r, const struct host *host)
{
  struct attempt *a = current (r);
  struct fault why = FAULT_INIT;

  if (attempt_quiet (a, false, &why) < 0 || put_back (r, host, &why) < 0
      || attempt_undo (a, &why) < 0)
    log_debug ("disks of a host that was left stay for now: %s", why.text);
}

/* On one host after the other, until one is not left. */
static int
fill_disks (struct restore *r, struct fault *f)
{
  const struct host *host = r->plan.host;
  const struct host *next;
  struct fault why = FAULT_INIT;
  struct fault none = FAULT_INIT;

  while (attempt_on (r, host, &why) < 0) {
    if (!attempt_must_move (current (r)) || r->attempt_count == ATTEMPTS_MAX)
      return fault_copy (f, &why);
    give_up (r, host);
    if (watch_other (r->site, r->plan.cluster->center_id, "", host, &next,
                     &none)
        < 0) {
      fault_append (&why, "; %.200s", none.text);
      return fault_copy (f, &why);
    }
    log_warn ("%s; starting over on host %s, with new disks", why.text,
              next->name);
    fault_reset (&why);
    host = next;
  }
  return put_back (r, host, f);
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
  if (lease_check (attempt_lease (current (r)), f) < 0
      || journal_intend (r->site->journal, "vm", attempt_lease_id (current (r)),
                         NULL, description, &r->vm_intention, f)
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
    const struct manifest_disk *from = r->plan.disks[i].from;
    struct vm_disk attach = { .bootable = from->bootable,
                              .active = from->active,
                              .read_only = from->read_only,
                              .pass_discard = from->pass_discard };

    memcpy (attach.disk.id, attempt_disk_id (current (r), i),
            sizeof attach.disk.id);
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

  enter (r, PHASE_RELEASE, "");
  for (size_t i = 0; i < r->plan.disk_count; i++) {
    const char *text = r->plan.disks[i].from->description;

    if (vm_update_disk (r->site->engine, r->vm_id,
                        attempt_disk_id (current (r), i),
                        text != NULL ? text : "", f)
        < 0)
      return -1;
  }
  phase_stop (PHASE_RELEASE);
  if (vm_update (r->site->engine, r->vm_id, &update, f) < 0)
    return fault_prefix (f, "name the new VM %s", r->options->as);
  r->finished = true;
  phase_stop (PHASE_RELEASE);
  if (attempt_settle (current (r), f) < 0)
    return -1;
  return journal_settle (r->site->journal, r->vm_intention, f);
}

static int
run_phases (struct restore *r, struct fault *f)
{
  if ((!r->options->dry_run && settle_gone (r->site, false, NULL, NULL, f) < 0)
      || plan_phase (r, f) < 0)
    return -1;
  if (r->options->dry_run)
    return 0;
  if (fill_disks (r, f) < 0 || vm_phase (r, f) < 0 || attach_phase (r, f) < 0
      || release_phase (r, f) < 0)
    return -1;
  if (r->options->start && vm_start (r->site->engine, r->vm_id, f) < 0)
    return fault_prefix (f, "VM %s is restored, but does not start",
                         r->options->as);
  return 0;
}

/* Take back what is not part of a finished VM: all of a restore that failed,
   of another one what it gave up on its way.  Nothing goes before nobody has it
   open, and its logical volumes are put back. */
static int
undo_attempts (struct restore *r, struct fault *f)
{
  unsigned count = r->attempt_count - (r->finished ? 1 : 0);
  bool quiet[ATTEMPTS_MAX] = { false };
  int rc = 0;

  for (unsigned i = count; i-- > 0;) {
    quiet[i] = attempt_quiet (r->attempts[i], true, f) == 0
               && put_back (r, r->params[i].host, f) == 0;
    if (!quiet[i])
      rc = -1;
  }
  if (!r->finished && r->vm_intention != 0
      && undo_vm (r->site, r->vm_id, r->vm_intention, f) < 0)
    return -1;
  for (unsigned i = 0; i < count; i++) {
    if (quiet[i] && attempt_undo (r->attempts[i], f) < 0)
      rc = -1;
  }
  return rc;
}

/* NOTE gets what could not be taken back. */
static void
take_back (struct restore *r, char *note, size_t size)
{
  struct fault f = FAULT_INIT;

  if (r->attempt_count == (r->finished ? 1 : 0))
    return;
  cancel_shield ();
  if (undo_attempts (r, &f) < 0)
    snprintf (note, size, "left behind (chainlift leftovers lists it): %.400s",
              f.text);
  cancel_unshield ();
}

static void
finish (struct restore *r, struct observer_tally *tally)
{
  struct attempt_totals totals;

  if (r->attempt_count > 0) {
    attempt_totals (current (r), &totals);
    r->result.bytes_virtual = totals.bytes_virtual;
    r->result.bytes_data = totals.bytes_data;
    r->result.bytes_wire = totals.bytes_wire;
    r->result.disk_count = totals.disk_count;
  }
  observer_count (tally, &r->result);
  if (r->result.note != NULL)
    tally->leftovers++;
  tally->leftovers += reap_count_lost (r->site);
  if (r->observer->result != NULL)
    r->observer->result (r->observer->opaque, &r->result);
}

static void
restore_free (struct restore *r)
{
  for (unsigned i = 0; i < r->attempt_count; i++)
    attempt_free (r->attempts[i]);
  restore_plan_reset (&r->plan);
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
    r.result.state = OBSERVER_FAILED;
    r.result.fault = f;
  }
  take_back (&r, note, sizeof note);
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
