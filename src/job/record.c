/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/login.h"
#include "engine/vm.h"
#include "job/plan.h"
#include "job/record.h"
#include "job/site.h"
#include "repo/manifest.h"
#include "repo/point.h"

static int
record_nics (const struct vm *vm, struct manifest *m, struct fault *f)
{
  for (size_t i = 0; i < vm->nic_count; i++) {
    const struct vm_nic *nic = &vm->nics[i];
    struct manifest_nic *out = manifest_add_nic (m, f);

    if (out == NULL)
      return -1;
    memcpy (out->id, nic->id, sizeof out->id);
    manifest_set (&out->name, nic->name);
    manifest_set (&out->mac, nic->mac);
    manifest_set (&out->interface, nic->interface);
    if (nic->profile_id[0] != '\0')
      manifest_set (&out->profile_id, nic->profile_id);
    out->plugged = nic->plugged;
    out->linked = nic->linked;
  }
  return 0;
}

static int
record_skipped (const struct plan_vm *plan, struct manifest *m, struct fault *f)
{
  for (size_t i = 0; i < plan->disk_count; i++) {
    const struct plan_disk *d = &plan->disks[i];
    struct manifest_skipped *out;

    if (d->take)
      continue;
    out = manifest_add_skipped (m, f);
    if (out == NULL)
      return -1;
    memcpy (out->id, d->disk->disk.id, sizeof out->id);
    manifest_set (&out->alias, d->disk->disk.alias);
    manifest_set (&out->reason, d->reason);
  }
  return 0;
}

int
record_vm (const struct site *site, const struct plan_vm *plan,
           const struct vm *vm, struct manifest *m, struct fault *f)
{
  size_t count;
  const struct cluster *cluster = site_cluster (site, vm->cluster_id, &count);
  const struct login_about *about = login_about (site->engine);

  memcpy (m->vm_id, vm->id, sizeof m->vm_id);
  manifest_set (&m->vm_name, vm->name);
  manifest_set (&m->run_id, site->run_id);
  manifest_set (&m->engine_url, site->settings->engine.url);
  if (about->instance_id[0] != '\0')
    manifest_set (&m->engine_id, about->instance_id);
  manifest_set (&m->cluster_id, vm->cluster_id);
  if (cluster != NULL)
    manifest_set (&m->cluster_name, cluster->name);
  if (vm_is_running (vm) && plan->host != NULL) {
    manifest_set (&m->host_id, plan->host->id);
    manifest_set (&m->host_name, plan->host->name);
  }
  m->consistency = vm_is_running (vm) ? MANIFEST_CRASH : MANIFEST_STOPPED;
  for (size_t i = 0; i < vm->tag_count; i++) {
    if (manifest_add_tag (m, vm->tags[i], f) < 0)
      return -1;
  }
  if (record_nics (vm, m, f) < 0)
    return -1;
  return record_skipped (plan, m, f);
}

int
record_removed (const struct point *before, const struct vm *vm,
                struct manifest *m, struct fault *f)
{
  for (size_t i = 0; i < before->manifest->disk_count; i++) {
    const struct manifest_disk *d = &before->manifest->disks[i];
    CLEANUP_FREE char *reason = NULL;
    struct manifest_skipped *out;

    if (vm_find_disk (vm, d->id) != NULL)
      continue;
    out = manifest_add_skipped (m, f);
    if (out == NULL)
      return -1;
    reason
        = xasprintf ("not attached any more, it is in point %s", before->name);
    memcpy (out->id, d->id, sizeof out->id);
    manifest_set (&out->alias, d->alias);
    manifest_set (&out->reason, reason);
  }
  return 0;
}

int
record_disk (const struct plan_disk *plan, const char *reason,
             const char *volume_id, uint64_t virtual_size,
             const struct manifest_disk *before, struct manifest *m,
             struct fault *f)
{
  const struct vm_disk *d = plan->disk;
  struct manifest_disk *out = manifest_add_disk (m, f);

  if (out == NULL)
    return -1;
  memcpy (out->id, d->disk.id, sizeof out->id);
  out->kind = MANIFEST_FULL;
  manifest_set (&out->reason, reason);
  manifest_set (&out->alias, d->disk.alias);
  manifest_set (&out->description, d->disk.description);
  manifest_set (&out->interface, d->interface);
  out->bootable = d->bootable;
  out->active = d->active;
  out->read_only = d->read_only;
  out->wipe_after_delete = d->disk.wipe_after_delete;
  out->pass_discard = d->pass_discard;
  out->format = d->disk.format == DISK_FORMAT_RAW ? MANIFEST_RAW : MANIFEST_COW;
  out->sparse = d->disk.sparse;
  if (before != NULL) {
    out->format = before->format;
    out->sparse = before->sparse;
  }
  out->virtual_size = virtual_size;
  out->provisioned_size = d->disk.provisioned_size;
  memcpy (out->storage_domain_id, plan->domain->id,
          sizeof out->storage_domain_id);
  manifest_set (&out->storage_domain_name, plan->domain->name);
  snprintf (out->volume_id, sizeof out->volume_id, "%s", volume_id);
  return 0;
}
