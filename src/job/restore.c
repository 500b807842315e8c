/* SPDX-License-Identifier: Apache-2.0 */
/* A point as a new VM.

     plan     where: cluster, domains, host; nothing is changed
     create   one floating disk each, ids chosen by us, journaled before
     prove, write, verify    each disk (push.c), one helper
     vm       from the cleaned configuration, under a name that only says
              which run made it
     attach   explicitly, each disk as it was
     release  its final name; helpers gone, journal settled

   A VM that carries the wanted name is therefore always a whole one.  Until
   then a failure removes the VM and the disks again, but a disk only after
   its host has confirmed that no helper has it open. */
#include <config.h>

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/ovf.h"
#include "engine/vm.h"
#include "host/remote.h"
#include "job/journal.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/plan.h"
#include "job/push.h"
#include "job/quota.h"
#include "job/restore.h"
#include "job/settle.h"
#include "job/site.h"
#include "job/undo.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/reader.h"
#include "wire/digest.h"

#define OVF_NAME "vm.ovf"
#define VM_NAME_LENGTH 255

struct target {
  const struct manifest_disk *from;
  const struct domain *domain;
  struct disk *disk; /* as the engine made it */
  char id[UUID_SIZE];
  unsigned intention; /* 0: nothing was asked for */
};

