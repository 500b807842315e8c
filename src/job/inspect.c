/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <fcntl.h>

#include "base/uuid.h"
#include "base/xmem.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "job/base.h"
#include "job/frozen.h"
#include "job/guard.h"
#include "job/inspect.h"
#include "job/journal.h"
#include "job/leftovers.h"
#include "job/pin.h"
#include "job/reap.h"
#include "job/settle.h"
#include "job/site.h"
#include "job/undo.h"
#include "repo/lease.h"
#include "repo/place.h"
#include "repo/template.h"

struct look {
  struct site *site;
  const struct journal_list *journal;
  const struct leftover *item;
  enum inspect_mode mode;
  struct inspect *out;
};

/* The first open intention of RUN_ID whose kind is KIND (NULL: any). */
static const struct journal_entry *
find_entry (const struct journal_list *journal, const char *run_id,
            const char *kind, const char *object_id)
{
  for (size_t i = 0; i < journal->count; i++) {
    const struct journal_entry *e = &journal->entries[i];

    if (!e->settled && strcmp (e->run_id, run_id) == 0
        && (kind == NULL || strcmp (e->kind, kind) == 0)
        && (object_id == NULL || strcmp (e->object_id, object_id) == 0))
      return e;
  }
  return NULL;
}

/* Under which lease the object is changed: that of its VM, or of the restore
   that made it.  NULL: not known. */
static const char *
lease_of (const struct look *l)
{
  const struct journal_entry *e = NULL;
  const char *run = l->item->run_id;

  switch (l->item->kind) {
  case VERDICT_ATTACHMENT:
  case VERDICT_SNAPSHOT:
  case VERDICT_DRAFT:
  case VERDICT_VOLUMES:
    return l->item->vm_id;
  case VERDICT_BASE:
    return l->item->id;
  case VERDICT_DISK:
    e = find_entry (l->journal, run, "disk", l->item->id);
    break;
  case VERDICT_VM:
    e = find_entry (l->journal, run, "vm", NULL);
    break;
  case VERDICT_HELPER:
    e = find_entry (l->journal, run, NULL, NULL);
    break;
  case VERDICT_JOURNAL:
    return l->item->vm_id;
  }
  return e != NULL && uuid_valid (e->vm_id) ? e->vm_id : NULL;
}

static int
look_at_lease (struct look *l, struct fault *f)
{
  const char *name = lease_of (l);
  struct inspect *out = l->out;
  CLEANUP_FREE char *text = NULL;
  bool locked;
  int rc;

  /* A helper needs none: nothing is done to it. */
  out->facts.lease = l->item->kind == VERDICT_HELPER ? VERDICT_LEASE_OURS
                                                     : VERDICT_LEASE_UNKNOWN;
  if (name == NULL || !uuid_valid (name))
    return 0;
  if (l->mode == INSPECT_TAKE && l->item->kind != VERDICT_HELPER)
    rc = lease_take (l->site->place, name, l->site->run_id, &out->lease,
                     &out->why);
  else
    rc = lease_try (l->site->place, name, &out->why);
  if (rc == 0) {
    out->facts.lease = VERDICT_LEASE_OURS;
    return 0;
  }
  if (out->why.code != FAULT_BUSY)
    return fault_copy (f, &out->why);
  if (lease_holder (l->site->place, name, &text, &locked, f) < 0)
    return -1;
  if (locked || l->item->kind != VERDICT_HELPER)
    out->facts.lease = locked ? VERDICT_LEASE_HELD : VERDICT_LEASE_AWAY;
  return 0;
}

/* Is it (still) an object of that run? */
static bool
has_mark (const struct look *l, const char *description)
{
  char repository[UUID_SIZE];
  char run[TAG_RUN_SIZE];

  return tag_parse (description, repository, run)
         && strcmp (repository, l->item->repository_id) == 0
         && strcmp (run, l->item->run_id) == 0;
}

/* RC and WHY of a read: an object that is not there is no fault. */
static int
or_gone (struct look *l, int rc, const struct fault *why, struct fault *f)
{
  if (rc == 0)
    return 0;
  if (why->code != FAULT_NOTFOUND)
    return fault_copy (f, why);
  l->out->facts.gone = true;
  return 0;
}

