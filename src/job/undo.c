/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/uuid.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/disk.h"
#include "engine/host.h"
#include "engine/vm.h"
#include "host/conn.h"
#include "host/pool.h"
#include "host/remote.h"
#include "job/journal.h"
#include "job/site.h"
#include "job/undo.h"

#define SPARE_S 15 /* beyond the heartbeat: it closes its volume, is reaped */
#define POLL_MS 1000

/* Over CONN: helpers of RUN_ID. */
static int
probe (struct site *site, struct conn *conn, const struct host *host,
       const char *run_id, enum verdict_helper *helper, struct fault *f)
{
  struct settings_login login;
  CLEANUP_FREE struct remote_leftover *list = NULL;
  char boot_id[MSG_NAME_MAX];
  size_t count = 0;

  settings_host_login (site->settings, host->name, &login);
  if (remote_probe (conn, login.sudo, &list, &count, boot_id, f) < 0)
    return -1;
  *helper = VERDICT_HELPER_GONE;
  for (size_t i = 0; i < count; i++) {
    /* One that does not tell its run yet may be of this one. */
    if (list[i].run_id[0] != '\0' && strcmp (list[i].run_id, run_id) != 0)
      continue;
    if (*helper != VERDICT_HELPER_HUNG)
      *helper
          = list[i].state == 'D' ? VERDICT_HELPER_HUNG : VERDICT_HELPER_THERE;
  }
  if (*helper == VERDICT_HELPER_GONE)
    return 0;
  return fault_set (f, FAULT_BUSY, 0,
                    "host %s: a helper of run %s is still there%s: its disks "
                    "are left alone",
                    host->name, run_id,
                    *helper == VERDICT_HELPER_HUNG ? ", hung in the kernel"
                                                   : "");
}

/* One look: 0 = none is there; -1 with *HELPER and the reason. */
static int
look (struct site *site, const struct host *host, const char *run_id,
      enum verdict_helper *helper, struct fault *f)
{
  struct conn *conn = NULL;
  int rc;

  *helper = VERDICT_HELPER_UNSURE;
  rc = site_connect (site, host, &conn, f);
  if (rc == 0)
    rc = probe (site, conn, host, run_id, helper, f);
  if (conn != NULL)
    pool_put (site->pool, conn);
  return rc;
}

/* Look until none is there, at most WAIT_S seconds. */
static int
wait_gone (struct site *site, const struct host *host, const char *run_id,
           unsigned wait_s, enum verdict_helper *helper, struct fault *f)
{
  uint64_t end = stamp_mono_ms () + (uint64_t)wait_s * 1000;
  bool told = false;

  for (;;) {
    struct fault now = FAULT_INIT;

    if (look (site, host, run_id, helper, &now) == 0)
      return 0;
    if (!fault_may_retry (now.code) || stamp_mono_ms () >= end) {
      fault_copy (f, &now);
      return fault_prefix (f, "make sure that no helper writes any more");
    }
    if (!told)
      log_warn ("making sure for up to %u s that no helper writes any more: %s",
                wait_s, now.text);
    told = true;
    if (cancel_sleep_ms (POLL_MS, f) < 0)
      return -1;
  }
}

static unsigned
patience_s (const struct site *site)
{
  return site->settings->ssh.heartbeat_s + SPARE_S;
}

int
undo_wait_run (struct site *site, const struct host *host, const char *run_id,
               struct fault *f)
{
  enum verdict_helper helper;

  return wait_gone (site, host, run_id, patience_s (site), &helper, f);
}

int
undo_wait_helper (struct site *site, const struct host *host, struct fault *f)
{
  return undo_wait_run (site, host, site->run_id, f);
}

/* Look on HOST, or tell that it is not there any more (NULL, ID). */
static int
look_on (struct site *site, const struct host *host, const char *id,
         const char *run_id, bool wait, enum verdict_helper *helper,
         struct fault *why, struct fault *f)
{
  fault_reset (why);
  if (host != NULL)
    wait_gone (site, host, run_id, wait ? patience_s (site) : 0, helper, why);
  else {
    *helper = VERDICT_HELPER_UNSURE;
    fault_set (why, FAULT_NOTFOUND, 0, "host %s is not in the engine any more",
               id);
  }
  return why->code == FAULT_CANCELLED ? fault_copy (f, why) : 0;
}

int
undo_look_helpers (struct site *site, const char *run_id, const char *lease_id,
                   const struct journal_list *journal, const char *center_id,
                   bool wait, enum verdict_helper *helper, struct fault *why,
                   struct fault *f)
{
  bool named = false;
  size_t count;

  *helper = VERDICT_HELPER_GONE;
  for (size_t i = 0; i < journal->count; i++) {
    const struct journal_entry *e = &journal->entries[i];

    if (strcmp (e->run_id, run_id) != 0 || strcmp (e->kind, UNDO_HOST) != 0
        || (lease_id != NULL && strcmp (e->vm_id, lease_id) != 0))
      continue;
    named = true;
    if (look_on (site, site_host (site, e->object_id), e->object_id, run_id,
                 wait, helper, why, f)
        < 0)
      return -1;
    if (*helper != VERDICT_HELPER_GONE)
      return 0;
  }
  for (size_t i = 0; !named && i < site->hosts->count; i++) {
    const struct host *host = &site->hosts->items[i];
    const struct cluster *c = site_cluster (site, host->cluster_id, &count);

    if (center_id != NULL && c != NULL && strcmp (c->center_id, center_id) != 0)
      continue;
    if (look_on (site, host, host->id, run_id, wait, helper, why, f) < 0)
      return -1;
    if (*helper != VERDICT_HELPER_GONE)
      return 0;
  }
  return 0;
}

/* The VM of this run, whose creation may or may not have worked. */
static int
find_vm (struct site *site, char id[static UUID_SIZE], struct fault *f)
{
  CLEANUP (vm_list_free) struct vm_list *list = NULL;

  if (vm_list (site->engine, &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++) {
    if (strncmp (list->items[i].description, site->tag, strlen (site->tag))
        == 0)
      snprintf (id, UUID_SIZE, "%s", list->items[i].id);
  }
  return 0;
}

int
undo_vm (struct site *site, const char *vm_id, unsigned intention,
         struct fault *f)
{
  char id[UUID_SIZE];

  snprintf (id, sizeof id, "%s", vm_id);
  if (id[0] == '\0' && find_vm (site, id, f) < 0)
    return -1;
  if (id[0] != '\0' && vm_delete (site->engine, id, f) < 0)
    return fault_prefix (f, "remove VM %s", id);
  return journal_settle (site->journal, intention, f);
}

int
undo_disk (struct site *site, const char *disk_id, unsigned intention,
           struct fault *f)
{
  CLEANUP (disk_free) struct disk *d = NULL;

  if (disk_get (site->engine, disk_id, &d, NULL) == 0 && d->vm_id[0] != '\0')
    return fault_set (
        f, FAULT_BUSY, 0,
        "remove disk %s: it is attached to VM %s: detach it there, then "
        "chainlift leftovers --clean",
        disk_id, d->vm_id);
  if (disk_delete (site->engine, disk_id, f) < 0)
    return fault_prefix (f, "remove disk %s", disk_id);
  return journal_settle (site->journal, intention, f);
}
