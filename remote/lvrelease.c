/* SPDX-License-Identifier: Apache-2.0 */
/* vdsm takes no lock that we could take too.  It looks which volumes of an image
   are active, refreshes those, activates the others, and links them.  So the
   order is: look whether it uses the volume or a command of LVM is at it,
   deactivate, look again until no such command has run for a while; if it began
   in between, activate for it.  The kernel refuses to remove what is open, which
   covers everybody who is further than that.

   Several helpers may have one volume open (a disk is read over several
   channels).  Each claims it in its record; the last one to close it
   deactivates it, the others find it open and claimed and hand it over. */
#include <config.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "remote/dm.h"
#include "remote/guard.h"
#include "remote/lvrelease.h"
#include "remote/proc.h"

#define RUN_DIR "/run/vdsm/storage"
#define TRIES 10
#define PAUSE_MS 1000
#define DOUBT_MS 2000
#define QUIET_MS 500 /* without an activation in the group, after ours */
#define QUIET_MAX_MS 20000
#define LOOK_MS 100
#define LINK_SIZE 256
#define REASON_SIZE 200

struct release {
  struct lvm *lvm;
  const char *sd;
  const struct group_spec *group;
  struct lvstate_volume *volumes;
  size_t count;
  struct lvstate_file *file;
  struct buf *report;
  pid_t orphan;             /* a worker whose guard is dead; 0: none */
  char reason[REASON_SIZE]; /* of the last failure */
};

bool
lvrelease_linked (const char *sd, const char *volume, char *path, size_t size)
{
  char name[NAME_MAX + LINK_SIZE];
  struct dirent *entry;
  struct stat st;
  bool found = false;
  DIR *dir;

  snprintf (name, sizeof name, RUN_DIR "/%s", sd);
  dir = opendir (name);
  while (dir != NULL && !found && (entry = readdir (dir)) != NULL) {
    if (!uuid_valid (entry->d_name))
      continue;
    snprintf (name, sizeof name, "%s/%s", entry->d_name, volume);
    found = fstatat (dirfd (dir), name, &st, AT_SYMLINK_NOFOLLOW) == 0;
  }
  if (found)
    snprintf (path, size, RUN_DIR "/%s/%s", sd, name);
  if (dir != NULL)
    closedir (dir);
  return found;
}

static void
tell (struct release *r, struct lvstate_volume *v, const char *word,
      const char *why)
{
  buf_printf (r->report, "%s %s/%s%s%s\n", word, r->sd, v->name,
              why[0] != '\0' ? ": " : "", why);
}

static void
settle (struct release *r, struct lvstate_volume *v, const char *word,
        const char *why)
{
  v->done = true;
  lvstate_add (r->file, v, NULL);
  if (word != NULL)
    tell (r, v, word, why);
}

static bool
status (const struct lvstate_volume *v, struct dm *d, struct fault *f)
{
  char id[DM_ID_SIZE];

  dm_id (v->vg_uuid, v->lv_uuid, id);
  return dm_status (id, d, f) == 0;
}

/* Is V, whose device is D, open in another helper of ours? */
static bool
is_shared (const struct release *r, const struct lvstate_volume *v,
           const struct dm *d)
{
  return d->open_count > 0
         && lvstate_claims (v->lv_uuid, r->file, NULL) != LVSTATE_NOBODY;
}

/* Is V somebody else's to deactivate?  One that vdsm uses and that is not
   active we have taken from it. */
static bool
is_theirs (const struct release *r, const struct lvstate_volume *v)
{
  char link[LINK_SIZE];
  bool linked = lvrelease_linked (r->sd, v->name, link, sizeof link);
  struct dm d;

  if (!status (v, &d, NULL) || (d.open_count > 0 && r->orphan != 0))
    return false;
  return d.active ? linked || is_shared (r, v, &d) : !linked;
}

/* Volumes that vdsm had in use when we opened them are ours to deactivate only
   when it has tried to, and failed because of us: it has no link, no other
   helper of ours has it open, and not just for a moment. */
static void
inherit (struct release *r)
{
  bool doubt = false;

  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < r->count; i++) {
      struct lvstate_volume *v = &r->volumes[i];

      if (v->done || v->mine)
        continue;
      if (is_theirs (r, v))
        settle (r, v, NULL, "");
      else
        doubt = true;
    }
    if (!doubt)
      return;
    if (round == 0)
      poll (NULL, 0, DOUBT_MS);
  }
}

static int
change (struct release *r, const char *available, const char *const *names,
        struct lvm_result *out, struct fault *f)
{
  const char *const args[]
      = { "--autobackup", "n", "--available", available, NULL };

  if (lvm_probe (r->lvm, f) < 0)
    return -1;
  return (available[0] == 'y' ? lvm_try : lvm_run) (
      r->lvm, r->sd, r->group, false, "lvchange", args, names, out, f);
}

/* vdsm uses V, which we have deactivated. */
static void
give_back (struct release *r, struct lvstate_volume *v, const char *link)
{
  const char *const names[] = { v->name, NULL };
  struct lvm_result result = { .out = NULL };
  int rc = change (r, "y", names, &result, NULL);

  if (rc == 0 && result.status == 0)
    settle (r, v, "used", link);
  else
    snprintf (r->reason, sizeof r->reason,
              "vdsm wants it, and it could not be activated again");
  lvm_result_reset (&result);
}

/* What is to be done with V now?  True: deactivate it.  Else it is settled, or
   busy and comes again. */
