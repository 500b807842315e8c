/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "engine/host.h"
#include "host/remote.h"
#include "job/journal.h"
#include "job/reap.h"
#include "job/site.h"
#include "job/undo.h"
#include "repo/place.h"
#include "wire/msg.h"

/* --- reports ---------------------------------------------------------- */

static bool
begins (const char *line, const char *word)
{
  size_t len = strlen (word);

  return strncmp (line, word, len) == 0 && line[len] == ' ';
}

static void
count_line (const char *line, struct reap_sum *sum)
{
  if (begins (line, "off") || begins (line, "gone"))
    sum->off++;
  else if (begins (line, "used"))
    sum->used++;
  else
    sum->left++;
}

void
reap_count (const char *report, struct reap_sum *sum)
{
  *sum = (struct reap_sum){ 0 };
  while (*report != '\0') {
    size_t len = strcspn (report, "\n");

    if (len > 0)
      count_line (report, sum);
    report += len;
    report += *report == '\n';
  }
}

/* Each line: at a level that depends on whether somebody has to act. */
static void
tell (const char *host, const char *report, struct reap_sum *sum)
{
  CLEANUP_FREE char *text = xstrdup (report);
  char *rest = NULL;

  reap_count (report, sum);
  for (char *line = strtok_r (text, "\n", &rest); line != NULL;
       line = strtok_r (NULL, "\n", &rest)) {
    struct reap_sum one = { 0 };

    count_line (line, &one);
    if (one.left > 0)
      log_warn ("host %s: a logical volume is still active: %s; chainlift "
                "leftovers --clean tries again",
                host, line);
    else
      log_debug ("host %s: logical volume: %s", host, line);
  }
}

/* --- lanes ------------------------------------------------------------ */

int
reap_intend (struct site *site, struct site_lane *lane, const char *vm_id,
             struct fault *f)
{
  if (lane->intention != 0)
    return 0;
  return journal_intend (site->journal, REAP_KIND, vm_id, lane->host->id,
                         remote_welcome (lane->remote)->boot_id,
                         &lane->intention, f);
}

int
reap_open_read (struct site *site, struct site_lane *lane, const char *vm_id,
                const struct msg_open_read *open, struct msg_opened *opened,
                struct fault *f)
{
  if (open->kind == MSG_BLOCK && reap_intend (site, lane, vm_id, f) < 0)
    return -1;
  return remote_open_read (lane->remote, open, opened, f);
}

int
reap_close (struct site_lane *lane, struct fault *f)
{
  struct reap_sum sum;

  if (remote_close_volume (lane->remote, f) < 0)
    return -1;
  tell (lane->host->name, remote_report (lane->remote), &sum);
  if (sum.left > 0)
    lane->left = true;
  return 0;
}

int
reap_hello (struct site_lane *lane, struct fault *f)
{
  CLEANUP_FREE char *report = NULL;
  struct fault why = FAULT_INIT;
  struct reap_sum sum;

  if ((remote_welcome (lane->remote)->flags & MSG_WELCOME_REAP) == 0)
    return 0;
  if (remote_reap (lane->remote, &report, &why) < 0) {
    if (!remote_alive (lane->remote))
      return fault_copy (f, &why);
    log_warn ("what killed helpers left active is not put back: %s", why.text);
    lane->stray = true;
    return 0;
  }
  tell (lane->host->name, report, &sum);
  if (sum.off + sum.used + sum.left > 0)
    log_info ("host %s: of the logical volumes that killed helpers left active "
              "%u are put back, %u are in use by vdsm now, %u are still active",
              lane->host->name, sum.off, sum.used, sum.left);
  if (sum.left > 0)
    lane->stray = true;
  return 0;
}

void
reap_lane_end (struct site *site, struct site_lane *lane, bool orderly)
{
  struct fault f = FAULT_INIT;

  if (lane->intention == 0)
    return;
  if (orderly && !lane->left && !lane->stray) {
    if (journal_settle (site->journal, lane->intention, &f) < 0)
      log_warn ("%s", f.text);
    return;
  }
  SCOPED_LOCK (&site->lost_lock);
  site->lost
      = xreallocarray (site->lost, site->lost_count + 1, sizeof *site->lost);
  site->lost[site->lost_count++]
      = (struct site_lost){ lane->host, lane->intention,
                            !orderly || lane->left };
}

/* --- looking ---------------------------------------------------------- */

/* Is HOST free of what RUN_ID had active there?  Once the helpers of that run
   are gone another one reaps. */
static int
look (struct site *site, const struct host *host, const char *run_id,
      struct fault *f)
{
  CLEANUP (host_free) struct host *now = NULL;
  struct site_lane lane = { .conn = NULL };
  bool left;