static int
look_at_attachment (struct look *l, struct fault *f)
{
  const struct journal_entry *e
      = find_entry (l->journal, l->item->run_id, GUARD_KIND, l->item->id);
  int left = e != NULL ? guard_is_left (l->site, e, f) : 0;

  l->out->facts.gone = left == 0;
  return left < 0 ? -1 : 0;
}

static int
look_at_snapshot (struct look *l, struct fault *f)
{
  CLEANUP (snapshot_free) struct snapshot *s = NULL;
  struct inspect *out = l->out;
  struct engine *engine = l->site->engine;
  struct fault why = FAULT_INIT;
  char kept[UUID_SIZE];
  int rc = snapshot_get (engine, l->item->vm_id, l->item->id, &s, &why);

  if (or_gone (l, rc, &why, f) < 0)
    return -1;
  if (s == NULL)
    return 0;
  out->facts.gone
      = strcmp (s->type, "active") == 0 || !has_mark (l, s->description);
  snprintf (out->status, sizeof out->status, "%s", s->status);
  out->date = s->date;
  if (base_kept (l->site, l->item->vm_id, kept, f) < 0)
    return -1;
  out->facts.needed = strcmp (s->id, kept) == 0;
  out->facts.on_hold = settle_find_hold (l->journal, s->id) != NULL;
  if (!out->facts.gone && !out->facts.needed && !out->facts.on_hold) {
    int lie = frozen_is_lie (l->site, l->item->vm_id, s->description, f);

    if (lie < 0)
      return -1;
    out->facts.on_hold = lie == 1;
  }
  if (l->mode == INSPECT_LIST || out->facts.needed)
    return 0;
  rc = vm_get (engine, l->item->vm_id, &out->vm, &why);
  if (or_gone (l, rc, &why, f) < 0)
    return -1;
  out->facts.vm_locked
      = out->vm != NULL && strcmp (out->vm->status, "image_locked") == 0;
  return 0;
}

/* Every disk of the VM is one that its run made. */
static bool
has_other_disk (const struct look *l, const struct vm *vm)
{
  for (size_t i = 0; i < vm->disk_count; i++) {
    const struct disk *d = &vm->disks[i].disk;

    if (!has_mark (l, d->description)
        && find_entry (l->journal, l->item->run_id, "disk", d->id) == NULL)
      return true;
  }
  return false;
}

static int
look_at_vm (struct look *l, struct fault *f)
{
  struct inspect *out = l->out;
  struct fault why = FAULT_INIT;
  CLEANUP_FREE char *name = xasprintf ("chainlift-%s", l->item->run_id);
  int rc = vm_get (l->site->engine, l->item->id, &out->vm, &why);

  if (or_gone (l, rc, &why, f) < 0)
    return -1;
  if (out->vm == NULL)
    return 0;
  out->facts.gone = !has_mark (l, out->vm->description);
  out->facts.renamed = strcmp (out->vm->name, name) != 0;
  out->facts.is_protected = out->vm->delete_protected;
  out->facts.other_disk = has_other_disk (l, out->vm);
  snprintf (out->status, sizeof out->status, "%s", out->vm->status);
  return 0;
}

/* An upload that is neither in the journal nor of this disk is not ours to
   end. */
static int
look_at_pin (struct look *l, struct fault *f)
{
  struct transfer t;

  if (strcmp (l->out->status, "locked") != 0
      || find_entry (l->journal, l->item->run_id, PIN_KIND, l->item->id)
             == NULL)
    return 0;
  if (transfer_find (l->site->engine, l->item->id, &t, f) < 0)
    return -1;
  l->out->facts.pinned = t.id[0] != '\0';
  return 0;
}

/* Are there logical volumes of its restore that were not put back?  A dry run
   puts none back, and tells of them by themselves. */
static bool
is_mapped (const struct look *l)
{
  const char *lease = lease_of (l);

  for (size_t i = 0; l->mode == INSPECT_TAKE && i < l->journal->count; i++) {
    const struct journal_entry *e = &l->journal->entries[i];

    if (!e->settled && strcmp (e->kind, REAP_KIND) == 0
        && strcmp (e->run_id, l->item->run_id) == 0
        && (lease == NULL || strcmp (e->vm_id, lease) == 0))
      return true;
  }
  return false;
}