static bool
ripe (struct release *r, struct lvstate_volume *v)
{
  struct fault f = FAULT_INIT;
  char link[LINK_SIZE];
  bool linked = lvrelease_linked (r->sd, v->name, link, sizeof link);
  pid_t pid;
  struct dm d;

  if (!status (v, &d, &f)) {
    snprintf (r->reason, sizeof r->reason, "%.150s", f.text);
    return false;
  }
  pid = linked && d.active ? 0 : lvm_changes (r->sd, v->name);
  if (pid != 0)
    /* one that we left alone, that outlived its helper, or vdsm's */
    snprintf (r->reason, sizeof r->reason,
              "lvchange (process %d) has not ended yet", (int)pid);
  else if (!d.active && linked)
    give_back (r, v, link);
  else if (!d.active)
    settle (r, v, "gone", "");
  else if (d.open_count > 0 && r->orphan != 0)
    snprintf (r->reason, sizeof r->reason,
              "the worker of a killed helper (process %d) may have it open",
              (int)r->orphan);
  else if (linked)
    settle (r, v, "used", link);
  else if (is_shared (r, v, &d))
    settle (r, v, "used", "another helper reads it");
  else if (d.open_count > 0 || d.suspended)
    snprintf (r->reason, sizeof r->reason, "%s",
              d.suspended ? "its device is suspended"
                          : "a process that vdsm does not know of has it open");
  else
    return true;
  return false;
}

/* Did vdsm begin to use one of the N of LIST while we deactivated them, or does
   it now?  Those that are inactive then are put back. */
static void
watch_off (struct release *r, struct lvstate_volume *const *list, size_t n)
{
  uint64_t begin = guard_now_ms ();
  uint64_t quiet = begin;
  uint64_t now = begin;
  char link[LINK_SIZE];
  struct dm d;

  while (now - quiet < QUIET_MS && now - begin < QUIET_MAX_MS) {
    for (size_t i = 0; i < n; i++) {
      if (!list[i]->done && status (list[i], &d, NULL) && !d.active
          && lvrelease_linked (r->sd, list[i]->name, link, sizeof link))
        give_back (r, list[i], link);
    }
    poll (NULL, 0, LOOK_MS);
    now = guard_now_ms ();
    if (lvm_changes (r->sd, NULL) != 0)
      quiet = now;
  }
  for (size_t i = 0; i < n; i++) {
    if (!list[i]->done && status (list[i], &d, NULL) && !d.active)
      settle (r, list[i], "off", "");
  }
}

/* After a deactivation that printed ERRORS: of what is active yet. */
static void
look_after (struct release *r, struct lvstate_volume *v, const char *errors)
{
  char id[DM_ID_SIZE];
  struct dm d;

  if (!status (v, &d, NULL) || !d.active)
    return;
  if (d.open_count == 0 && lvtext_lost (errors, r->sd, v->name)) {
    dm_id (v->vg_uuid, v->lv_uuid, id);
    if (dm_remove (id, NULL) == 0)
      settle (r, v, "gone",
              "it was removed elsewhere while it was active here");
  }
}

/* Deactivate what is ripe, by one command; -1 when LVM cannot be used. */
static int
deactivate (struct release *r, struct fault *f)
{
  CLEANUP_FREE struct lvstate_volume **list
      = xcalloc (r->count + 1, sizeof *list);
  CLEANUP_FREE const char **names = xcalloc (r->count + 1, sizeof *names);
  struct lvm_result result = { .out = NULL };
  size_t n = 0;

  for (size_t i = 0; i < r->count; i++) {
    if (r->volumes[i].done || !ripe (r, &r->volumes[i]))
      continue;
    names[n] = r->volumes[i].name;
    list[n++] = &r->volumes[i];
  }
  if (n == 0)
    return 0;
  if (change (r, "n", names, &result, f) < 0)
    return -1;
  if (result.status != 0)
    lvtext_reason (result.errors, r->reason, sizeof r->reason);
  watch_off (r, list, n);
  for (size_t i = 0; i < n; i++) {
    if (!list[i]->done)
      look_after (r, list[i], result.errors);
  }
  lvm_result_reset (&result);
  return 0;
}

static bool
all_done (const struct release *r)
{
  for (size_t i = 0; i < r->count; i++) {
    if (!r->volumes[i].done)
      return false;
  }
  return true;
}

static bool
release_all (struct release *r, bool reaping)
{
  struct fault f = FAULT_INIT;

  r->orphan = reaping ? proc_orphan () : 0;
  inherit (r);
  for (int i = 0; i < TRIES && !all_done (r); i++) {
    if (i > 0) {
      poll (NULL, 0, PAUSE_MS);
      r->orphan = reaping ? proc_orphan () : 0;
    }
    if (deactivate (r, &f) < 0) {
      snprintf (r->reason, sizeof r->reason, "%.190s", f.text);
      break;
    }
  }
  for (size_t i = 0; i < r->count; i++) {
    if (!r->volumes[i].done)
      tell (r, &r->volumes[i], "left",
            r->reason[0] != '\0' ? r->reason : "no reason");
  }
  return all_done (r);
}

bool
lvrelease (struct lvm *l, const char *sd, const struct group_spec *g,
           struct lvstate_volume *v, size_t count, struct lvstate_file *file,
           struct buf *report)
{
  struct release r = { l, sd, g, v, count, file, report, .orphan = 0 };

  return release_all (&r, false);
}

void
lvrelease_reap (struct lvm *l, struct buf *report)
{
  struct lvstate_file file;
  struct lvstate s;
  unsigned left = 0;
  bool done;

  while (lvstate_next (left, &s, &file)) {
    struct release r
        = { l, s.sd, &s.group, s.volumes, s.count, &file, report, .orphan = 0 };

    done = release_all (&r, true);
    left += done ? 0 : 1;
    lvstate_close (&file, done);
    lvstate_reset (&s);
  }
}
