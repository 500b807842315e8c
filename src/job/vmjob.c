/* SPDX-License-Identifier: Apache-2.0 */
/* One VM.  What was begun is undone in the reverse order, whatever happens:

     lease -> settle -> snapshot (journal first) -> config -> draft -> guard
       for each disk: (base of its template) -> t0 -> map -> stream -> t1
     t1 of the engine -> publish -> release (helpers, guard, snapshot, journal)

   With snapshot.keep the snapshot of a published point stays and the one that
   was kept before is removed instead.  What an increment is built on is asked
   for again when the new snapshot is there: the plan may be hours old.

   The one exception: a snapshot into whose frozen volume somebody still
   writes is left where it is and reported, since removing it would merge a
   volume that qemu holds open. */
#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/disk.h"
#include "engine/host.h"
#include "engine/snapshot.h"
#include "engine/task.h"
#include "engine/vm.h"
#include "host/pool.h"
#include "host/remote.h"
#include "job/base.h"
#include "job/guard.h"
#include "job/identity.h"
#include "job/layers.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/plan.h"
#include "job/reap.h"
#include "job/record.h"
#include "job/settle.h"
#include "job/shot.h"
#include "job/site.h"
#include "job/stream.h"
#include "job/template_store.h"
#include "job/vmjob.h"
#include "job/watch.h"
#include "repo/draft.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/writer.h"

/* Hosts that are left before a disk is opened. */
#define MOVES_MAX 3

/* How a disk of the plan is read. */
struct choice {
  bool since;                   /* from the kept snapshot on, if that works */
  bool increment;               /* it does */
  char reason[PLAN_REASON_MAX]; /* as in the manifest */
};

struct vmjob {
  struct site *site;
  const struct plan_vm *plan;
  const struct host *host; /* where the disks are read: the plan's, until that
                              one is left */
  bool full;
  bool published;
  struct base *base;      /* NULL before the snapshot is there */
  struct choice *choices; /* of each plan disk */
  const struct observer *observer;
  struct quota *quota;
  struct observer_result *result;
  char *note;    /* VMJOB_NOTE_MAX */
  struct vm *vm; /* asked again under the lease */
  struct lease *lease;
  struct shot shot;
  uint64_t last_event;
  struct draft *draft;
  struct manifest *manifest;
  struct layers **layers; /* of each plan disk that is taken, t0 */
  struct point **bases; /* of templates, that a full is put over; NULL: none */
  struct site_lane lanes[STREAM_LANES_MAX];
};

static void
enter (struct vmjob *j, enum phase phase, const char *text)
{
  if (j->observer->phase != NULL)
    j->observer->phase (j->observer->opaque, j->plan->vm->name,
                        phase_name (phase), text);
  log_debug ("vm %s: %s%s%s", j->plan->vm->name, phase_name (phase),
             text[0] != '\0' ? ": " : "", text);
  phase_stop (phase);
}

static void
drop_lanes (struct vmjob *j)
{
  for (unsigned i = 0; i < STREAM_LANES_MAX; i++)
    site_lane_drop (j->site, &j->lanes[i]);
}

/* An orderly end of all helpers.  All is read and proven by then: one that has
   ended otherwise is told, and looked after when the run ends. */
static int
stop_lanes (struct vmjob *j, struct fault *f)
{
  for (unsigned i = 0; i < STREAM_LANES_MAX; i++) {
    struct fault why = FAULT_INIT;

    if (j->lanes[i].conn == NULL
        || site_lane_stop (j->site, &j->lanes[i], &why) == 0)
      continue;
    if (why.code == FAULT_CANCELLED)
      return fault_copy (f, &why);
    log_warn ("after all was read: %s", why.text);
  }
  return 0;
}

/* Is every disk of the VM in the plan, plugged or not as it was there?  One
   that is not would be missing in the point, and nothing would tell. */
static bool
has_planned_disks (const struct vmjob *j)
{
  for (size_t i = 0; i < j->vm->disk_count; i++) {
    const struct vm_disk *d = &j->vm->disks[i];
    const struct vm_disk *planned = vm_find_disk (j->plan->vm, d->disk.id);

    if (planned == NULL || planned->active != d->active)
      return false;
  }
  return true;
}