struct restore {
  const struct restore_options *options;
  const struct observer *observer;
  struct site *site;
  struct point *point;
  char *point_text;                /* VM@STAMP, whatever the user typed */
  const struct manifest *manifest; /* of the point */
  char *ovf;                       /* cleaned for a new VM */
  const struct cluster *cluster;
  const struct host *host;
  struct lease *lease;
  char lease_id[UUID_SIZE]; /* names this restore in lease and journal */
  struct target *targets;
  struct site_lane lane;
  struct quota *quota;
  bool has_opened; /* a helper was asked to open a disk, and may have it */
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

static const struct cluster *
choose_cluster (struct restore *r, struct fault *f)
{
  const char *key = r->options->cluster;
  const struct cluster *c = NULL;
  size_t count = 0;

  if (key != NULL)
    c = site_cluster (r->site, key, &count);
  else if (r->manifest->cluster_id != NULL)
    c = site_cluster (r->site, key = r->manifest->cluster_id, &count);
  if (c == NULL && r->options->cluster == NULL
      && r->manifest->cluster_name != NULL)
    c = site_cluster (r->site, key = r->manifest->cluster_name, &count);
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
choose_domain (struct restore *r, const struct manifest_disk *disk,
               struct fault *f)
{
  const char *key = r->options->storage != NULL ? r->options->storage
                                                : disk->storage_domain_id;
  size_t count;
  const struct domain *d = site_domain (r->site, key, &count);
  const char *name
      = disk->storage_domain_name != NULL && r->options->storage == NULL
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
  else if (strcmp (d->center_id, r->cluster->center_id) != 0)
    fault_set (f, FAULT_USAGE, 0,
               "storage domain %s is not in the data center of cluster %s: "
               "choose with --storage or --cluster",
               d->name, r->cluster->name);
  else if (!domain_is_active (d))
    fault_set (f, FAULT_BUSY, 0, "storage domain %s is %s, not active", d->name,
               d->status);
  else if (!domain_is_file (d) || d->is_backup)
    fault_set (f, FAULT_USAGE, 0,
               "storage domain %s (%s%s) is not supported as a target", d->name,
               domain_kind_name (d->kind), d->is_backup ? ", backup" : "");
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
check_name (const struct restore *r, struct fault *f)
{
  size_t count;
  const struct vm *other = site_vm (r->site, r->options->as, &count);

  if (!name_is_plain (r->options->as))
    return fault_set (f, FAULT_USAGE, 0,
                      "it is no name for a VM: letters, digits and _-.+ are "
                      "allowed, %d bytes at most",
                      VM_NAME_LENGTH);
  if (other != NULL)
    return fault_set (f, FAULT_USAGE, 0,
                      "a VM named %s exists already (%s): choose another name "
                      "with --as",
                      r->options->as, other->id);
  return 0;
}

/* The configuration as it stands in the point, checked and cleaned. */
static int
read_ovf (struct restore *r, struct fault *f)
{
  const struct manifest *m = r->manifest;
  CLEANUP_CLOSE int dirfd
      = place_open_vm (r->site->place, r->point->vm_id, r->point->name, f);
  CLEANUP_FREE char *ovf = NULL;
  uint8_t digest[DIGEST_SIZE];
  size_t size;

  if (dirfd < 0)
    return -1;
  ovf = fdio_slurp (dirfd, OVF_NAME, OVF_SIZE_MAX, &size, f);
  if (ovf == NULL) {
    point_damaged (f);
    return fault_prefix (f, "point %s", r->options->point);
  }
  digest_bytes (ovf, size, digest);
  for (size_t i = 0; i < m->file_count; i++) {
    if (strcmp (m->files[i].name, OVF_NAME) == 0
        && digest_equal (m->files[i].digest, digest))
      return ovf_strip (ovf, &r->ovf, f);
  }
  return fault_set (f, FAULT_CORRUPT, 0,
                    "point %s: " OVF_NAME " is not what was backed up",
                    r->options->point);
}

static int
plan_phase (struct restore *r, struct fault *f)
{
  struct plan_input input = { .hosts = r->site->hosts,
                              .clusters = r->site->clusters,
                              .domains = r->site->domains };

  enter (r, PHASE_PLAN, r->options->point);
  if (point_find (r->site->place, r->options->point, &r->point, f) < 0)
    return -1;
  r->manifest = r->point->manifest;
  r->point_text = xasprintf ("%s@%s", r->manifest->vm_name, r->point->name);
  r->targets = xcalloc (r->manifest->disk_count, sizeof *r->targets);
  if (check_name (r, f) < 0 || read_ovf (r, f) < 0)
    return -1;
  r->cluster = choose_cluster (r, f);
  if (r->cluster == NULL)
    return -1;
  for (size_t i = 0; i < r->manifest->disk_count; i++) {
    r->targets[i].from = &r->manifest->disks[i];
    r->targets[i].domain = choose_domain (r, r->targets[i].from, f);
    if (r->targets[i].domain == NULL)
      return fault_prefix (f, "disk %s", r->targets[i].from->alias);
  }
  r->host = plan_host (&input, r->cluster->center_id, "");
  if (r->host == NULL)
    return fault_set (f, FAULT_NET, 0,
                      "no host of the data center of cluster %s is up",
                      r->cluster->name);
  return 0;
}

static int
create_disk (struct restore *r, struct target *t, struct fault *f)
{
  CLEANUP_FREE char *description
      = xasprintf ("%s restore of %s", r->site->tag, r->point_text);
  char volume[UUID_SIZE];
  bool cow = t->from->format == MANIFEST_COW;
  struct disk_create create = {
    .id = t->id,
    .volume_id = volume,
    .alias = t->from->alias != NULL ? t->from->alias : t->id,
    .description = description,
    .domain_id = t->domain->id,
    .format = cow ? DISK_FORMAT_COW : DISK_FORMAT_RAW,
    .sparse = t->from->sparse,
    /* The engine takes a preallocated cow disk only for this purpose. */
    .incremental = cow && !t->from->sparse,
    .wipe_after_delete = t->from->wipe_after_delete,
    .provisioned_size = t->from->virtual_size,
    .qcow_version = !cow                     ? NULL
                    : t->domain->format >= 4 ? "qcow2_v3"
                                             : "qcow2_v2",
  };

  uuid_make (t->id);
  uuid_make (volume);
  if (journal_intend (r->site->journal, "disk", r->lease_id, t->id, description,
                      &t->intention, f)
          < 0
      || disk_create (r->site->engine, &create, &t->disk, f) < 0)
    return -1;
  phase_stop (PHASE_CREATE);
  if (t->disk->provisioned_size < t->from->virtual_size)
    return fault_set (f, FAULT_REMOTE, 0,
                      "the engine made it %llu bytes large, %llu are needed",
                      (unsigned long long)t->disk->provisioned_size,
                      (unsigned long long)t->from->virtual_size);
  if ((t->disk->format == DISK_FORMAT_COW) != cow)
    return fault_set (f, FAULT_REMOTE, 0,
                      "the engine made it in another format than was asked "
                      "for");
  return journal_exists (r->site->journal, t->intention, t->id, f);
}

static int
create_phase (struct restore *r, struct fault *f)
{
  enter (r, PHASE_CREATE, "");
  if (journal_intend (r->site->journal, UNDO_HOST, r->lease_id, r->host->id,
                      r->host->name, &r->host_intention, f)
      < 0)
    return -1;
  for (size_t i = 0; i < r->manifest->disk_count; i++) {
    if (cancel_check (f) < 0 || create_disk (r, &r->targets[i], f) < 0)
      return fault_prefix (f, "disk %s", r->targets[i].from->alias);
  }
  return 0;
}

static int
prove (struct restore *r, struct target *t, struct fault *f)
{
  struct msg_wopened wopened = { .container = 0 };
  struct msg_open_write m = {
    .kind = MSG_FILE,
    .format = t->from->format == MANIFEST_COW ? MSG_COW : MSG_RAW,
    .flags = MSG_WRITE_FRESH,
    .capacity = t->disk->provisioned_size,
  };
  int rc;

  enter (r, PHASE_PROVE, t->from->alias);
  if (domain_dir (t->domain, m.dir, f) < 0)
    return -1;
  snprintf (m.image, sizeof m.image, "%s", t->disk->id);
  snprintf (m.volume, sizeof m.volume, "%s", t->disk->volume_id);
  if (r->lane.remote == NULL
      && site_lane_open (r->site, r->host, &r->lane, f) < 0)
    return -1;
  r->has_opened = true;
  rc = remote_open_write (r->lane.remote, &m, &wopened, f);
  msg_wopened_reset (&wopened);
  phase_stop (PHASE_PROVE);
  return rc < 0 ? site_explain (r->site, r->host, f) : 0;
}

static int
push_disk (struct restore *r, struct target *t, struct fault *f)
{
  CLEANUP (reader_close) struct reader *reader = NULL;
  struct observer_progress progress = {
    .vm_name = r->options->as,
    .disk_id = t->id,
    .alias = t->from->alias,
    .virtual_size = t->from->virtual_size,
  };
  struct push push = {
    .cow = t->from->format == MANIFEST_COW,
    .fixed_size = !t->from->sparse,
    .qcow2_version = t->domain->format >= 4 ? 3 : 2,
    .capacity = t->disk->provisioned_size,
    .quota = r->quota,
    .observer = r->observer,
    .progress = &progress,
  };

  if (reader_open (r->site->place, r->point, t->from->id, &reader, f) < 0
      || prove (r, t, f) < 0)
    return -1;
  push.reader = reader;
  push.remote = r->lane.remote;
  if (lease_check (r->lease, f) < 0)
    return -1;
  if (push_run (&push, f) < 0) {
    if (f->code == FAULT_SPACE)
      fault_append (f,
                    "; make room on storage domain %s or choose another "
                    "with --storage",
                    t->domain->name);
    return -1;
  }
  r->result.bytes_virtual += t->from->virtual_size;
  r->result.bytes_data += progress.bytes_total;
  r->result.bytes_wire += push.written;
  r->result.disk_count++;
  return remote_close_volume (r->lane.remote, f);
}

static int
vm_phase (struct restore *r, struct fault *f)
{
  CLEANUP_FREE char *name = xasprintf ("chainlift-%s", r->site->run_id);
  CLEANUP_FREE char *description
      = xasprintf ("%s restore of %s", r->site->tag, r->point_text);
  size_t count;
  struct vm_create create = {
    .name = name,
    .cluster_id = r->cluster->id,
    .description = description,
    .ovf = r->ovf,
    /* Beside the original the new VM needs an id of its own. */
    .regenerate_ids = site_vm (r->site, r->manifest->vm_id, &count) != NULL,
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
  for (size_t i = 0; i < r->manifest->disk_count; i++) {
    const struct manifest_disk *from = r->targets[i].from;
    struct vm_disk attach = { .bootable = from->bootable,
                              .active = from->active,
                              .read_only = from->read_only,
                              .pass_discard = from->pass_discard };

    memcpy (attach.disk.id, r->targets[i].id, sizeof attach.disk.id);
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
      = xasprintf ("Restored from %s by chainlift", r->point_text);
  struct vm_update update
      = { .name = r->options->as, .description = description };
  int rc = 0;

  enter (r, PHASE_RELEASE, "");
  for (size_t i = 0; i < r->manifest->disk_count; i++) {
    const char *text = r->targets[i].from->description;

    if (vm_update_disk (r->site->engine, r->vm_id, r->targets[i].id,
                        text != NULL ? text : "", f)
        < 0)
      return -1;
  }
  phase_stop (PHASE_RELEASE);
  if (vm_update (r->site->engine, r->vm_id, &update, f) < 0)
    return fault_prefix (f, "name the new VM %s", r->options->as);
  r->finished = true;
  phase_stop (PHASE_RELEASE);
  for (size_t i = 0; i < r->manifest->disk_count; i++) {
    if (journal_settle (r->site->journal, r->targets[i].intention, f) < 0)
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
  if (settle_gone (r->site, false, NULL, NULL, f) < 0 || plan_phase (r, f) < 0)
    return -1;
  uuid_make (r->lease_id);
  if (lease_take (r->site->place, r->lease_id, r->site->run_id, &r->lease, f)
          < 0
      || create_phase (r, f) < 0)
    return -1;
  for (size_t i = 0; i < r->manifest->disk_count; i++) {
    if (push_disk (r, &r->targets[i], f) < 0)
      return fault_prefix (f, "disk %s", r->targets[i].from->alias);
  }
  if (site_lane_stop (r->site, &r->lane, f) < 0)
    return -1;
  r->has_opened = false;
  if (vm_phase (r, f) < 0 || attach_phase (r, f) < 0
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
    rc = undo_wait_helper (r->site, r->host, &f);
  if (rc == 0 && r->vm_intention != 0)
    rc = undo_vm (r->site, r->vm_id, r->vm_intention, &f);
  for (size_t i = 0;
       rc == 0 && r->targets != NULL && i < r->manifest->disk_count; i++) {
    if (r->targets[i].intention != 0)
      rc = undo_disk (r->site, r->targets[i].id, r->targets[i].intention, &f);
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
  if (r->observer->result != NULL)
    r->observer->result (r->observer->opaque, &r->result);
}

static void
restore_free (struct restore *r)
{
  if (r->manifest != NULL) {
    for (size_t i = 0; i < r->manifest->disk_count; i++)
      disk_free (r->targets[i].disk);
  }
  free (r->targets);
  free (r->ovf);
  free (r->point_text);
  lease_drop (r->lease);
  point_free (r->point);
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
  r.result.state = OBSERVER_DONE;
  log_context (options->as);
  if (run_phases (&r, f) < 0) {
    take_back (&r, note, sizeof note);
    r.result.state = OBSERVER_FAILED;
    r.result.fault = f;
  }
  log_context (NULL);
  r.result.vm_name = options->as;
  r.result.vm_id = r.manifest != NULL ? r.manifest->vm_id : NULL;
  r.result.point = r.point_text != NULL ? r.point_text : options->point;
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
