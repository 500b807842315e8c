/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xmem.h"
#include "engine/cluster.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "job/plan.h"
#include "job/tag.h"
#include "job/volgroup.h"
#include "repo/manifest.h"
#include "repo/point.h"
#include "repo/reader.h"

static const struct domain *
find_domain (const struct domain_list *list, const char *id)
{
  for (size_t i = 0; i < list->count; i++) {
    if (strcmp (list->items[i].id, id) == 0)
      return &list->items[i];
  }
  return NULL;
}

const struct host *
plan_host (const struct plan_input *input, const char *center_id,
           const char *prefer_id)
{
  const struct host *found[2] = { NULL, NULL }; /* not SPM, SPM */
  size_t count = input->hosts->count;

  for (size_t i = 0; i < count; i++) {
    const struct host *h = &input->hosts->items[(i + input->turn) % count];

    if (!host_is_up (h)
        || strcmp (cluster_center (input->clusters, h->cluster_id), center_id)
               != 0)
      continue;
    if (prefer_id[0] != '\0' && strcmp (h->id, prefer_id) == 0)
      return h;
    if (found[h->is_spm] == NULL)
      found[h->is_spm] = h;
  }
  return found[0] != NULL ? found[0] : found[1];
}

/* A snapshot of a disk that is attached to a second VM shows under the disk's
   own id; the engine may name a snapshot for ordinary disks too. */
static bool
is_of_another (const struct plan_input *input, const struct vm *vm,
               const struct vm_disk *d)
{
  if (d->snapshot_id[0] == '\0')
    return false;
  for (size_t i = 0; i < input->vms->count; i++) {
    const struct vm *other = &input->vms->items[i];

    /* The guard VM has no disk of its own. */
    if (other != input->guard && strcmp (other->id, vm->id) != 0
        && vm_find_disk (other, d->disk.id) != NULL)
      return true;
  }
  return false;
}

/* Why this disk is left out; "" when it is taken. */
static void
skip_reason (const struct plan_input *input, const struct vm *vm,
             const struct vm_disk *d, const struct domain *domain,
             char out[static PLAN_REASON_MAX])
{
  const char *text = disk_skip_reason (&d->disk);

  out[0] = '\0';
  if (text != NULL)
    snprintf (out, PLAN_REASON_MAX, "%s", text);
  else if (is_of_another (input, vm, d))
    snprintf (out, PLAN_REASON_MAX, "a snapshot of another VM's disk");
  else if (vm_is_running (vm) && !d->active)
    snprintf (out, PLAN_REASON_MAX,
              "not plugged while the VM runs: it has no part in the snapshot");
  else if (strcmp (d->disk.status, "illegal") == 0)
    snprintf (out, PLAN_REASON_MAX, "its status is illegal in the engine");
  else if (domain == NULL)
    snprintf (out, PLAN_REASON_MAX, "its storage domain is not known");
  else if (!domain_is_active (domain))
    snprintf (out, PLAN_REASON_MAX, "storage domain %s is %s", domain->name,
              domain->status[0] != '\0' ? domain->status : "not attached");
  else if (volgroup_refusal (domain) != NULL)
    snprintf (out, PLAN_REASON_MAX, "storage domain %s (%s): %s", domain->name,
              domain_kind_name (domain->kind), volgroup_refusal (domain));
}

static bool
is_ours (const struct plan_base *base)
{
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];

  return tag_parse (base->snapshot->description, repository, run)
         && strcmp (repository, base->repository_id) == 0;
}

const struct point *
plan_point (const struct point_list *points, bool differential)
{
  if (!differential)
    return points->count > 0 ? &points->points[0] : NULL;
  for (size_t i = 0; i < points->count; i++) {
    const struct manifest *m = points->points[i].manifest;

    if (m != NULL && m->kind == MANIFEST_FULL)
      return &points->points[i];
  }
  return NULL;
}

/* The words for BASE's point. */
static const char *
pick (const struct plan_base *base, const char *last, const char *full)
{
  return base->differential ? full : last;
}

/* Why nothing of the VM can be built on the newest point; NULL: it can. */
static const char *
refuse_point (const struct plan_base *base)
{
  const char *engine_id;

  if (base->full)
    return "asked for";
  if (base->point == NULL)
    return pick (base, "no point yet", "no full to build on");
  if (!base->keep)
    return "no snapshot is kept to build on";
  if (base->damaged)
    return pick (base, "the last point is damaged", "the last full is damaged");
  engine_id = base->point->manifest->engine_id;
  if (engine_id != NULL && base->engine_id[0] != '\0'
      && strcmp (engine_id, base->engine_id) != 0)
    return pick (base, "the last point is of another engine",
                 "the last full is of another engine");
  if (base->depth >= READER_DEPTH_MAX)
    return "the last point is built on too many others";
  return NULL;
}

static const char *
refuse_snapshot (const struct plan_base *base)
{
  const struct snapshot *s = base->snapshot;

  if (s == NULL || base->disks == NULL)
    return "kept snapshot is gone";
  if (strcmp (s->type, "preview") == 0 || strcmp (s->status, "in_preview") == 0)
    return "kept snapshot is in preview";
  if (strcmp (s->type, "regular") != 0)
    return "kept snapshot is not a regular one any more";
  if (strcmp (s->status, "ok") != 0)
    return "kept snapshot is locked";
  if (!is_ours (base))
    return "kept snapshot does not carry our mark any more";
  if (base->merges == PLAN_MERGES_FAILED)
    return pick (base, "a merge has failed since the last point",
                 "a merge has failed since the last full");
  if (base->merges == PLAN_MERGES_UNKNOWN)
    return pick (base,
                 "the engine's events since the last point are not all there",
                 "the engine's events since the last full are not all there");
  return NULL;
}