/* The VM as it is now; it must still be in a state that the plan allows. */
static int
refresh (struct vmjob *j, struct fault *f)
{
  if (vm_get (j->site->engine, j->plan->vm->id, &j->vm, f) < 0)
    return -1;
  if (vm_is_running (j->vm) != vm_is_running (j->plan->vm)
      || strcmp (j->vm->host_id, j->plan->vm->host_id) != 0)
    return fault_set (f, FAULT_BUSY, 0,
                      "it was started, stopped or migrated since the plan: "
                      "try again");
  if (!has_planned_disks (j))
    return fault_set (f, FAULT_BUSY, 0,
                      "a disk was attached, plugged or unplugged since the "
                      "plan: try again");
  if (j->vm->has_illegal_images)
    return fault_set (f, FAULT_BUSY, 0,
                      "it has illegal images since the plan: a merge has "
                      "failed, repair it in the engine first");
  return 0;
}

/* The disks of the plan that are taken; the caller frees the array. */
static const char **
taken_ids (const struct vmjob *j, size_t *count)
{
  const char **ids = xcalloc (j->plan->disk_count, sizeof *ids);

  *count = 0;
  for (size_t i = 0; i < j->plan->disk_count; i++) {
    if (j->plan->disks[i].take)
      ids[(*count)++] = j->plan->disks[i].disk->disk.id;
  }
  return ids;
}

static int
snapshot_phase (struct vmjob *j, struct fault *f)
{
  size_t count;
  CLEANUP_FREE const char **ids = taken_ids (j, &count);
  const struct snapshot *made;

  enter (j, PHASE_SNAPSHOT, "");
  j->shot.vm = j->vm;
  if (shot_take (&j->shot, ids, count, f) < 0)
    return -1;
  made = j->shot.snapshot;
  snprintf (j->manifest->snapshot_id, sizeof j->manifest->snapshot_id, "%s",
            made->id);
  stamp_format (made->date, j->manifest->snapshot_date);
  return 0;
}

static int
guard_phase (struct vmjob *j, struct fault *f)
{
  size_t count;
  CLEANUP_FREE const char **ids = taken_ids (j, &count);

  if (j->site->settings->snapshot.guard == SETTINGS_GUARD_NONE)
    return 0;
  enter (j, PHASE_GUARD, "");
  return shot_guard (&j->shot, ids, count, f);
}

static int
config_phase (struct vmjob *j, struct fault *f)
{
  CLEANUP_FREE char *ovf = NULL;

  enter (j, PHASE_CONFIG, "");
  if (snapshot_get_ovf (j->site->engine, j->vm->id, j->shot.snapshot->id, &ovf,
                        f)
      < 0)
    return -1;
  if (draft_begin (j->site->place, j->lease, j->shot.snapshot->date,
                   j->site->run_id, &j->draft, f)
      < 0)
    return -1;
  return draft_put_text (j->draft, "vm.ovf", ovf, strlen (ovf), f);
}

/* What each disk is built on, now that the snapshot is there. */
static int
choose (struct vmjob *j, struct fault *f)
{
  if (base_get (j->site, j->vm->id, j->full, &j->base, f) < 0)
    return -1;
  for (size_t i = 0; i < j->plan->disk_count; i++) {
    struct choice *c = &j->choices[i];

    c->since = plan_increment (&j->base->facts, &j->plan->disks[i].disk->disk,
                               c->reason);
    c->increment = c->since;
  }
  if (j->base->facts.point == NULL || j->base->facts.point->manifest == NULL)
    return 0;
  return record_removed (j->base->facts.point, j->vm, j->manifest, f);
}

static int
get_layers (struct vmjob *j, size_t index, struct layers **out, struct fault *f)
{
  return layers_get (j->site->engine, j->vm, j->shot.snapshot->id,
                     j->choices[index].since ? j->base->snapshot->id : NULL,
                     &j->plan->disks[index], out, f);
}

