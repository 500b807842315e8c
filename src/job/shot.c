/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "job/frozen.h"
#include "job/guard.h"
#include "job/journal.h"
#include "job/merge.h"
#include "job/phase.h"
#include "job/settle.h"
#include "job/shot.h"
#include "job/site.h"
#include "repo/lease.h"

/* Journal first. */
static int
create (struct shot *s, const char *const *disk_ids, size_t count,
        char *correlation, struct fault *f)
{
  CLEANUP_FREE char *description
      = xasprintf ("%s backup by chainlift", s->site->tag);
  struct snapshot_create create = {
    .vm_id = s->vm->id,
    .description = description,
    .disk_ids = disk_ids,
    .disk_count = count,
  };

  if (lease_check (s->lease, f) < 0
      || journal_intend (s->site->journal, "snapshot", s->vm->id, NULL,
                         description, &s->intention, f)
             < 0)
    return -1;
  phase_stop (PHASE_SNAPSHOT);
  if (snapshot_create (s->site->engine, &create, correlation, &s->snapshot, f)
      < 0)
    return -1;
  phase_stop (PHASE_SNAPSHOT);
  return journal_exists (s->site->journal, s->intention, s->snapshot->id, f);
}

int
shot_take (struct shot *s, const char *const *disk_ids, size_t count,
           struct fault *f)
{
  char correlation[TASK_CORRELATION_SIZE] = "";
  struct snapshot *made = NULL;

  if (create (s, disk_ids, count, correlation, f) < 0)
    return -1;
  if (snapshot_wait (s->site->engine, s->vm->id, s->snapshot->id, correlation,
                     SNAPSHOT_CREATE_S, &made, f)
      < 0) {
    /* It exists, but an event says that it is none. */
    s->hold = s->hold || f->code == FAULT_REMOTE;
    s->late = f->code == FAULT_BUSY;
    return -1;
  }
  snapshot_free (s->snapshot);
  s->snapshot = made;
  return 0;
}

int
shot_guard (struct shot *s, const char *const *disk_ids, size_t count,
            struct fault *f)
{
  if (s->site->settings->snapshot.guard == SETTINGS_GUARD_NONE)
    return 0;
  s->guard = guard_new (s->site, s->lease, s->vm, s->snapshot->id);
  for (size_t i = 0; i < count; i++) {
    if (guard_hold (s->guard, disk_ids[i], f) < 0)
      return -1;
  }
  return 0;
}

/* Is ITEM the one of this run?  Its description may have been edited, and a
   wish may have come true without our knowing its id. */
static bool
is_mine (const struct shot *s, const struct snapshot *item)
{
  return strcmp (item->type, "active") != 0
         && (strncmp (item->description, s->site->tag, strlen (s->site->tag))
                 == 0
             || (s->snapshot != NULL
                 && strcmp (item->id, s->snapshot->id) == 0));
}

/* Our snapshot, if there is one: the engine may have rolled it back, somebody
   may have removed it, or its VM. */
static int
find (struct shot *s, char id[static UUID_SIZE], struct fault *f)
{
  CLEANUP (snapshot_list_free) struct snapshot_list *list = NULL;
  struct fault now = FAULT_INIT;

  id[0] = '\0';
  if (snapshot_list (s->site->engine, s->vm->id, &list, &now) < 0)
    return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
  for (size_t i = 0; i < list->count; i++) {
    if (is_mine (s, &list->items[i]))
      memcpy (id, list->items[i].id, UUID_SIZE);
  }
  return 0;
}

/* May it be removed?  The run may have come to its end before it looked. */
static int
judge (struct shot *s, const char *id, struct fault *f)
{
  struct fault why = FAULT_INIT;
  int lie;

  if (s->hold || s->proven)
    return 0;
  if (s->late)
    return fault_set (f, FAULT_BUSY, 0,
                      "snapshot %s: the engine still works on it", id);
  lie = frozen_is_lie (s->site, s->vm->id, s->site->tag, f);
  if (lie < 0)
    return -1;
  s->hold = lie == 1;
  if (s->hold || frozen_check (s->site, s->vm->id, id, &why) == 0)
    return 0;
  if (why.err != ETXTBSY)
    return fault_copy (f, &why);
  s->hold = true;
  return 0;
}

static int
leave (struct shot *s, const char *id, char note[static SHOT_NOTE_MAX],
       struct fault *f)
{
  unsigned number;

  snprintf (note, SHOT_NOTE_MAX,
            "snapshot %s is left in place, because qemu may still write into "
            "its volume: shut the VM down, start it again, remove the "
            "snapshot in the engine",
            id);
  return journal_intend (s->site->journal, SETTLE_HOLD, s->vm->id, id,
                         "a writer was seen", &number, f);
}

/* What base_kept says stays, the others go. */
static int
keep (struct shot *s, struct fault *f)
{
  struct fault why = FAULT_INIT;
  int rc = lease_check (s->lease, &why);

  if (rc == 0)
    rc = settle_vm (s->site, s->vm, &why);
  phase_stop (PHASE_RELEASE);
  if (journal_settle (s->site->journal, s->intention, f) < 0)
    return -1;
  return rc < 0 ? fault_copy (f, &why) : 0;
}

int
shot_release (struct shot *s, bool published, char note[static SHOT_NOTE_MAX],
              struct fault *f)
{
  bool kept = published && s->site->settings->snapshot.keep;
  CLEANUP (merge_end) struct merge *merge = NULL;
  char id[UUID_SIZE] = "";

  if (s->intention == 0)
    return 0;
  if (!kept && (find (s, id, f) < 0 || (id[0] != '\0' && judge (s, id, f) < 0)))
    return -1;
  if (id[0] != '\0' && s->hold && leave (s, id, note, f) < 0)
    return -1;
  /* As long as it holds, the engine removes no snapshot of the VM. */
  if (guard_release (s->guard, f) < 0)
    return -1;
  if (kept)
    return keep (s, f);
  if (id[0] != '\0' && s->hold)
    return 0;
  if (id[0] != '\0'
      && (merge_begin (s->site, s->vm, &merge, f) < 0
          || lease_check (s->lease, f) < 0
          || snapshot_delete (s->site->engine, s->vm->id, id, SNAPSHOT_DELETE_S,
                              f)
                 < 0))
    return -1;
  phase_stop (PHASE_RELEASE);
  return journal_settle (s->site->journal, s->intention, f);
}

void
shot_reset (struct shot *s)
{
  snapshot_free (s->snapshot);
  guard_free (s->guard);
  s->snapshot = NULL;
  s->guard = NULL;
}