static const char *
refuse_disk (const struct plan_base *base, const struct disk *disk)
{
  const struct manifest_disk *saved
      = manifest_find_disk (base->point->manifest, disk->id);
  const struct disk *listed = NULL;

  for (size_t i = 0; i < base->disks->count; i++) {
    if (strcmp (base->disks->items[i].id, disk->id) == 0)
      listed = &base->disks->items[i];
  }
  if (saved == NULL || strcmp (saved->id, disk->id) != 0)
    return pick (base, "the last point does not have it",
                 "the last full does not have it");
  if (listed == NULL || listed->volume_id[0] == '\0')
    return "kept snapshot does not list the disk";
  if (strcmp (listed->status, "illegal") == 0)
    return "kept snapshot has illegal images";
  /* Both as the engine says: vdsm may have made the volume larger. */
  if (disk->provisioned_size < saved->provisioned_size)
    return "the disk has become smaller";
  return NULL;
}

bool
plan_increment (const struct plan_base *base, const struct disk *disk,
                char reason[static PLAN_REASON_MAX])
{
  const char *why = refuse_point (base);

  if (why == NULL)
    why = refuse_snapshot (base);
  if (why == NULL)
    why = refuse_disk (base, disk);
  if (why != NULL)
    snprintf (reason, PLAN_REASON_MAX, "full: %s", why);
  else
    snprintf (reason, PLAN_REASON_MAX, "%s on %s",
              pick (base, "increment", "differential"), base->point->name);
  return why == NULL;
}

static void
plan_one_disk (const struct plan_input *input, const struct plan_base *base,
               const struct vm *vm, struct plan_disk *out)
{
  const struct disk *disk = &out->disk->disk;

  if (disk->domain_count > 0)
    out->domain = find_domain (input->domains, disk->domain_ids[0]);
  skip_reason (input, vm, out->disk, out->domain, out->reason);
  if (out->reason[0] != '\0')
    return;
  out->take = true;
  out->increment = plan_increment (base, disk, out->reason);
}

__attribute__ ((format (printf, 3, 4))) static void
refuse (struct plan_vm *plan, enum fault_code code, const char *format, ...)
{
  va_list ap;

  plan->take = false;
  plan->code = code;
  va_start (ap, format);
  vsnprintf (plan->reason, sizeof plan->reason, format, ap);
  va_end (ap);
}

/* States in which the engine takes a snapshot. */
static bool
status_allows (const char *status)
{
  return strcmp (status, "up") == 0 || strcmp (status, "down") == 0
         || strcmp (status, "paused") == 0;
}

static void
check_vm (const struct plan_input *input, const struct vm *vm,
          struct plan_vm *plan)
{
  const char *center = cluster_center (input->clusters, vm->cluster_id);

  plan->take = true;
  if (vm->hosted_engine)
    refuse (plan, FAULT_NONE, "%s", "it is the engine's own VM");
  else if (input->guard != NULL && strcmp (vm->id, input->guard->id) == 0)
    refuse (plan, FAULT_NONE, "%s", "it is the guard VM (snapshot.guard_vm)");
  else if (!status_allows (vm->status))
    refuse (plan, FAULT_BUSY,
            "its status is %s: a snapshot needs up, paused or down",
            vm->status);
  else if (vm->has_illegal_images)
    refuse (plan, FAULT_BUSY, "%s",
            "it has illegal images: a merge has failed, repair it in the "
            "engine first");
  else if (plan->take_count == 0)
    refuse (plan, FAULT_NONE, "%s", "it has no disk that can be backed up");
  else if (input->guard != NULL
           && strcmp (
                  cluster_center (input->clusters, input->guard->cluster_id),
                  center)
                  != 0)
    refuse (plan, FAULT_CONF,
            "it is in another data center than the guard VM %s: back it up "
            "by a configuration with a guard VM there",
            input->guard->name);
  if (!plan->take)
    return;
  for (size_t i = 0; i < plan->disk_count; i++) {
    if (plan->disks[i].take
        && strcmp (plan->disks[i].disk->disk.status, "ok") != 0) {
      refuse (plan, FAULT_BUSY,
              "disk %s is locked: another operation runs on it, try again "
              "later",
              plan->disks[i].disk->disk.alias);
      return;
    }
  }
  plan->host = plan_host (input, center, vm->host_id);
  if (plan->host == NULL)
    refuse (plan, FAULT_NET, "%s", "no host of its data center is up");
  else if (vm_is_running (vm) && vm->host_id[0] != '\0'
           && strcmp (plan->host->id, vm->host_id) != 0)
    refuse (plan, FAULT_NET, "%s", "its host is not up in the engine");
}

void
plan_make (const struct plan_input *input, const struct plan_base *base,
           const struct vm *vm, struct plan_vm *plan)
{
  *plan = (struct plan_vm){ .vm = vm, .disk_count = vm->disk_count };
  plan->disks = xcalloc (vm->disk_count, sizeof *plan->disks);
  for (size_t i = 0; i < vm->disk_count; i++) {
    plan->disks[i].disk = &vm->disks[i];
    plan_one_disk (input, base, vm, &plan->disks[i]);
    plan->take_count += plan->disks[i].take;
  }
  check_vm (input, vm, plan);
}

void
plan_reset (struct plan_vm *plan)
{
  free (plan->disks);
  *plan = (struct plan_vm){ .take = false };
}