/* The choice of a disk whose layers are known. */
static void
settle_choice (const struct vmjob *j, size_t index)
{
  const struct plan_disk *disk = &j->plan->disks[index];
  struct choice *c = &j->choices[index];

  if (c->since && j->layers[index]->open.lower_count == 0) {
    c->increment = false;
    snprintf (c->reason, sizeof c->reason,
              "full: the chain does not contain the volume of the kept "
              "snapshot");
  }
  if (c->increment != disk->increment)
    log_warn ("disk %s: %s; planned was: %s", disk->disk->disk.alias, c->reason,
              disk->reason);
}

/* Go on from another host, if that can be better: the plan may be hours old.
   A VM that runs is read on its own.  -1: with WHY. */
static int
take_other (struct vmjob *j, unsigned *moves, struct fault *why,
            struct fault *f)
{
  if (vm_is_running (j->vm) || ++*moves > MOVES_MAX || !watch_is_of_host (why))
    return fault_copy (f, why);
  if (stream_elsewhere (j->site, j->lanes, STREAM_LANES_MAX, j->vm->id,
                        &j->host, why, f)
      < 0)
    return -1;
  log_warn ("%s; reading from host %s", why->text, j->host->name);
  fault_reset (why);
  return 0;
}

/* A full of a disk that is thin on a template goes over that one's base. */
static int
over_template (struct vmjob *j, size_t index, struct fault *f)
{
  const struct plan_disk *disk = &j->plan->disks[index];
  struct layers *layers = j->layers[index];
  struct choice *c = &j->choices[index];
  struct template_store store = {
    .site = j->site,
    .host = &j->host,
    .vm = j->vm,
    .disk = disk,
    .layers = layers,
    .quota = j->quota,
    .observer = j->observer,
    .result = j->result,
    .lanes = j->lanes,
  };
  char why[PLAN_REASON_MAX] = "";
  struct fault fault = FAULT_INIT;
  unsigned moves = 0;

  if (c->increment || !layers_on_template (layers))
    return 0;
  while (template_store_get (&store, &j->bases[index], why, &fault) < 0) {
    if (take_other (j, &moves, &fault, f) < 0)
      return -1;
  }
  if (j->bases[index] != NULL) {
    layers_cut_template (layers);
    return 0;
  }
  log_warn ("disk %s: it is stored without its template's base: %s",
            disk->disk->disk.alias, why);
  snprintf (c->reason + strlen (c->reason),
            sizeof c->reason - strlen (c->reason),
            ", without its template's base: %s", why);
  return 0;
}

/* Prove and open the layers of one disk on lane 0. */
static int
open_layers (struct vmjob *j, const struct layers *layers,
             struct msg_opened *opened, struct fault *f)
{
  struct site_lane *lane = &j->lanes[0];

  if (lane->remote == NULL && site_lane_open (j->site, j->host, lane, f) < 0)
    return -1;
  phase_stop (PHASE_T0);
  if (reap_open_read (j->site, lane, j->vm->id, &layers->open, opened, f) == 0)
    return layers_check (layers, opened, f);
  /* A process that writes into a frozen volume: the snapshot is a lie. */
  if (f->code == FAULT_BUSY && f->err == ETXTBSY)
    j->shot.hold = true;
  return site_explain (j->site, j->host, f);
}

static int
t0_phase (struct vmjob *j, const char *alias, const struct layers *layers,
          struct msg_opened *opened, struct fault *f)
{
  struct fault why = FAULT_INIT;
  unsigned moves = 0;

  enter (j, PHASE_T0, alias);
  while (open_layers (j, layers, opened, &why) < 0) {
    if (take_other (j, &moves, &why, f) < 0)
      return -1;
  }
  return 0;
}

static int
map_phase (struct vmjob *j, const char *alias, struct remote_map *map,
           struct fault *f)
{
  enter (j, PHASE_MAP, alias);
  if (remote_map (j->lanes[0].remote, map, f) < 0)
    return -1;
  return place_check_room (j->site->place, map->data_bytes, f);
}

