/* SPDX-License-Identifier: Apache-2.0 */
/* Objects first, then the journal: whatever is seen in the engine had its
   intention written before.  An object is listed once: the journal only adds
   under which lease its run works. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/disk.h"
#include "engine/host.h"
#include "engine/login.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "host/pool.h"
#include "host/remote.h"
#include "job/guard.h"
#include "job/inspect.h"
#include "job/leftovers.h"
#include "job/reap.h"
#include "job/site.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/template.h"

#define DAY_S (24 * 3600)

/* What the next step is with what could be removed. */
static const char *const hints[] = {
  [VERDICT_ATTACHMENT] = "the next backup of that VM detaches it, or leftovers "
                         "--clean",
  [VERDICT_SNAPSHOT] = "the next backup of this VM removes it, or leftovers "
                       "--clean",
  [VERDICT_VM] = "of a restore that did not end: leftovers --clean removes it",
  [VERDICT_DISK] = "of a restore that did not end: leftovers --clean removes "
                   "it",
  [VERDICT_DRAFT] = "the next backup of this VM removes it, or leftovers "
                    "--clean",
  [VERDICT_BASE] = "no point is over it: leftovers --clean removes it",
  [VERDICT_VOLUMES] = "an interrupted run may have left logical volumes active "
                      "there: leftovers --clean looks and puts them back",
};

static struct leftover *
append (struct leftovers *list, enum verdict_kind kind, const char *id,
        const char *name)
{
  struct leftover *item;

  list->items
      = xreallocarray (list->items, list->count + 1, sizeof *list->items);
  item = &list->items[list->count++];
  *item = (struct leftover){
    .kind = kind, .id = xstrdup (id), .name = xstrdup (name), .next_step = ""
  };
  return item;
}

/* Append an object whose DESCRIPTION must carry a mark; NULL when it does
   not. */
static struct leftover *
append_marked (struct leftovers *list, enum verdict_kind kind, const char *id,
               const char *name, const char *description)
{
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];
  struct leftover *item;

  if (!tag_parse (description, repository, run))
    return NULL;
  item = append (list, kind, id, name);
  item->repository_id = xstrdup (repository);
  item->run_id = xstrdup (run);
  return item;
}

/* What guard VMs hold, by the journal: nothing in the engine says whose an
   attachment is.  Those that are gone are found later. */
static int
gather_attachments (struct site *site, struct leftovers *list, struct fault *f)
{
  struct journal_list journal = { .count = 0 };
  int rc = journal_read_all (place_journal_dirfd (site->place), site->run_id,
                             &journal, f);

  for (size_t i = 0; rc == 0 && i < journal.count; i++) {
    const struct journal_entry *e = &journal.entries[i];
    const struct vm *holder = guard_holder (site, e);
    const struct vm *vm;
    struct leftover *item;
    size_t count;

    if (strcmp (e->kind, GUARD_KIND) != 0)
      continue;
    item = append (list, VERDICT_ATTACHMENT, e->object_id,
                   holder != NULL ? holder->name : "");
    vm = site_vm (site, e->vm_id, &count);
    item->vm_id = xstrdup (e->vm_id);
    item->vm_name = vm != NULL ? xstrdup (vm->name) : NULL;
    item->repository_id = xstrdup (place_id (site->place));
    item->run_id = xstrdup (e->run_id);
  }
  journal_list_reset (&journal);
  return rc;
}

static int
gather_snapshots (struct site *site, struct leftovers *list, struct fault *f)
{
  CLEANUP (snapshot_list_free) struct snapshot_list *snapshots = NULL;

  if (snapshot_list_ours (site->engine, TAG_PREFIX, &snapshots, f) < 0)
    return -1;
  for (size_t i = 0; i < snapshots->count; i++) {
    const struct snapshot *s = &snapshots->items[i];
    struct leftover *item = append_marked (list, VERDICT_SNAPSHOT, s->id,
                                           s->description, s->description);

    if (item != NULL) {
      item->vm_id = xstrdup (s->vm_id);
      item->vm_name = xstrdup (s->vm_name);
    }
  }
  return 0;
}

