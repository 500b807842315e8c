/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/xmem.h"
#include "engine/cluster.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/ovf.h"
#include "engine/vm.h"
#include "job/flat.h"
#include "job/observer.h"
#include "job/plan.h"
#include "job/restore.h"
#include "job/restore_plan.h"
#include "job/site.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/reader.h"
#include "wire/digest.h"

#define OVF_NAME "vm.ovf"
#define VM_NAME_LENGTH 255

struct making {
  const struct site *site;
  const struct restore_options *options;
  const struct observer *observer;
  struct restore_plan *plan;
};

static const struct cluster *
choose_cluster (struct making *m, struct fault *f)
{
  const char *key = m->options->cluster;
  const struct cluster *c = NULL;
  size_t count = 0;

  if (key != NULL)
    c = site_cluster (m->site, key, &count);
  else if (m->plan->manifest->cluster_id != NULL)
    c = site_cluster (m->site, key = m->plan->manifest->cluster_id, &count);
  if (c == NULL && m->options->cluster == NULL
      && m->plan->manifest->cluster_name != NULL)
    c = site_cluster (m->site, key = m->plan->manifest->cluster_name, &count);
  if (c == NULL)
    fault_set (f, FAULT_NOTFOUND, 0,
               "cluster %s is not in the engine: name one with --cluster",
               key != NULL ? key : "of the VM");
  else if (count > 1) {
    fault_set (f, FAULT_USAGE, 0,
               "%zu clusters are named %s: give the id with --cluster", count,
               key);
    c = NULL;
  }
  return c;
}

static const struct domain *
choose_domain (struct making *m, const struct manifest_disk *disk,
               struct fault *f)
{
  const char *key = m->options->storage != NULL ? m->options->storage
                                                : disk->storage_domain_id;
  size_t count;
  const struct domain *d = site_domain (m->site, key, &count);
  const char *name
      = disk->storage_domain_name != NULL && m->options->storage == NULL
            ? disk->storage_domain_name
            : key;

  if (d == NULL)
    fault_set (f, FAULT_NOTFOUND, 0,
               "storage domain %s is not in the engine: name one with "
               "--storage",
               name);
  else if (count > 1)
    fault_set (f, FAULT_USAGE, 0,
               "%zu storage domains are named %s: give the id with --storage",
               count, key);
  else if (strcmp (d->center_id, m->plan->cluster->center_id) != 0)
    fault_set (f, FAULT_USAGE, 0,
               "storage domain %s is not in the data center of cluster %s: "
               "choose with --storage or --cluster",
               d->name, m->plan->cluster->name);
  else if (!domain_is_active (d))
    fault_set (f, FAULT_BUSY, 0, "storage domain %s is %s, not active", d->name,
               d->status);
  else
    return d;
  return NULL;
}

/* What the engine takes: letters of any script, digits and _-.+ (its rule
   for VM names); it would tell only after all data have been copied. */
static bool
name_is_plain (const char *name)
{
  size_t len = strlen (name);

  for (const unsigned char *p = (const unsigned char *)name; *p != 0; p++) {
    if (*p < 0x80 && !isalnum (*p) && strchr ("_-.+", *p) == NULL)
      return false;
  }
  return len > 0 && len <= VM_NAME_LENGTH;
}

static int
check_name (const struct making *m, struct fault *f)
{
  size_t count;
  const struct vm *other = site_vm (m->site, m->options->as, &count);

  if (!name_is_plain (m->options->as))
    return fault_set (f, FAULT_USAGE, 0,
                      "it is no name for a VM: letters, digits and _-.+ are "
                      "allowed, %d bytes at most",
                      VM_NAME_LENGTH);
  if (other != NULL)
    return fault_set (f, FAULT_USAGE, 0,
                      "a VM named %s exists already (%s): choose another name "
                      "with --as",
                      m->options->as, other->id);
  return 0;
}

/* The configuration as it stands in the point, checked and cleaned. */
static int
read_ovf (struct making *m, struct fault *f)
{
  const struct manifest *manifest = m->plan->manifest;
  CLEANUP_CLOSE int dirfd = place_open_vm (
      m->site->place, m->plan->point->vm_id, m->plan->point->name, f);
  CLEANUP_FREE char *ovf = NULL;
  uint8_t digest[DIGEST_SIZE];
  size_t size;

  if (dirfd < 0)
    return -1;
  ovf = fdio_slurp (dirfd, OVF_NAME, OVF_SIZE_MAX, &size, f);
  if (ovf == NULL) {
    point_damaged (f);
    return fault_prefix (f, "point %s", m->options->point);
  }
  digest_bytes (ovf, size, digest);
  for (size_t i = 0; i < manifest->file_count; i++) {
    if (strcmp (manifest->files[i].name, OVF_NAME) == 0
        && digest_equal (manifest->files[i].digest, digest))
      return ovf_strip (ovf, &m->plan->ovf, f);
  }
  return fault_set (f, FAULT_CORRUPT, 0,
                    "point %s: " OVF_NAME " is not what was backed up",
                    m->options->point);
}