static int
t1_phase (struct vmjob *j, const char *alias, const char *identity,
          struct fault *f)
{
  CLEANUP_FREE char *now = NULL;
  char words[IDENTITY_WORDS_MAX] = "";
  struct fault why = FAULT_INIT;

  enter (j, PHASE_T1, alias);
  if (remote_identify (j->lanes[0].remote, &now, &why) == 0
      && strcmp (now, identity) == 0)
    return 0;
  if (why.code == FAULT_CANCELLED || why.code == FAULT_IO
      || why.code == FAULT_REMOTE || !remote_alive (j->lanes[0].remote))
    return fault_copy (f, &why);
  if (why.code == FAULT_BUSY) {
    fault_copy (f, &why);
    fault_prefix (f, "its layers cannot be proven again after they were read");
    return fault_append (f, "; what was read is discarded, try again");
  }
  /* What was right at t0 and is not any more has been changed. */
  fault_set (
      f, FAULT_BUSY, 0,
      "its layers changed while they were read (a snapshot was removed "
      "or restored, or the disk was moved or removed): what was read is discarded, "
      "try again");
  if (now != NULL)
    identity_differs (identity, now, words);
  if (why.code != FAULT_NONE || words[0] != '\0')
    fault_append (f, " (%.400s)", words[0] != '\0' ? words : why.text);
  return -1;
}

/* The disk at the newest point, while the snapshot of that is there. */
static const struct manifest_disk *
saved_before (const struct vmjob *j, const struct plan_disk *disk)
{
  const struct plan_base *b = &j->base->facts;

  if (b->snapshot == NULL || b->damaged)
    return NULL;
  return manifest_find_disk (b->point->manifest, disk->disk->disk.id);
}

/* Begin the image: over a point, over a template's base, or alone. */
static int
add_disk (struct vmjob *j, size_t index, uint64_t size, struct writer **writer,
          struct fault *f)
{
  const char *id = j->plan->disks[index].disk->disk.id;

  if (j->bases[index] != NULL)
    return draft_add_disk_over (j->draft, id, size, j->bases[index], writer, f);
  return draft_add_disk (
      j->draft, id, size,
      j->choices[index].increment ? j->base->facts.point->name : NULL, writer,
      f);
}

/* Everything of one disk but its opening: map, stream, t1, the end of the
   image. */
static int
read_disk (struct vmjob *j, size_t index, const struct msg_opened *opened,
           struct remote_map *map, struct fault *f)
{
  const struct plan_disk *disk = &j->plan->disks[index];
  const struct layers *layers = j->layers[index];
  struct observer_progress progress = {
    .vm_name = j->plan->vm->name,
    .disk_id = disk->disk->disk.id,
    .alias = disk->disk->disk.alias,
    .virtual_size = opened->virtual_size,
  };
  struct stream stream = {
    .site = j->site,
    .host = j->host,
    .domain = disk->domain,
    .vm_id = j->vm->id,
    .open = &layers->open,
    .identity = opened->identity,
    .map = map,
    .virtual_size = opened->virtual_size,
    .quota = j->quota,
    .observer = j->observer,
    .progress = &progress,
    .lanes = j->lanes,
    .lane_count = j->site->settings->transfer.streams,
  };
  struct writer_totals totals;
  int rc;

  if (stream.lane_count > STREAM_LANES_MAX)
    stream.lane_count = STREAM_LANES_MAX;
  if (map_phase (j, progress.alias, map, f) < 0
      || add_disk (j, index, opened->virtual_size, &stream.writer, f) < 0)
    return -1;
  enter (j, PHASE_STREAM, disk->disk->disk.alias);
  rc = stream_run (&stream, f);
  j->host = stream.host;
  if (rc < 0 || t1_phase (j, progress.alias, opened->identity, f) < 0
      || writer_finish (stream.writer, &totals, f) < 0)
    return -1;
  j->result->bytes_virtual += opened->virtual_size;
  j->result->bytes_data += totals.data;
  j->result->bytes_wire += progress.bytes_wire;
  j->result->disk_count++;
  return record_disk (disk, j->choices[index].reason, layers->volume_id,
                      opened->virtual_size, saved_before (j, disk), j->manifest,
                      f);
}

