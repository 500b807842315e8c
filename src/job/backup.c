/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/vm.h"
#include "job/backup.h"
#include "job/base.h"
#include "job/clean.h"
#include "job/guard.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/plan.h"
#include "job/quota.h"
#include "job/reap.h"
#include "job/selector.h"
#include "job/settle.h"
#include "job/site.h"
#include "job/vmjob.h"

struct run {
  const struct backup_options *options;
  const struct observer *observer;
  struct observer_tally *tally;
  struct site *site;
  struct quota *quota;
  const struct vm *guard; /* NULL: none */
  struct plan_vm *plans;
  size_t count;
};

/* What the configuration may say but this version does not do yet. */
static int
check_supported (const struct settings *s, struct fault *f)
{
  const char *key = NULL;

  if (s->snapshot.quiesce != SETTINGS_QUIESCE_AUTO)
    /* A freeze by the engine would outlive a controller that is killed; the
       host's own, while it takes the snapshot, does not. */
    key = "snapshot.quiesce = \"require\"";
  else if (s->transfer.transport != SETTINGS_TRANSPORT_SSH)
    key = "transfer.transport = \"lane\"";
  if (key != NULL)
    return fault_set (f, FAULT_CONF, 0,
                      "%s: %s is not supported by this version", s->file, key);
  return 0;
}

static bool
is_selected (const struct run *run, struct selector *selector,
             const struct vm *vm)
{
  size_t count;
  const struct cluster *cluster
      = site_cluster (run->site, vm->cluster_id, &count);
  struct selector_vm s = {
    .id = vm->id,
    .name = vm->name,
    .cluster_id = vm->cluster_id,
    .cluster_name = cluster != NULL ? cluster->name : "",
    .tags = (const char *const *)vm->tags,
    .tag_count = vm->tag_count,
  };

  return selector_match (selector, &s);
}

static int
plan_vm (struct run *run, const struct vm *vm, struct fault *f)
{
  struct plan_input input = {
    .hosts = run->site->hosts,
    .clusters = run->site->clusters,
    .domains = run->site->domains,
    .vms = run->site->vms,
    .guard = run->guard,
    .turn = (unsigned)run->count,
  };
  CLEANUP (base_free) struct base *base = NULL;

  if (base_get (run->site, vm->id, run->options->full, &base, f) < 0)
    return fault_prefix (f, "vm %s", vm->name);
  plan_make (&input, &base->facts, vm, &run->plans[run->count++]);
  return 0;
}

static int
make_plans (struct run *run, struct fault *f)
{
  CLEANUP (selector_free)
  struct selector *selector
      = selector_new ((const char *const *)run->options->selectors,
                      run->options->selector_count, f);
  const struct vm_list *vms = run->site->vms;
  const char *unmatched;
  size_t index = 0;

  if (selector == NULL)
    return -1;
  run->plans = xcalloc (vms->count, sizeof *run->plans);
  for (size_t i = 0; i < vms->count; i++) {
    if (is_selected (run, selector, &vms->items[i])
        && plan_vm (run, &vms->items[i], f) < 0)
      return -1;
  }
  unmatched = selector_unmatched (selector, &index);
  if (unmatched != NULL)
    return fault_set (f, FAULT_NOTFOUND, 0,
                      "\"%s\" matches no VM of the engine: chainlift vms "
                      "lists them",
                      unmatched);
  if (run->count == 0)
    return fault_set (f, FAULT_NOTFOUND, 0, "no VM is selected");
  return 0;
}

static void
show_plan (const struct run *run, const struct plan_vm *plan)
{
  if (run->observer->disk == NULL)
    return;
  for (size_t i = 0; i < plan->disk_count; i++) {
    const struct plan_disk *d = &plan->disks[i];
    struct observer_disk out = {
      .vm_id = plan->vm->id,
      .vm_name = plan->vm->name,
      .disk_id = d->disk->disk.id,
      .alias = d->disk->disk.alias,
      .virtual_size = d->disk->disk.provisioned_size,
      .skipped = !d->take || !plan->take,
      .kind = !d->take || !plan->take ? "skip"
              : d->increment          ? "increment"
                                      : "full",
      .reason = d->take && !plan->take ? plan->reason : d->reason,
    };

    run->observer->disk (run->observer->opaque, &out);
  }
}

static void
finish (struct run *run, const struct observer_result *result)
{
  observer_count (run->tally, result);
  if (result->note != NULL)
    run->tally->leftovers++;
  if (run->observer->result != NULL)
    run->observer->result (run->observer->opaque, result);
}

/* A VM that the plan does not take: skipped, or failed with the reason. */
static void
finish_untaken (struct run *run, const struct plan_vm *plan,
                struct observer_result *result)
{
  struct fault f = FAULT_INIT;