/* A disk that is attached to a VM which is not ours is in use: it was restored
   and carries our mark only as a text. */
static bool
in_use (const struct site *site, const struct disk *d)
{
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];
  const struct vm *vm;
  size_t count;

  if (d->vm_id[0] == '\0')
    return false;
  vm = site_vm (site, d->vm_id, &count);
  return vm == NULL || !tag_parse (vm->description, repository, run);
}

static int
gather_disks (struct site *site, struct leftovers *list, struct fault *f)
{
  CLEANUP (disk_list_free) struct disk_list *disks = NULL;

  if (disk_list_ours (site->engine, TAG_PREFIX, &disks, f) < 0)
    return -1;
  for (size_t i = 0; i < disks->count; i++) {
    const struct disk *d = &disks->items[i];

    if (!in_use (site, d))
      append_marked (list, VERDICT_DISK, d->id, d->alias, d->description);
  }
  return 0;
}

static void
gather_vms (struct site *site, struct leftovers *list)
{
  for (size_t i = 0; i < site->vms->count; i++) {
    const struct vm *vm = &site->vms->items[i];

    append_marked (list, VERDICT_VM, vm->id, vm->name, vm->description);
  }
}

/* tmp/RUN-ID.VM-ID */
static void
gather_draft (struct site *site, struct leftovers *list, const char *name)
{
  const char *dot = strchr (name, '.');
  struct leftover *item;

  if (dot == NULL || !uuid_valid (dot + 1))
    return;
  item = append (list, VERDICT_DRAFT, name, name);
  item->run_id = xstrndup (name, (size_t)(dot - name));
  item->vm_id = xstrdup (dot + 1);
  item->repository_id = xstrdup (place_id (site->place));
}