static int
disk_phases (struct vmjob *j, size_t index, struct fault *f)
{
  const struct plan_disk *disk = &j->plan->disks[index];
  struct msg_opened opened = { .layer_count = 0 };
  struct remote_map map = { .span_count = 0 };
  int rc = get_layers (j, index, &j->layers[index], f);

  if (rc == 0) {
    settle_choice (j, index);
    rc = over_template (j, index, f);
  }
  if (rc == 0)
    rc = t0_phase (j, disk->disk->disk.alias, j->layers[index], &opened, f);
  if (rc == 0 && j->bases[index] != NULL)
    rc = template_store_check (j->bases[index], &opened, f);
  if (rc == 0)
    rc = read_disk (j, index, &opened, &map, f);
  if (rc == 0)
    rc = stream_close (j->site, j->lanes, STREAM_LANES_MAX, f);
  msg_opened_reset (&opened);
  remote_map_reset (&map);
  if (rc < 0)
    return fault_prefix (f, "disk %s", disk->disk->disk.alias);
  return 0;
}

/* What happened to the VM in the engine while its disks were read. */
static int
check_events (struct vmjob *j, struct fault *f)
{
  /* Removal and preview of snapshots, removal of disk snapshots, moves,
     removed disks, reduced and sparsified ones. */
  static const unsigned forbidden[]
      = { 342, 46, 1190, 373, 375, 2008, 2010, 2011, 2014, 382, 1325, 0 };
  CLEANUP (task_events_free) struct task_events *events = NULL;
  const struct task_event *bad;

  if (task_events_since (j->site->engine, j->last_event, j->vm->id, &events, f)
      < 0)
    return -1;
  bad = task_find_event (events, forbidden);
  if (bad != NULL)
    return fault_set (f, FAULT_BUSY, 0,
                      "while its disks were read the engine did this: %s "
                      "(event %u); what was read is discarded, try again",
                      bad->description, bad->code);
  return 0;
}

/* The chains in the engine are those of t0. */
static int
check_chains (struct vmjob *j, struct fault *f)
{
  for (size_t i = 0; i < j->plan->disk_count; i++) {
    const struct plan_disk *disk = &j->plan->disks[i];
    CLEANUP (layers_free) struct layers *now = NULL;

    if (!disk->take)
      continue;
    if (get_layers (j, i, &now, f) < 0)
      return -1;
    if (strcmp (now->text, j->layers[i]->text) != 0)
      return fault_set (f, FAULT_BUSY, 0,
                        "disk %s: its chain in the engine changed while it "
                        "was read: what was read is discarded, try again",
                        disk->disk->disk.alias);
  }
  return 0;
}

static int
publish_phase (struct vmjob *j, struct fault *f)
{
  j->manifest->event = j->last_event;
  enter (j, PHASE_PUBLISH, draft_point (j->draft));
  if (lease_check (j->lease, f) < 0
      || draft_publish (j->draft, j->manifest, f) < 0)
    return -1;
  j->published = true;
  phase_stop (PHASE_PUBLISH);
  return 0;
}

/* A host that is not up any more or cannot be reached is told before anything is
   changed; the connection waits in the pool. */
static int
reach_host (struct vmjob *j, struct fault *f)
{
  struct conn *conn = NULL;
  struct fault why = FAULT_INIT;
  unsigned moves = 0;

  while (watch_host (j->site, j->host, &why) < 0
         || site_connect (j->site, j->host, &conn, &why) < 0) {
    if (take_other (j, &moves, &why, f) == 0)
      continue;
    if (f->code == FAULT_NET && vm_is_running (j->vm))
      fault_append (f, "; the VM runs there: try again when the host is up");
    return -1;
  }
  pool_put (j->site->pool, conn);
  return 0;
}