  if (host_get (site->engine, host->id, &now, f) < 0)
    return -1;
  if (!host_is_up (now))
    return fault_set (f, FAULT_BUSY, 0,
                      "its status is %s: try again when it is up", now->status);
  if (undo_wait_run (site, host, run_id, f) < 0
      || site_lane_open (site, host, &lane, f) < 0)
    return -1;
  left = lane.stray;
  if (site_lane_stop (site, &lane, f) < 0)
    return -1;
  return left ? fault_set (f, FAULT_BUSY, 0,
                           "some are in use by a process that vdsm does not "
                           "know of, or LVM failed")
              : 0;
}

/* Has the host of entry INDEX one before it? */
static bool
has_earlier (const struct site *site, size_t index)
{
  for (size_t i = 0; i < index; i++) {
    if (site->lost[i].host == site->lost[index].host)
      return true;
  }
  return false;
}

/* Is anything of our own lost on HOST? */
static bool
is_own (const struct site *site, const struct host *host)
{
  for (size_t i = 0; i < site->lost_count; i++) {
    if (site->lost[i].host == host && site->lost[i].own)
      return true;
  }
  return false;
}

/* HOST is clean: none of its entries counts any more. */
static void
settle_lost (struct site *site, const struct host *host)
{
  struct fault f = FAULT_INIT;

  for (size_t i = 0; i < site->lost_count; i++) {
    if (site->lost[i].host != host)
      continue;
    site->lost[i].host = NULL;
    if (journal_settle (site->journal, site->lost[i].intention, &f) < 0)
      log_warn ("%s", f.text);
  }
}

unsigned
reap_lost (struct site *site, const struct host *only)
{
  unsigned own = 0;

  /* The user may have stopped the run: this is a part of its undoing. */
  cancel_shield ();
  for (size_t i = 0; i < site->lost_count; i++) {
    const struct host *host = site->lost[i].host;
    struct fault f = FAULT_INIT;

    if (host == NULL || (only != NULL && host != only) || has_earlier (site, i))
      continue;
    if (look (site, host, site->run_id, &f) == 0) {
      settle_lost (site, host);
      continue;
    }
    own += is_own (site, host) ? 1 : 0;
    log_warn ("host %s: logical volumes may be left active: %s; chainlift "
              "leftovers --clean tries again",
              host->name, f.text);
  }
  cancel_unshield ();
  return own;
}

unsigned
reap_count_lost (const struct site *site)
{
  unsigned hosts = 0;

  for (size_t i = 0; i < site->lost_count; i++)
    hosts += site->lost[i].host != NULL && !has_earlier (site, i) ? 1 : 0;
  return hosts;
}

static struct journal_entry *
find_like (const struct journal_list *journal, const char *run_id,
           const char *vm_id, const char *host_id)
{
  for (size_t i = 0; i < journal->count; i++) {
    struct journal_entry *e = &journal->entries[i];

    if (!e->settled && strcmp (e->kind, REAP_KIND) == 0
        && strcmp (e->run_id, run_id) == 0 && strcmp (e->vm_id, vm_id) == 0
        && strcmp (e->object_id, host_id) == 0)
      return e;
  }
  return NULL;
}

const struct journal_entry *
reap_find (const struct journal_list *journal, const char *run_id,
           const char *vm_id, const char *host_id)
{
  return find_like (journal, run_id, vm_id, host_id);
}

int
reap_entry (struct site *site, const struct journal_list *journal,
            const struct journal_entry *e, struct fault *f)
{
  const struct host *host = site_host (site, e->object_id);
  struct journal_entry *like;

  if (host == NULL)
    log_warn ("host %s is not in the engine any more: nobody looks whether "
              "logical volumes are active there",
              e->object_id);
  else if (look (site, host, e->run_id, f) < 0) {
    /* of one host: others may be well */
    if (f->code != FAULT_CANCELLED && f->code != FAULT_INTERNAL)
      f->code = FAULT_REMOTE;
    return fault_prefix (f, "host %s", host->name);
  }
  while ((like = find_like (journal, e->run_id, e->vm_id, e->object_id))
         != NULL) {
    if (journal_settle_other (place_journal_dirfd (site->place), like->run_id,
                              like->number, f)
        < 0)
      return -1;
    like->settled = true;
  }
  return 0;
}

int
reap_vm (struct site *site, const char *vm_id, struct fault *f)
{
  struct journal_list journal = { .count = 0 };
  int rc = journal_read_all (place_journal_dirfd (site->place), site->run_id,
                             &journal, f);

  for (size_t i = 0; rc == 0 && i < journal.count; i++) {
    const struct journal_entry *e = &journal.entries[i];
    struct fault why = FAULT_INIT;

    if (e->settled || strcmp (e->kind, REAP_KIND) != 0
        || strcmp (e->vm_id, vm_id) != 0
        || reap_entry (site, &journal, e, &why) == 0)
      continue;
    if (why.code == FAULT_CANCELLED)
      rc = fault_copy (f, &why);
    else
      log_warn ("logical volumes of an earlier run may be left active: %s",
                why.text);
  }
  journal_list_reset (&journal);
  return rc;
}