  fault_set (&f, plan->code != FAULT_NONE ? plan->code : FAULT_USAGE, 0, "%s",
             plan->reason);
  result->state = plan->code != FAULT_NONE ? OBSERVER_FAILED : OBSERVER_SKIPPED;
  result->fault = &f;
  finish (run, result);
}

static void
back_up_one (struct run *run, const struct plan_vm *plan)
{
  struct observer_result result = {
    .vm_id = plan->vm->id,
    .vm_name = plan->vm->name,
    .state = OBSERVER_PLANNED,
  };
  struct vmjob_params params = {
    .site = run->site,
    .plan = plan,
    .full = run->options->full,
    .observer = run->observer,
    .quota = run->quota,
  };
  struct fault f = FAULT_INIT;
  char point[VMJOB_POINT_MAX];
  char note[VMJOB_NOTE_MAX] = "";
  uint64_t begin = stamp_mono_ms ();

  show_plan (run, plan);
  if (!plan->take) {
    finish_untaken (run, plan, &result);
    return;
  }
  if (run->options->dry_run) {
    finish (run, &result);
    return;
  }
  phase_stop (PHASE_PLAN);
  log_context (plan->vm->name);
  if (vmjob_run (&params, &result, point, note, &f) == 0) {
    result.state = OBSERVER_DONE;
    result.point = point;
  }
  else {
    result.state = OBSERVER_FAILED;
    result.fault = &f;
  }
  log_context (NULL);
  result.note = note[0] != '\0' ? note : NULL;
  result.duration_ms = stamp_mono_ms () - begin;
  finish (run, &result);
}

/* clean_options.skip: of a VM of this run, which has done it itself. */
static bool
is_planned (const struct leftover *l, void *opaque)
{
  const struct run *run = opaque;

  for (size_t i = 0; i < run->count; i++) {
    if (strcmp (run->plans[i].vm->id, l->vm_id) == 0)
      return true;
  }
  return false;
}

/* leftover_fn */
static void
on_unneeded (const struct leftover *l, void *opaque)
{
  struct run *run = opaque;

  const char *vm = l->vm_name != NULL ? l->vm_name : l->vm_id;

  if (l->state == LEFTOVER_REMOVED)
    log_info ("%s: %s %s is removed, nothing needs it any more", vm,
              verdict_kind_name (l->kind), l->id);
  if (l->state != LEFTOVER_STAYS)
    return;
  log_warn ("%s: %s %s stays: %s", vm, verdict_kind_name (l->kind), l->id,
            l->next_step);
  run->tally->leftovers++;
}

/* Without snapshot.keep no snapshot of ours is needed on any VM, also not on
   one that no run selects any more. */
static int
remove_unneeded (struct run *run, struct fault *f)
{
  struct clean_options how
      = { .skip = is_planned, .fn = on_unneeded, .opaque = run };
  struct clean_tally tally;

  /* Who wants to stop has the points that were made; the next run does it. */
  if (run->options->settings->snapshot.keep || run->options->dry_run
      || cancel_wanted ())
    return 0;
  return clean_snapshots (run->site, &how, &tally, f);
}

int
backup_run (const struct backup_options *options,
            const struct observer *observer, struct observer_tally *tally,
            struct fault *f)
{
  struct run run = { .options = options, .observer = observer, .tally = tally };
  int rc = check_supported (options->settings, f);

  phase_stop (PHASE_PLAN);
  if (rc == 0)
    rc = site_open (options->settings,
                    options->dry_run ? SITE_MAYBE : SITE_CREATE, &run.site, f);
  if (rc == 0 && !options->dry_run)
    rc = settle_gone (run.site, false, NULL, NULL, f);
  if (rc == 0 && options->settings->snapshot.guard != SETTINGS_GUARD_NONE
      && (run.guard = guard_find (options->settings, run.site->vms, f)) == NULL)
    rc = -1;
  if (rc == 0)
    rc = make_plans (&run, f);
  run.quota = quota_new (options->settings->transfer.bandwidth);
  for (size_t i = 0; rc == 0 && i < run.count; i++) {
    if (cancel_check (f) < 0)
      rc = -1;
    else
      back_up_one (&run, &run.plans[i]);
  }
  if (rc == 0)
    rc = remove_unneeded (&run, f);
  if (run.site != NULL) {
    reap_lost (run.site, NULL);
    tally->leftovers += reap_count_lost (run.site);
  }
  for (size_t i = 0; i < run.count; i++)
    plan_reset (&run.plans[i]);
  free (run.plans);
  quota_free (run.quota);
  site_close (run.site);
  return rc;
}
