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

/* Over CONN.  1: a helper of this run is there (*HUNG: in the kernel); 0: none; -1. */
static int
probe (struct site *site, struct conn *conn, const struct host *host,
       bool *hung, struct fault *f)
{
  struct settings_login login;
  CLEANUP_FREE struct remote_leftover *list = NULL;
  char boot_id[MSG_NAME_MAX];
  size_t count = 0;
  int found = 0;

  settings_host_login (site->settings, host->name, &login);
  if (remote_probe (conn, login.sudo, &list, &count, boot_id, f) < 0)
    return -1;
  for (size_t i = 0; i < count; i++) {
    if (strcmp (list[i].run_id, site->run_id) != 0)
      continue;
    found = 1;
    *hung = *hung || list[i].state == 'D';
  }
  return found;
}

/* One look: 1 = a helper is there, 0 = none, -1. */
static int
look (struct site *site, const struct host *host, bool *hung, struct fault *f)
{
  struct conn *conn = NULL;
  int rc = site_connect (site, host, &conn, f);

  *hung = false;
  if (rc == 0)
    rc = probe (site, conn, host, hung, f);
  if (conn != NULL)
    pool_put (site->pool, conn);
  return rc;
}

int
undo_wait_helper (struct site *site, const struct host *host, struct fault *f)
{
  unsigned wait_s = site->settings->ssh.heartbeat_s + SPARE_S;
  uint64_t end = stamp_mono_ms () + (uint64_t)wait_s * 1000;
  bool told = false;

  for (;;) {
    struct fault now = FAULT_INIT;
    bool hung;
    int rc = look (site, host, &hung, &now);

    if (rc == 0)
      return 0;
    if (rc > 0)
      fault_set (&now, FAULT_BUSY, 0,
                 "host %s: a helper of run %s is still there%s: its disks are "
                 "left alone",
                 host->name, site->run_id, hung ? ", hung in the kernel" : "");
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
  if (disk_delete (site->engine, disk_id, f) < 0)
    return fault_prefix (f, "remove disk %s", disk_id);
  return journal_settle (site->journal, intention, f);
}