static int
look_at_disk (struct look *l, struct fault *f)
{
  CLEANUP (disk_free) struct disk *d = NULL;
  struct inspect *out = l->out;
  struct fault why = FAULT_INIT;
  size_t count;
  const struct domain *domain;
  const struct vm *vm;
  bool of_half; /* the VM of its restore still has it */
  int rc = disk_get (l->site->engine, l->item->id, &d, &why);

  if (or_gone (l, rc, &why, f) < 0)
    return -1;
  if (d == NULL)
    return 0;
  vm = d->vm_id[0] != '\0' ? site_vm (l->site, d->vm_id, &count) : NULL;
  of_half = vm != NULL && has_mark (l, vm->description);
  out->facts.gone
      = !has_mark (l, d->description)
        && (!of_half
            || find_entry (l->journal, l->item->run_id, "disk", d->id) == NULL);
  /* That VM goes before. */
  out->facts.attached
      = d->vm_id[0] != '\0' && (l->mode == INSPECT_TAKE || !of_half);
  snprintf (out->status, sizeof out->status, "%s", d->status);
  if (look_at_pin (l, f) < 0)
    return -1;
  if (l->mode == INSPECT_LIST || out->facts.gone || out->facts.attached
      || out->facts.lease != VERDICT_LEASE_OURS)
    return 0;
  out->facts.mapped = is_mapped (l);
  domain = d->domain_count > 0 ? site_domain (l->site, d->domain_ids[0], &count)
                               : NULL;
  return undo_look_helpers (l->site, l->item->run_id, lease_of (l), l->journal,
                            domain != NULL ? domain->center_id : NULL,
                            l->mode == INSPECT_TAKE, &out->facts.helper,
                            &out->why, f);
}

static int
look_at_draft (struct look *l)
{
  struct stat st;

  l->out->facts.gone = fstatat (place_folder_fd (l->site->place, PLACE_TMP),
                                l->item->id, &st, AT_SYMLINK_NOFOLLOW)
                       < 0;
  return 0;
}

static int
look_at_object (struct look *l, struct fault *f)
{
  switch (l->item->kind) {
  case VERDICT_ATTACHMENT:
    return look_at_attachment (l, f);
  case VERDICT_SNAPSHOT:
    return look_at_snapshot (l, f);
  case VERDICT_VM:
    return look_at_vm (l, f);
  case VERDICT_DISK:
    return look_at_disk (l, f);
  case VERDICT_DRAFT:
    return look_at_draft (l);
  case VERDICT_BASE:
    l->out->facts.gone = !template_exists (l->site->place, l->item->id);
    break;
  case VERDICT_HELPER:
    l->out->facts.helper = l->item->process_state == 'D' ? VERDICT_HELPER_HUNG
                                                         : VERDICT_HELPER_THERE;
    break;
  case VERDICT_VOLUMES:
    l->out->facts.gone
        = reap_find (l->journal, l->item->run_id, l->item->vm_id, l->item->id)
          == NULL;
    break;
  case VERDICT_JOURNAL:
    break;
  }
  return 0;
}

int
inspect_item (struct site *site, const struct journal_list *journal,
              const struct leftover *item, enum inspect_mode mode,
              struct inspect **out, struct fault *f)
{
  CLEANUP (inspect_free) struct inspect *found = xcalloc (1, sizeof *found);
  struct look l = { site, journal, item, mode, found };

  found->facts.kind = item->kind;
  found->facts.status = found->status;
  found->facts.foreign
      = strcmp (item->repository_id, place_id (site->place)) != 0;
  if (!found->facts.foreign
      && (look_at_lease (&l, f) < 0 || look_at_object (&l, f) < 0))
    return fault_prefix (f, "%s %s", verdict_kind_name (item->kind), item->id);
  *out = steal_ptr (&found);
  return 0;
}

void
inspect_free (struct inspect *found)
{
  if (found == NULL)
    return;
  lease_drop (found->lease);
  vm_free (found->vm);
  free (found);
}
