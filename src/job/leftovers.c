/* SPDX-License-Identifier: Apache-2.0 */
/* What carries our mark in the engine and is not kept for the next increment,
   what stands open in the journal, what lies in tmp.  An object is listed once: the journal only adds to what the
   engine shows whether its run still lives. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/disk.h"
#include "engine/host.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "job/base.h"
#include "host/pool.h"
#include "host/remote.h"
#include "job/journal.h"
#include "job/leftovers.h"
#include "job/site.h"
#include "repo/lease.h"
#include "repo/place.h"

struct listing {
  struct site *site;
  struct journal_list journal;
  leftover_fn fn;
  void *opaque;
  unsigned count;
};

static bool
lease_is_held (const struct listing *l, const char *name)
{
  struct fault ignored = FAULT_INIT;
  CLEANUP_FREE char *text = NULL;
  bool locked = false;

  return uuid_valid (name)
         && lease_holder (l->site->place, name, &text, &locked, &ignored) == 0
         && locked;
}

/* Does the run that made an object still live?  Its journal names the lease
   under which it works. */
static bool
run_is_busy (const struct listing *l, const char *run_id)
{
  for (size_t i = 0; i < l->journal.count; i++) {
    if (strcmp (l->journal.entries[i].run_id, run_id) == 0
        && lease_is_held (l, l->journal.entries[i].vm_id))
      return true;
  }
  return false;
}

/* Complete and report ITEM, whose DESCRIPTION carries the mark. */
static void
report (struct listing *l, struct leftover *item, const char *description)
{
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];

  if (!tag_parse (description, repository, run))
    return;
  item->repository_id = repository;
  item->run_id = run;
  item->foreign = strcmp (repository, place_id (l->site->place)) != 0;
  item->busy = !item->foreign && run_is_busy (l, run);
  if (item->foreign)
    item->next_step = "it belongs to another repository: leave it to that one";
  else if (item->busy)
    item->next_step = "its run is still at work";
  else
    l->count++;
  l->fn (item, l->opaque);
}

static int
list_snapshots (struct listing *l, struct fault *f)
{
  CLEANUP (snapshot_list_free) struct snapshot_list *list = NULL;

  if (snapshot_list_ours (l->site->engine, TAG_PREFIX, &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++) {
    const struct snapshot *s = &list->items[i];
    struct leftover item = {
      .kind = "snapshot",
      .id = s->id,
      .name = s->description,
      .vm_id = s->vm_id,
      .vm_name = s->vm_name,
      .next_step = "the next backup of this VM removes it",
    };
    char kept[UUID_SIZE];

    if (base_kept (l->site, s->vm_id, kept, f) < 0)
      return -1;
    if (strcmp (s->id, kept) != 0)
      report (l, &item, s->description);
  }
  return 0;
}

/* A disk that is attached to a VM which is not ours is in use: it was restored
   and carries our mark only as a text. */
static bool
in_use (const struct listing *l, const struct disk *d)
{
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];
  const struct vm *vm;
  size_t count;

  if (d->vm_id[0] == '\0')
    return false;
  vm = site_vm (l->site, d->vm_id, &count);
  return vm == NULL || !tag_parse (vm->description, repository, run);
}

