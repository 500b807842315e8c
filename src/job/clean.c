/* SPDX-License-Identifier: Apache-2.0 */
/* In this order: attachments to guard VMs, the snapshots that they hold, VMs
   (their disks become floating), logical volumes that may be active on a host
   (before their disks go: a mapping would outlive the volume), disks, drafts,
   bases (a draft may be over one); then the intentions of which nothing is left; helpers are only told.

   A VM of a restore that was killed while the marks were taken off has disks
   without a mark, which only the journal knows.  They get it back before they
   are detached: a floating disk without it would be found by nobody. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "engine/disk.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "job/clean.h"
#include "job/frozen.h"
#include "job/guard.h"
#include "job/inspect.h"
#include "job/journal.h"
#include "job/merge.h"
#include "job/phase.h"
#include "job/pin.h"
#include "job/reap.h"
#include "job/settle.h"
#include "job/site.h"
#include "repo/draft.h"
#include "repo/lease.h"
#include "repo/place.h"
#include "repo/template.h"

struct clean {
  const struct clean_options *options;
  struct clean_tally *tally;
  struct site *site;
  struct leftovers *list;
  char failed_vm[UUID_SIZE]; /* whose snapshot could not be removed */
  bool has_removed_vm;
};

/* Before each change. */
static int
step (const struct inspect *found, struct fault *f)
{
  phase_stop (PHASE_CLEAN);
  if (cancel_check (f) < 0)
    return -1;
  return lease_check (found->lease, f);
}

static int
remove_snapshot (struct clean *c, const struct leftover *item,
                 const struct inspect *found, struct fault *f)
{
  CLEANUP (merge_end) struct merge *merge = NULL;

  if (frozen_check (c->site, item->vm_id, item->id, f) == 0
      && (found->vm == NULL || merge_begin (c->site, found->vm, &merge, f) == 0)
      && step (found, f) == 0
      && snapshot_delete (c->site->engine, item->vm_id, item->id,
                          SNAPSHOT_DELETE_S, f)
             == 0)
    return 0;
  snprintf (c->failed_vm, sizeof c->failed_vm, "%s", item->vm_id);
  return -1;
}

/* By each entry of its run: there is one a disk. */
static int
detach (struct clean *c, const struct leftover *item,
        const struct inspect *found, struct fault *f)
{
  const struct journal_list *journal = &c->list->journal;

  for (size_t i = 0; i < journal->count; i++) {
    const struct journal_entry *e = &journal->entries[i];

    if (strcmp (e->kind, GUARD_KIND) == 0
        && strcmp (e->run_id, item->run_id) == 0
        && strcmp (e->object_id, item->id) == 0
        && (step (found, f) < 0 || guard_detach (c->site, e, f) < 0))
      return -1;
  }
  return 0;
}

/* Every disk of a VM of a restore, off it and with the mark of its run. */
static int
free_disks (struct clean *c, const struct leftover *item,
            const struct inspect *found, struct fault *f)
{
  char mark[TAG_SIZE];
  CLEANUP_FREE char *description = NULL;

  tag_format (mark, item->repository_id, item->run_id);
  description = xasprintf ("%s restore that did not end", mark);
  for (size_t i = 0; i < found->vm->disk_count; i++) {
    const struct disk *d = &found->vm->disks[i].disk;

    if (strncmp (d->description, mark, strlen (mark)) != 0
        && (step (found, f) < 0
            || vm_update_disk (c->site->engine, item->id, d->id, description, f)
                   < 0))
      return -1;
    if (step (found, f) < 0
        || vm_detach_disk (c->site->engine, item->id, d->id, f) < 0)
      return -1;
  }
  return 0;
}

static int
remove_vm (struct clean *c, const struct leftover *item,
           const struct inspect *found, struct fault *f)
{
  if (free_disks (c, item, found, f) < 0 || step (found, f) < 0
      || vm_delete (c->site->engine, item->id, f) < 0)
    return -1;
  c->has_removed_vm = true;
  return 0;
}

