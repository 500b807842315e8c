/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "engine/disk.h"
#include "engine/snapshot.h"
#include "engine/task.h"
#include "engine/vm.h"
#include "job/frozen.h"
#include "job/layers.h"
#include "job/plan.h"
#include "job/reap.h"
#include "job/site.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "wire/msg.h"

int
frozen_is_lie (const struct site *site, const char *vm_id,
               const char *description, struct fault *f)
{
  CLEANUP (task_events_free) struct task_events *events = NULL;
  CLEANUP_FREE char *correlation = NULL;
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];

  if (!tag_parse (description, repository, run))
    return 0;
  correlation = xasprintf ("cl-%s-*", run);
  if (task_events_of (site->engine, correlation, &events, f) < 0)
    return -1;
  for (size_t i = 0; i < events->count; i++) {
    const struct task_event *e = &events->items[i];

    if (strcmp (e->vm_id, vm_id) == 0 && snapshot_is_bad_event (e->code))
      return 1;
  }
  return 0;
}

/* Was a point that is listed made from it, by a run that has looked?  1, 0,
   -1. */
static int
is_proven (const struct site *site, const char *vm_id, const char *snapshot_id,
           struct fault *f)
{
  struct point_list points;
  int proven = 0;

  if (point_list (site->place, vm_id, &points, f) < 0)
    return -1;
  for (size_t i = 0; i < points.count; i++) {
    const struct manifest *m = points.points[i].manifest;

    if (m != NULL && strcmp (m->snapshot_id, snapshot_id) == 0)
      proven = 1;
  }
  point_list_reset (&points);
  return proven;
}

/* While the engine makes it, qemu may well write into the volume that will be
   frozen.  1: it can be looked at; 0: it can not; -1. */
static int
wait_made (struct site *site, const char *vm_id, const char *snapshot_id,
           struct fault *f)
{
  CLEANUP (snapshot_free) struct snapshot *s = NULL;
  struct fault why = FAULT_INIT;
  struct fault now = FAULT_INIT;

  if (snapshot_wait (site->engine, vm_id, snapshot_id, "", SNAPSHOT_CREATE_S,
                     &s, &why)
      == 0)
    return 1;
  if (why.code == FAULT_CANCELLED || why.code == FAULT_NET)
    return fault_copy (f, &why);
  if (snapshot_get (site->engine, vm_id, snapshot_id, &s, &now) < 0)
    return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
  if (why.code == FAULT_BUSY)
    return fault_copy (f, &why); /* still locked */
  log_warn ("snapshot %s: nobody looks whether qemu still writes into its "
            "volume: %s",
            snapshot_id, why.text);
  return 0;
}

/* The helper looks before it opens.  What else it says is not our question. */
static int
look_at_disk (struct site *site, struct site_lane *lane, const struct vm *vm,
              const char *snapshot_id, const struct disk *frozen,
              struct fault *f)
{
  struct msg_opened opened = { .layer_count = 0 };
  CLEANUP (layers_free) struct layers *layers = NULL;
  size_t count;
  struct plan_disk disk = {
    .disk = vm_find_disk (vm, frozen->id),
    .domain = frozen->domain_count > 0
                  ? site_domain (site, frozen->domain_ids[0], &count)
                  : NULL,
  };
  int rc;

  if (disk.disk == NULL || !disk.disk->active)
    return 0;
  if (disk.domain == NULL)
    return fault_set (f, FAULT_NOTFOUND, 0, "disk %s is on no storage domain",
                      frozen->alias);
  if (layers_get (site->engine, vm, snapshot_id, NULL, &disk, &layers, f) < 0)
    return fault_prefix (f, "disk %s", frozen->alias);
  rc = reap_open_read (site, lane, vm->id, &layers->open, &opened, f);
  msg_opened_reset (&opened);
  if (rc == 0)
    rc = reap_close (lane, f);
  return rc < 0 ? fault_prefix (f, "disk %s", frozen->alias) : 0;
}

static int
look_at_disks (struct site *site, struct site_lane *lane, const struct vm *vm,
               const char *snapshot_id, struct fault *f)
{
  CLEANUP (disk_list_free) struct disk_list *disks = NULL;

  if (snapshot_disks (site->engine, vm->id, snapshot_id, &disks, f) < 0)
    return -1;
  for (size_t i = 0; i < disks->count; i++) {
    if (look_at_disk (site, lane, vm, snapshot_id, &disks->items[i], f) < 0)
      return -1;
  }
  return 0;
}

static int
look (struct site *site, const struct vm *vm, const char *snapshot_id,
      struct fault *f)
{
  const struct host *host = site_host (site, vm->host_id);
  struct site_lane lane = { .conn = NULL };
  struct fault why = FAULT_INIT;
  int rc;

  if (host == NULL)
    return fault_set (f, FAULT_NOTFOUND, 0, "the VM is %s, on no known host",
                      vm->status);
  if (site_lane_open (site, host, &lane, f) < 0)
    return -1;
  rc = look_at_disks (site, &lane, vm, snapshot_id, f);
  if (site_lane_stop (site, &lane, &why) < 0)
    log_warn ("%s", why.text);
  return rc;
}

int
frozen_check (struct site *site, const char *vm_id, const char *snapshot_id,
              struct fault *f)
{
  CLEANUP (vm_free) struct vm *vm = NULL;
  struct fault why = FAULT_INIT;
  int rc = is_proven (site, vm_id, snapshot_id, f);

  if (rc != 0)
    return rc < 0 ? -1 : 0;
  rc = wait_made (site, vm_id, snapshot_id, f);
  if (rc <= 0)
    return rc;
  if (vm_get (site->engine, vm_id, &vm, &why) == 0
      && (!vm_is_running (vm) || look (site, vm, snapshot_id, &why) == 0))
    return 0;
  if (why.code == FAULT_CANCELLED)
    return fault_copy (f, &why);
  if (why.code == FAULT_BUSY && why.err == ETXTBSY) {
    fault_copy (f, &why);
    return fault_append (f,
                         ": snapshot %s is left in place, because qemu still "
                         "writes into its volume: shut the VM down and start "
                         "it again, then the next backup removes it",
                         snapshot_id);
  }
  log_warn ("snapshot %s: nobody could look whether qemu still writes into its "
            "volume: %s",
            snapshot_id, why.text);
  return 0;
}