static int
list_disks (struct listing *l, struct fault *f)
{
  CLEANUP (disk_list_free) struct disk_list *list = NULL;

  if (disk_list_ours (l->site->engine, TAG_PREFIX, &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++) {
    const struct disk *d = &list->items[i];
    struct leftover item = {
      .kind = "disk",
      .id = d->id,
      .name = d->alias,
      .next_step = "of a restore that did not end: remove it in the engine",
    };

    if (!in_use (l, d))
      report (l, &item, d->description);
  }
  return 0;
}

static void
list_vms (struct listing *l)
{
  const struct vm_list *vms = l->site->vms;

  for (size_t i = 0; i < vms->count; i++) {
    struct leftover item = {
      .kind = "vm",
      .id = vms->items[i].id,
      .name = vms->items[i].name,
      .next_step = "of a restore that did not end: remove it in the engine",
    };

    report (l, &item, vms->items[i].description);
  }
}

/* tmp/RUN-ID.VM-ID */
static void
list_draft (struct listing *l, const char *name)
{
  const char *dot = strchr (name, '.');
  CLEANUP_FREE char *run = NULL;
  struct leftover item = { .kind = "draft", .id = name, .name = name };

  if (dot == NULL || !uuid_valid (dot + 1))
    return;
  run = xstrndup (name, (size_t)(dot - name));
  item.run_id = run;
  item.vm_id = dot + 1;
  item.repository_id = place_id (l->site->place);
  item.busy = lease_is_held (l, item.vm_id);
  item.next_step = item.busy ? "its run is still at work"
                             : "the next backup of this VM removes it";
  l->count += !item.busy;
  l->fn (&item, l->opaque);
}

static int
list_drafts (struct listing *l, struct fault *f)
{
  int fd = openat (place_folder_fd (l->site->place, PLACE_TMP), ".",
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
      list_draft (l, entry->d_name);
  }
  closedir (dir);
  return 0;
}

/* Helpers on the hosts that are up.  A host that does not answer is told and
   passed over. */
static void
list_host (struct listing *l, const struct host *host)
{
  CLEANUP_FREE struct remote_leftover *list = NULL;
  struct fault f = FAULT_INIT;
  struct settings_login login;
  struct conn *conn = NULL;
  char boot_id[MSG_NAME_MAX];
  size_t count = 0;

  settings_host_login (l->site->settings, host->name, &login);
  if (site_connect (l->site, host, &conn, &f) < 0
      || remote_probe (conn, login.sudo, &list, &count, boot_id, &f) < 0)
    log_warn ("helpers cannot be looked for: %s", f.text);
  if (conn != NULL)
    pool_put (l->site->pool, conn);
  for (size_t i = 0; i < count; i++) {
    char pid[16];
    struct leftover item = { .kind = "helper", .id = pid, .name = host->name };

    snprintf (pid, sizeof pid, "%u", list[i].pid);
    item.run_id = list[i].run_id;
    item.repository_id = place_id (l->site->place);
    item.busy = run_is_busy (l, list[i].run_id);
    item.next_step
        = item.busy ? "its run is still at work"
          : list[i].state == 'D'
              ? "it hangs in the kernel: look at the storage of that host"
              : "it ends by itself when its heartbeat stops (ssh.heartbeat)";
    l->count += !item.busy;
    l->fn (&item, l->opaque);
  }
}

static void
list_helpers (struct listing *l)
{
  struct fault none = FAULT_INIT;

  if (settings_need_ssh (l->site->settings, &none) < 0) {
    log_warn ("helpers on hosts cannot be looked for: %s", none.text);
    return;
  }
  for (size_t i = 0; i < l->site->hosts->count; i++) {
    if (host_is_up (&l->site->hosts->items[i]))
      list_host (l, &l->site->hosts->items[i]);
  }
}

int
leftovers_list (const struct settings *settings, leftover_fn fn, void *opaque,
                unsigned *count, struct fault *f)
{
  CLEANUP (site_close) struct site *site = NULL;
  struct listing l = { .fn = fn, .opaque = opaque };
  int rc = -1;

  if (site_open (settings, SITE_MUST, &site, f) < 0)
    return -1;
  l.site = site;
  if (journal_read_all (place_journal_dirfd (site->place), NULL, &l.journal, f)
          == 0
      && list_snapshots (&l, f) == 0 && list_disks (&l, f) == 0) {
    list_vms (&l);
    list_helpers (&l);
    rc = list_drafts (&l, f);
  }
  journal_list_reset (&l.journal);
  *count = l.count;
  return rc;
}