static int
gather_drafts (struct site *site, struct leftovers *list, struct fault *f)
{
  int fd = openat (place_folder_fd (site->place, PLACE_TMP), ".",
                   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir (fd);
  struct dirent *entry;

  if (dir == NULL) {
    if (fd >= 0)
      close (fd);
    return fault_set (f, FAULT_IO, errno, "read the directory tmp");
  }
  while ((entry = readdir (dir)) != NULL) {
    if (entry->d_name[0] != '.')
      gather_draft (site, list, entry->d_name);
  }
  closedir (dir);
  return 0;
}

static bool
is_gathered (const struct leftovers *list, const char *id)
{
  for (size_t i = 0; i < list->count; i++) {
    if (strcmp (list->items[i].id, id) == 0)
      return true;
  }
  return false;
}

/* Disks of our VMs whose marks were taken off already: the journal knows
   them. */
static void
gather_unmarked (struct site *site, struct leftovers *list)
{
  for (size_t i = 0; i < list->journal.count; i++) {
    const struct journal_entry *e = &list->journal.entries[i];

    for (size_t k = 0; k < site->vms->count; k++) {
      const struct vm *vm = &site->vms->items[k];
      const struct vm_disk *d = vm_find_disk (vm, e->object_id);

      if (d != NULL && strcmp (e->kind, "disk") == 0
          && !is_gathered (list, e->object_id))
        append_marked (list, VERDICT_DISK, d->disk.id, d->disk.alias,
                       vm->description);
    }
  }
}

static int
read_journal (struct site *site, struct leftovers *list, struct fault *f)
{
  return journal_read_all (place_journal_dirfd (site->place), site->run_id,
                           &list->journal, f);
}

int
leftovers_gather_snapshots (struct site *site, struct leftovers **out,
                            struct fault *f)
{
  CLEANUP (leftovers_free) struct leftovers *list = xcalloc (1, sizeof *list);

  if (gather_attachments (site, list, f) < 0
      || gather_snapshots (site, list, f) < 0
      || read_journal (site, list, f) < 0)
    return -1;
  *out = steal_ptr (&list);
  return 0;
}

struct gathered {
  struct site *site;
  struct leftovers *list;
};

/* template_fn */
static void
gather_base (const char *volume_id, void *opaque)
{
  struct gathered *g = opaque;
  CLEANUP (point_free) struct point *base = NULL;
  const struct manifest *m = NULL;
  struct leftover *item;

  if (template_open (g->site->place, volume_id, &base, NULL) == 0)
    m = base->manifest;
  item = append (g->list, VERDICT_BASE, volume_id,
                 m != NULL ? m->vm_name : "base of a template");
  item->run_id = xstrdup (m != NULL ? m->run_id : "");
  item->repository_id = xstrdup (place_id (g->site->place));
}

static int
gather_bases (struct site *site, struct leftovers *list, struct fault *f)
{
  struct gathered g = { site, list };

  return template_each_unused (site->place, gather_base, &g, f);
}

static const char *
host_name (const struct site *site, const char *id)
{
  for (size_t i = 0; i < site->hosts->count; i++) {
    if (strcmp (site->hosts->items[i].id, id) == 0)
      return site->hosts->items[i].name;
  }
  return id;
}

/* Hosts by run and VM, from the journal alone. */
static void
gather_volumes (struct site *site, struct leftovers *list)
{
  for (size_t i = 0; i < list->journal.count; i++) {
    const struct journal_entry *e = &list->journal.entries[i];
    struct leftover *item;

    if (strcmp (e->kind, REAP_KIND) != 0
        || reap_find (&list->journal, e->run_id, e->vm_id, e->object_id) != e)
      continue;
    item = append (list, VERDICT_VOLUMES, e->object_id,
                   host_name (site, e->object_id));
    item->run_id = xstrdup (e->run_id);
    item->vm_id = xstrdup (e->vm_id);
    item->repository_id = xstrdup (place_id (site->place));
  }
}

int
leftovers_gather (struct site *site, struct leftovers **out, struct fault *f)
{
  CLEANUP (leftovers_free) struct leftovers *list = xcalloc (1, sizeof *list);

  if (gather_attachments (site, list, f) < 0
      || gather_snapshots (site, list, f) < 0)
    return -1;
  gather_vms (site, list);
  if (gather_disks (site, list, f) < 0 || gather_drafts (site, list, f) < 0
      || gather_bases (site, list, f) < 0 || read_journal (site, list, f) < 0)
    return -1;
  gather_unmarked (site, list);
  gather_volumes (site, list);
  *out = steal_ptr (&list);
  return 0;
}

static void
add_helpers_of (struct site *site, struct leftovers *list,
                const struct host *host)
{
  CLEANUP_FREE struct remote_leftover *helpers = NULL;
  struct fault f = FAULT_INIT;
  struct settings_login login;
  struct conn *conn = NULL;
  char boot_id[MSG_NAME_MAX];
  size_t count = 0;

  settings_host_login (site->settings, host->name, &login);
  if (site_connect (site, host, &conn, &f) < 0
      || remote_probe (conn, login.sudo, &helpers, &count, boot_id, &f) < 0)
    log_warn ("helpers cannot be looked for: %s", f.text);
  if (conn != NULL)
    pool_put (site->pool, conn);
  for (size_t i = 0; i < count; i++) {
    struct leftover *item;
    char pid[16];

    snprintf (pid, sizeof pid, "%u", helpers[i].pid);
    item = append (list, VERDICT_HELPER, pid, host->name);
    item->run_id = xstrdup (helpers[i].run_id);
    item->repository_id = xstrdup (place_id (site->place));
    item->process_state = helpers[i].state;
  }
}

void
leftovers_add_helpers (struct site *site, struct leftovers *list)
{
  struct fault none = FAULT_INIT;

  if (settings_need_ssh (site->settings, &none) < 0) {
    log_warn ("helpers on hosts cannot be looked for: %s", none.text);
    return;
  }
  for (size_t i = 0; i < site->hosts->count; i++) {
    if (host_is_up (&site->hosts->items[i]))
      add_helpers_of (site, list, &site->hosts->items[i]);
  }
}

void
leftovers_free (struct leftovers *list)
{
  if (list == NULL)
    return;
  for (size_t i = 0; i < list->count; i++) {
    struct leftover *item = &list->items[i];

    free (item->id);
    free (item->name);
    free (item->vm_id);
    free (item->vm_name);
    free (item->repository_id);
    free (item->run_id);
    free (item->point);
  }
  journal_list_reset (&list->journal);
  free (list->items);
  free (list);
}

/* For which point a snapshot is kept, and whether the newest one is so old that
   the VM may have been forgotten.  That need not be the same one. */
static int
fill_kept (struct site *site, struct leftover *item, int64_t date, int64_t now,
           struct fault *f)
{
  int64_t max = (int64_t)site->settings->snapshot.kept_days * DAY_S;
  int64_t newest = date;
  struct point_list points;

  item->state = LEFTOVER_KEPT;
  item->since = date;
  if (point_list (site->place, item->vm_id, &points, f) < 0)
    return -1;
  for (size_t i = 0; i < points.count; i++) {
    const struct manifest *m = points.points[i].manifest;
    int64_t taken;

    if (m == NULL)
      continue;
    if (stamp_parse (m->snapshot_date, &taken, NULL) == 0 && taken > newest)
      newest = taken;
    if (item->point == NULL && strcmp (m->snapshot_id, item->id) == 0)
      item->point = xstrdup (points.points[i].name);
  }
  item->old = now - newest > max;
  point_list_reset (&points);
  return 0;
}

/* Look at ITEM again, and tell it when it is one.  NOW: by the engine. */
static int
list_one (struct site *site, const struct leftovers *list, int64_t now,
          struct leftover *item, leftover_fn fn, void *opaque, unsigned *count,
          struct fault *f)
{
  CLEANUP (inspect_free) struct inspect *found = NULL;
  const char *reason;

  if (inspect_item (site, &list->journal, item, INSPECT_LIST, &found, f) < 0)
    return -1;
  switch (verdict_of (&found->facts, &reason)) {
  case VERDICT_GONE:
    return 0;
  case VERDICT_KEPT:
    if (fill_kept (site, item, found->date, now, f) < 0)
      return -1;
    break;
  case VERDICT_FOREIGN:
    item->state = LEFTOVER_FOREIGN;
    break;
  case VERDICT_BUSY:
    item->state = LEFTOVER_BUSY;
    break;
  case VERDICT_REMOVE:
    reason = found->facts.pinned
                 ? "of a restore that did not end, and held by its upload "
                   "transfer: leftovers --clean ends that, which removes the "
                   "disk"
                 : hints[item->kind];
    item->state = LEFTOVER_OURS;
    break;
  case VERDICT_LEAVE:
    item->state = LEFTOVER_OURS;
    break;
  }
  if (item->state == LEFTOVER_OURS)
    (*count)++;
  item->next_step = reason;
  fn (item, opaque);
  item->next_step = "";
  return 0;
}

int
leftovers_list (const struct settings *settings, leftover_fn fn, void *opaque,
                unsigned *count, struct fault *f)
{
  CLEANUP (site_close) struct site *site = NULL;
  CLEANUP (leftovers_free) struct leftovers *list = NULL;
  int64_t now;
  int rc = 0;

  *count = 0;
  if (site_open (settings, SITE_MUST, &site, f) < 0
      || login_time (site->engine, &now, f) < 0
      || leftovers_gather (site, &list, f) < 0)
    return -1;
  leftovers_add_helpers (site, list);
  for (size_t i = 0; rc == 0 && i < list->count; i++)
    rc = list_one (site, list, now, &list->items[i], fn, opaque, count, f);
  return rc;
}