static int
remove_object (struct clean *c, const struct leftover *item,
               const struct inspect *found, struct fault *f)
{
  switch (item->kind) {
  case VERDICT_ATTACHMENT:
    return detach (c, item, found, f);
  case VERDICT_SNAPSHOT:
    return remove_snapshot (c, item, found, f);
  case VERDICT_VM:
    return remove_vm (c, item, found, f);
  case VERDICT_DISK:
    if (step (found, f) < 0
        || (found->facts.pinned && pin_break (c->site, item->id, f) < 0))
      return -1;
    return disk_delete (c->site->engine, item->id, f);
  case VERDICT_DRAFT:
    if (step (found, f) < 0)
      return -1;
    return draft_remove (c->site->place, found->lease, item->id, f);
  case VERDICT_BASE:
    if (step (found, f) < 0)
      return -1;
    return template_remove (c->site->place, found->lease, c->site->run_id, f);
  case VERDICT_VOLUMES:
    if (step (found, f) < 0)
      return -1;
    return reap_entry (
        c->site, &c->list->journal,
        reap_find (&c->list->journal, item->run_id, item->vm_id, item->id), f);
  default:
    return fault_set (f, FAULT_INTERNAL, 0, "a %s is not removed",
                      verdict_kind_name (item->kind));
  }
}

static void
report (struct clean *c, struct leftover *item, enum leftover_state state,
        const char *next_step)
{
  item->state = state;
  item->next_step = next_step;
  if (state == LEFTOVER_REMOVED || state == LEFTOVER_REMOVABLE)
    c->tally->removed++;
  if (state == LEFTOVER_STAYS)
    c->tally->stay++;
  c->options->fn (item, c->options->opaque);
  item->next_step = "";
}

/* Faults after which going on makes no sense: of those the command dies, the
   others concern one object. */
static bool
is_fatal (enum fault_code code)
{
  return code == FAULT_CANCELLED || code == FAULT_NET || code == FAULT_AUTH
         || code == FAULT_INTERNAL;
}

static int
act (struct clean *c, struct leftover *item, const struct inspect *found,
     struct fault *f)
{
  struct fault why = FAULT_INIT;

  if (c->options->dry_run) {
    report (c, item, LEFTOVER_REMOVABLE, "");
    return 0;
  }
  if (remove_object (c, item, found, &why) == 0) {
    phase_stop (PHASE_CLEAN);
    report (c, item, LEFTOVER_REMOVED, "");
    return 0;
  }
  report (c, item, LEFTOVER_STAYS, why.text);
  return is_fatal (why.code) ? fault_copy (f, &why) : 0;
}

static void
stays (struct clean *c, struct leftover *item, const struct inspect *found,
       const char *reason)
{
  CLEANUP_FREE char *text = NULL;

  if (found->why.code != FAULT_NONE)
    text = xasprintf ("%s (%s)", reason, found->why.text);
  report (c, item, LEFTOVER_STAYS, text != NULL ? text : reason);
}

/* Look at ITEM and decide what comes of it. */
static int
decide (struct clean *c, const struct leftover *item, enum inspect_mode mode,
        enum verdict *verdict, const char **reason, struct inspect **found,
        struct fault *f)
{
  if (inspect_item (c->site, &c->list->journal, item, mode, found, f) < 0)
    return -1;
  (*found)->facts.after_failure = item->kind == VERDICT_SNAPSHOT
                                  && strcmp (item->vm_id, c->failed_vm) == 0;
  *verdict = verdict_of (&(*found)->facts, reason);
  return 0;
}

/* First without the lease: who takes that of a VM with a kept snapshot, if only
   for a moment, makes the backup of another controller fail. */