static int
run_phases (struct vmjob *j, struct fault *f)
{
  if (refresh (j, f) < 0
      || draft_clean (j->site->place, j->lease, j->site->run_id, NULL, f) < 0
      || settle_vm (j->site, j->vm, f) < 0
      || reap_vm (j->site, j->vm->id, f) < 0
      || place_check_room (j->site->place, 0, f) < 0
      || (j->site->settings->snapshot.guard != SETTINGS_GUARD_NONE
          && guard_check (j->site, j->vm, f) < 0)
      || task_last_event_id (j->site->engine, &j->last_event, f) < 0
      || record_vm (j->site, j->plan, j->vm, j->manifest, f) < 0
      || reach_host (j, f) < 0 || snapshot_phase (j, f) < 0
      || config_phase (j, f) < 0 || guard_phase (j, f) < 0 || choose (j, f) < 0)
    return -1;
  for (size_t i = 0; i < j->plan->disk_count; i++) {
    if (!j->plan->disks[i].take)
      continue;
    if (cancel_check (f) < 0 || disk_phases (j, i, f) < 0)
      return -1;
  }
  j->shot.proven = true;
  if (stop_lanes (j, f) < 0 || check_chains (j, f) < 0
      || check_events (j, f) < 0)
    return -1;
  return publish_phase (j, f);
}

/* Whatever happened: nothing of ours stays, or it is told.  Not stopped by
   the user's wish to stop. */
static void
release (struct vmjob *j)
{
  struct fault f = FAULT_INIT;

  enter (j, PHASE_RELEASE, "");
  cancel_shield ();
  /* Logical volumes go before the snapshot that they are of. */
  if (j->lanes[0].intention != 0)
    stream_leave (j->site, j->lanes, STREAM_LANES_MAX);
  else
    drop_lanes (j);
  if (j->shot.vm != NULL
      && shot_release (&j->shot, j->published, j->note, &f) < 0) {
    if (j->note[0] != '\0')
      log_warn ("%s", f.text);
    else
      snprintf (j->note, VMJOB_NOTE_MAX,
                "%s snapshot may be left behind (%.350s); the next backup of "
                "this VM removes it",
                j->published && j->site->settings->snapshot.keep
                        && !j->site->settings->snapshot.differential
                    ? "its previous"
                    : "its",
                f.text);
  }
  cancel_unshield ();
}

static void
job_free (struct vmjob *j)
{
  for (size_t i = 0; i < j->plan->disk_count; i++) {
    layers_free (j->layers[i]);
    point_free (j->bases[i]);
  }
  free (j->layers);
  free (j->bases);
  free (j->choices);
  base_free (j->base);
  manifest_free (j->manifest);
  draft_free (j->draft);
  shot_reset (&j->shot);
  lease_drop (j->lease);
  vm_free (j->vm);
}

int
vmjob_run (const struct vmjob_params *params, struct observer_result *result,
           char point[static VMJOB_POINT_MAX], char note[static VMJOB_NOTE_MAX],
           struct fault *f)
{
  struct vmjob j = {
    .site = params->site,
    .plan = params->plan,
    .host = params->plan->host,
    .full = params->full,
    .observer = params->observer,
    .quota = params->quota,
    .result = result,
    .note = note,
    .manifest = manifest_new (),
    .layers = xcalloc (params->plan->disk_count, sizeof *j.layers),
    .bases = xcalloc (params->plan->disk_count, sizeof *j.bases),
    .choices = xcalloc (params->plan->disk_count, sizeof *j.choices),
  };
  int rc
      = lease_take (j.site->place, j.plan->vm->id, j.site->run_id, &j.lease, f);

  note[0] = '\0';
  if (rc == 0) {
    j.shot = (struct shot){ .site = j.site, .lease = j.lease };
    rc = run_phases (&j, f);
    if (rc < 0 && f->err == ENOSPC)
      fault_append (f, "; make room in repository %s",
                    place_path (j.site->place));
    if (rc < 0 && j.draft != NULL)
      draft_abort (j.draft);
    release (&j);
  }
  if (rc == 0)
    snprintf (point, VMJOB_POINT_MAX, "%s@%s", j.plan->vm->name,
              draft_point (j.draft));
  job_free (&j);
  return rc;
}