/* Of a thin disk on block storage the size that its image will have.  Capacities
   that vdsm rounds up to 4096 stay in the last cluster; what an old engine rounds
   up adds no more than vdsm's spare tenth. */
static int
measure (struct making *m, struct restore_plan_disk *d, struct fault *f)
{
  CLEANUP (reader_close) struct reader *reader = NULL;
  CLEANUP (flat_free) struct flat *flat = NULL;
  struct flat_params params
      = { .cow = d->target.cow, .version = d->target.qcow2_version };
  uint64_t size = d->from->virtual_size;

  if (d->target.block && d->target.cow) {
    if (reader_open (m->site->place, m->plan->point, d->from->id, &reader, f)
            < 0
        || flat_new (reader, &params, &flat, f) < 0)
      return -1;
    size = flat_size (flat);
  }
  target_measure (&d->target, d->from->virtual_size, size);
  return 0;
}

static void
show (const struct making *m, const struct restore_plan_disk *d)
{
  const struct target *t = &d->target;
  CLEANUP_FREE char *reason
      = xasprintf ("%s, %s, on %s%s%s", t->cow ? "qcow2" : "raw",
                   t->sparse ? "thin" : "preallocated", d->domain->name,
                   t->note[0] != '\0' ? "; " : "", t->note);
  const struct observer_disk shown = {
    .vm_id = m->plan->manifest->vm_id,
    .vm_name = m->options->as,
    .disk_id = d->from->id,
    .alias = d->from->alias,
    .virtual_size = d->from->virtual_size,
    .kind = "restore",
    .reason = reason,
  };

  if (m->observer->disk != NULL)
    m->observer->disk (m->observer->opaque, &shown);
  if (t->note[0] != '\0' && !m->options->dry_run)
    log_info ("disk %s: %s", d->from->alias, reason);
}

static int
plan_disk (struct making *m, struct restore_plan_disk *d, struct fault *f)
{
  d->domain = choose_domain (m, d->from, f);
  if (d->domain == NULL
      || target_choose (d->from, d->domain, m->options->format, &d->target, f)
             < 0
      || measure (m, d, f) < 0)
    return fault_prefix (f, "disk %s", d->from->alias);
  show (m, d);
  return 0;
}

/* All disks that go to one domain, together. */
static int
check_room (const struct restore_plan *plan, struct fault *f)
{
  for (size_t i = 0; i < plan->disk_count; i++) {
    uint64_t room = 0;

    for (size_t j = 0; j < plan->disk_count; j++) {
      if (plan->disks[j].domain == plan->disks[i].domain)
        room += plan->disks[j].target.room;
    }
    if (target_check_room (plan->disks[i].domain, room, f) < 0)
      return -1;
  }
  return 0;
}

static int
plan_disks (struct making *m, struct fault *f)
{
  struct restore_plan *plan = m->plan;

  plan->disks = xcalloc (plan->manifest->disk_count, sizeof *plan->disks);
  plan->disk_count = plan->manifest->disk_count;
  for (size_t i = 0; i < plan->disk_count; i++) {
    plan->disks[i].from = &plan->manifest->disks[i];
    if (plan_disk (m, &plan->disks[i], f) < 0)
      return -1;
  }
  return check_room (plan, f);
}

int
restore_plan_make (const struct site *site,
                   const struct restore_options *options,
                   const struct observer *observer, struct restore_plan *plan,
                   struct fault *f)
{
  struct plan_input input = { .hosts = site->hosts,
                              .clusters = site->clusters,
                              .domains = site->domains };
  struct making m = {
    .site = site, .options = options, .observer = observer, .plan = plan
  };

  *plan = (struct restore_plan){ .disk_count = 0 };
  if (point_find (site->place, options->point, &plan->point, f) < 0)
    return -1;
  plan->manifest = plan->point->manifest;
  plan->point_text
      = xasprintf ("%s@%s", plan->manifest->vm_name, plan->point->name);
  if (check_name (&m, f) < 0 || read_ovf (&m, f) < 0)
    return -1;
  plan->cluster = choose_cluster (&m, f);
  if (plan->cluster == NULL)
    return -1;
  plan->host = plan_host (&input, plan->cluster->center_id, "");
  if (plan->host == NULL)
    return fault_set (f, FAULT_NET, 0,
                      "no host of the data center of cluster %s is up",
                      plan->cluster->name);
  return plan_disks (&m, f);
}

void
restore_plan_reset (struct restore_plan *plan)
{
  free (plan->disks);
  free (plan->ovf);
  free (plan->point_text);
  point_free (plan->point);
  *plan = (struct restore_plan){ .disk_count = 0 };
}