static int
clean_one (struct clean *c, struct leftover *item, struct fault *f)
{
  CLEANUP (inspect_free) struct inspect *found = NULL;
  bool dry_run = c->options->dry_run;
  enum verdict verdict;
  const char *reason;

  if (decide (c, item, dry_run ? INSPECT_DRY_RUN : INSPECT_LIST, &verdict,
              &reason, &found, f)
      < 0)
    return -1;
  if (verdict == VERDICT_REMOVE && !dry_run) {
    inspect_free (found);
    found = NULL;
    if (decide (c, item, INSPECT_TAKE, &verdict, &reason, &found, f) < 0)
      return -1;
  }
  switch (verdict) {
  case VERDICT_REMOVE:
    return act (c, item, found, f);
  case VERDICT_FOREIGN:
    report (c, item, LEFTOVER_FOREIGN, reason);
    break;
  case VERDICT_BUSY:
    report (c, item, LEFTOVER_BUSY, reason);
    break;
  case VERDICT_LEAVE:
    stays (c, item, found, reason);
    break;
  case VERDICT_GONE:
  case VERDICT_KEPT:
    break;
  }
  return 0;
}

/* settle_fn.  Of a run of which objects were told it says nothing new. */
static void
on_settled (const struct journal_entry *e, void *opaque)
{
  struct clean *c = opaque;
  CLEANUP_FREE char *id = xasprintf ("%s:%u", e->run_id, e->number);
  struct leftover item = {
    .kind = VERDICT_JOURNAL,
    .id = id,
    .name = (char *)e->text,
    .repository_id = (char *)place_id (c->site->place),
    .run_id = (char *)e->run_id,
  };

  for (size_t i = 0; i < c->list->count; i++) {
    if (strcmp (c->list->items[i].run_id, e->run_id) == 0)
      return;
  }
  report (c, &item, c->options->dry_run ? LEFTOVER_REMOVABLE : LEFTOVER_REMOVED,
          "");
}

/* The items of the kinds FIRST to LAST. */
static int
clean_kinds (struct clean *c, enum verdict_kind first, enum verdict_kind last,
             struct fault *f)
{
  for (size_t i = 0; i < c->list->count; i++) {
    struct leftover *item = &c->list->items[i];

    if (item->kind < first || item->kind > last
        || (c->options->skip != NULL
            && c->options->skip (item, c->options->opaque)))
      continue;
    if (cancel_check (f) < 0 || clean_one (c, item, f) < 0)
      return -1;
  }
  return 0;
}

static int
gather (struct clean *c, struct fault *f)
{
  leftovers_free (c->list);
  c->list = NULL;
  return leftovers_gather (c->site, &c->list, f);
}

/* Disks that were those of a VM are floating only now. */
static int
clean_all (struct clean *c, struct fault *f)
{
  if (gather (c, f) < 0
      || clean_kinds (c, VERDICT_ATTACHMENT, VERDICT_VM, f) < 0
      || (c->has_removed_vm && gather (c, f) < 0)
      || clean_kinds (c, VERDICT_VOLUMES, VERDICT_VOLUMES, f) < 0
      || clean_kinds (c, VERDICT_DISK, VERDICT_BASE, f) < 0
      || settle_gone (c->site, c->options->dry_run, on_settled, c, f) < 0)
    return -1;
  leftovers_add_helpers (c->site, c->list);
  return clean_kinds (c, VERDICT_HELPER, VERDICT_HELPER, f);
}

int
clean_snapshots (struct site *site, const struct clean_options *options,
                 struct clean_tally *tally, struct fault *f)
{
  struct clean c = { .options = options, .tally = tally, .site = site };
  int rc = leftovers_gather_snapshots (site, &c.list, f);

  *tally = (struct clean_tally){ 0 };
  if (rc == 0)
    rc = clean_kinds (&c, VERDICT_ATTACHMENT, VERDICT_SNAPSHOT, f);
  leftovers_free (c.list);
  return rc;
}

int
clean_run (const struct clean_options *options, struct clean_tally *tally,
           struct fault *f)
{
  CLEANUP (site_close) struct site *site = NULL;
  struct clean c = { .options = options, .tally = tally };
  int rc;

  *tally = (struct clean_tally){ 0 };
  if (site_open (options->settings, SITE_MUST, &site, f) < 0)
    return -1;
  c.site = site;
  rc = clean_all (&c, f);
  reap_lost (site, NULL);
  tally->stay += reap_count_lost (site);
  leftovers_free (c.list);
  return rc;
}
