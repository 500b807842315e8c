/* SPDX-License-Identifier: Apache-2.0 */
/* vdsm takes no lock that we could take too.  So the order is: look whether it
   uses the volume, deactivate, look again; if it began in between, activate for
   it.  The kernel refuses to remove what is open, which covers everybody who is
   further than that.

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
#include "remote/lvrelease.h"

#define RUN_DIR "/run/vdsm/storage"
#define TRIES 10
#define PAUSE_MS 1000
#define DOUBT_MS 2000
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

/* Is V somebody else's to deactivate? */
static bool
is_theirs (const struct release *r, const struct lvstate_volume *v)
{
  char link[LINK_SIZE];
  struct dm d;

  if (!status (v, &d, NULL))
    return false;
  return !d.active || lvrelease_linked (r->sd, v->name, link, sizeof link)
         || (d.open_count > 0 && lvstate_claims (v->lv_uuid, r->file, NULL));
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

/* What is to be done with V now?  True: deactivate it.  Else it is settled, or
   busy and comes again. */
static bool
ripe (struct release *r, struct lvstate_volume *v)
{
  struct fault f = FAULT_INIT;
  char link[LINK_SIZE];
  struct dm d;

  if (!status (v, &d, &f)) {
    snprintf (r->reason, sizeof r->reason, "%.150s", f.text);
    return false;
  }
  if (!d.active) {
    /* one that we left alone, or that outlived its helper */
    pid_t pid = lvm_changes (r->sd, v->name);

    if (pid == 0)
      settle (r, v, "gone", "");
    else
      snprintf (r->reason, sizeof r->reason,
                "lvchange (process %d) has not ended yet", (int)pid);
  }
  else if (lvrelease_linked (r->sd, v->name, link, sizeof link))
    settle (r, v, "used", link);
  else if (d.open_count > 0 && lvstate_claims (v->lv_uuid, r->file, NULL))
    settle (r, v, "used", "another helper reads it");
  else if (d.open_count > 0 || d.suspended)
    snprintf (r->reason, sizeof r->reason, "%s",
              d.suspended ? "its device is suspended"
                          : "a process that vdsm does not know of has it open");
  else
    return true;
  return false;
}

static int
change (struct release *r, const char *available, const char *const *names,
        struct lvm_result *out, struct fault *f)
{
  const char *const args[]
      = { "--autobackup", "n", "--available", available, NULL };

  if (lvm_probe (r->lvm, f) < 0)
    return -1;
  return lvm_run (r->lvm, r->sd, r->group, false, "lvchange", args, names, out,
                  f);
}

/* vdsm began to use V while we deactivated it. */
static void
give_back (struct release *r, struct lvstate_volume *v, const char *link)
{
  const char *const names[] = { v->name, NULL };
  struct lvm_result result = { .out = NULL };
  struct fault f = FAULT_INIT;

  if (change (r, "y", names, &result, &f) < 0 || result.status != 0)
    settle (r, v, "left", "vdsm wants it, and it could not be activated again");
  else
    settle (r, v, "used", link);
  lvm_result_reset (&result);
}

/* After a deactivation that printed ERRORS. */
static void
look_after (struct release *r, struct lvstate_volume *v, const char *errors)
{
  char link[LINK_SIZE];
  char id[DM_ID_SIZE];
  struct dm d;

  if (!status (v, &d, NULL))
    return;
  if (!d.active && lvrelease_linked (r->sd, v->name, link, sizeof link))
    give_back (r, v, link);
  else if (!d.active)
    settle (r, v, "off", "");
  else if (d.open_count == 0 && lvtext_lost (errors, r->sd, v->name)) {
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
  for (size_t i = 0; i < n; i++)
    look_after (r, list[i], result.errors);
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

bool
lvrelease (struct lvm *l, const char *sd, const struct group_spec *g,
           struct lvstate_volume *v, size_t count, struct lvstate_file *file,
           struct buf *report)
{
  struct release r = { l, sd, g, v, count, file, report, "" };
  struct fault f = FAULT_INIT;

  inherit (&r);
  for (int i = 0; i < TRIES && !all_done (&r); i++) {
    if (i > 0)
      poll (NULL, 0, PAUSE_MS);
    if (deactivate (&r, &f) < 0) {
      snprintf (r.reason, sizeof r.reason, "%.190s", f.text);
      break;
    }
  }
  for (size_t i = 0; i < count; i++) {
    if (!v[i].done)
      tell (&r, &v[i], "left", r.reason[0] != '\0' ? r.reason : "no reason");
  }
  return all_done (&r);
}

void
lvrelease_reap (struct lvm *l, struct buf *report)
{
  struct lvstate_file file;
  struct lvstate s;
  unsigned left = 0;
  bool done;

  while (lvstate_next (left, &s, &file)) {
    done = lvrelease (l, s.sd, &s.group, s.volumes, s.count, &file, report);
    left += done ? 0 : 1;
    lvstate_close (&file, done);
    lvstate_reset (&s);
  }
}
