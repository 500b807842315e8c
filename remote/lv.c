/* SPDX-License-Identifier: Apache-2.0 */
/* The order is what keeps a cluster whole: written down before activated,
   identity by UUID at every step (a name may be given to another volume, a
   UUID never), closed before deactivated.  Nothing here changes metadata of
   LVM: lvs, vgs, lvchange --available and --refresh alone. */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "remote/dm.h"
#include "remote/lv.h"
#include "remote/lvm.h"
#include "remote/lvrelease.h"
#include "remote/lvstate.h"

#define METADATA "metadata"
#define OPEN_TRIES 3
#define ALONE_TRIES 20
#define ALONE_PAUSE_MS 200
#define SUSPENDED_TRIES 50
#define SUSPENDED_PAUSE_MS 200

struct volume_set {
  struct lvtext_lv lv;
  bool known; /* lv was filled by an earlier list */
  int fd;
};

struct lv {
  struct lvm lvm;
  struct lv_want want;
  struct group_spec group; /* its luns are want's */
  char vg_uuid[LVTEXT_ID_SIZE];
  struct volume_set *set; /* want.count, and the metadata behind them; NULL:
                             nothing is open */
  struct lvstate_volume *duties;
  size_t duty_count;
  struct lvstate_file record;
};

struct lv *
lv_new (void)
{
  struct lv *l = xcalloc (1, sizeof *l);

  l->record.fd = -1;
  return l;
}

static const char *
name_of (const struct lv *l, uint32_t i)
{
  return i == l->want.count ? METADATA : l->want.volumes[i];
}

/* --- what is asked ---------------------------------------------------- */

static bool
terminated (const char *s, size_t size)
{
  return memchr (s, '\0', size) != NULL;
}

static bool
want_valid (const struct lv_want *w)
{
  static const uint32_t least[] = { 0, 1, 1, 1 };
  static const uint32_t most[] = { 0, MSG_LAYERS_MAX, 1, 1 };
  bool ok = w->mode <= LV_WRITE_LOCKED && w->count >= least[w->mode]
            && w->count <= most[w->mode] && terminated (w->sd, sizeof w->sd)
            && uuid_valid (w->sd) && terminated (w->pool, sizeof w->pool)
            && w->version >= GROUP_VERSION_MIN
            && w->version <= GROUP_VERSION_MAX && w->lun_count > 0
            && w->lun_count <= GROUP_LUNS_MAX;

  for (uint32_t i = 0; ok && i < w->lun_count; i++)
    ok = terminated (w->luns[i].id, GROUP_LUN_SIZE)
         && group_lun_valid (w->luns[i].id);
  for (uint32_t i = 0; ok && i < w->count; i++)
    ok = terminated (w->volumes[i], UUID_SIZE) && uuid_valid (w->volumes[i]);
  return ok;
}

/* The LUNs are devices of this host.  ENODEV tells the controller that another
   host may do better. */
static int
check_luns (const struct lv *l, struct fault *f)
{
  char path[sizeof LVTEXT_DEVICE_DIR + GROUP_LUN_SIZE];
  struct stat st;

  for (uint32_t i = 0; i < l->group.lun_count; i++) {
    snprintf (path, sizeof path, LVTEXT_DEVICE_DIR "%s", l->group.luns[i].id);
    if (stat (path, &st) < 0 || !S_ISBLK (st.st_mode))
      return fault_set (f, FAULT_REMOTE, ENODEV,
                        "%s: LUN of domain %s is not connected to this host",
                        path, l->want.sd);
  }
  return 0;
}

/* --- lists ------------------------------------------------------------ */

/* A report. */
static int
ask (struct lv *l, const char *command, const char *columns,
     const char *const *names, struct lvm_result *out, struct fault *f)
{
  const char *const args[]
      = { "--noheadings", "--nosuffix", "--units", "b", "--separator", "|",
          "-o",           columns,      NULL };
  char reason[200];
  bool lost;

  lvm_result_reset (out);
  if (lvm_try (&l->lvm, l->want.sd, &l->group, false, command, args, names, out,
               f)
      < 0)
    return -1;
  if (out->cut)
    return fault_set (f, FAULT_REMOTE, 0, "%s printed more than %u bytes",
                      command, LVTEXT_OUT_MAX);
  if (out->status == 0 || lvtext_classify (out->errors) == LVTEXT_NOT_FOUND)
    return 0;
  lvtext_reason (out->errors, reason, sizeof reason);
  lost = lvtext_classify (out->errors) == LVTEXT_GROUP;
  return fault_set (f, FAULT_REMOTE, lost ? ENODEV : 0,
                    "%s of domain %s ended with status %d: %s%s", command,
                    l->want.sd, out->status, reason,
                    lost ? "; its LUNs are connected, but do not hold the group"
                         : "");
}

static int
list_group (struct lv *l, struct fault *f)
{
  const char *const names[] = { "", NULL };
  struct lvm_result result = { .out = NULL };
  struct lvtext_vg vg;
  int rc = ask (l, "vgs", LVTEXT_VG_COLUMNS, names, &result, f);

  if (rc == 0)
    rc = lvtext_vg (result.out, &vg, f);
  if (rc == 0)
    rc = lvtext_check_vg (&vg, l->want.sd, &l->group, f);
  if (rc == 0)
    memcpy (l->vg_uuid, vg.vg_uuid, sizeof l->vg_uuid);
  lvm_result_reset (&result);
  return rc < 0 ? fault_prefix (f, "domain %s", l->want.sd) : 0;
}

/* Put FOUND in the place of what was known of volume I. */
static int
take_lv (struct lv *l, uint32_t i, const struct lvtext_lv *found,
         struct fault *f)
{
  struct volume_set *s = &l->set[i];

  if (found == NULL)
    return s->known ? fault_set (f, FAULT_CORRUPT, 0,
                                 "it was removed from the domain meanwhile")
                    : fault_set (f, FAULT_NOTFOUND, 0,
                                 "the domain does not have it");
  if (strcmp (found->vg_uuid, l->vg_uuid) != 0)
    return fault_set (f, FAULT_CORRUPT, 0, "it lies in another group");
  if (s->known && strcmp (found->lv_uuid, s->lv.lv_uuid) != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "another volume has its name now (%s, was %s)",
                      found->lv_uuid, s->lv.lv_uuid);
  if (i < l->want.count && lvtext_check (found, l->want.mode != LV_READ, f) < 0)
    return -1;
  if (found->size < l->want.need && i < l->want.count)
    return fault_set (f, FAULT_SPACE, 0,
                      "it has %llu bytes, %llu are needed: create the disk "
                      "with a larger initial size",
                      (unsigned long long)found->size,
                      (unsigned long long)l->want.need);
  s->lv = *found;
  s->known = true;
  return 0;
}

static const struct lvtext_lv *
by_name (const struct lvtext_lv *lvs, size_t count, const char *name)
{
  for (size_t i = 0; i < count; i++) {
    if (strcmp (lvs[i].name, name) == 0)
      return &lvs[i];
  }
  return NULL;
}

int
lv_list (struct lv *l, struct fault *f)
{
  CLEANUP_FREE const char **names = xcalloc (l->want.count + 2, sizeof *names);
  CLEANUP_FREE struct lvtext_lv *lvs = NULL;
  struct lvm_result result = { .out = NULL };
  char link[256] = "";
  size_t count = 0;
  int rc;

  if (l->set == NULL)
    return fault_set (f, FAULT_PROTO, 0, "no volumes are open");
  for (uint32_t i = 0; i <= l->want.count; i++)
    names[i] = name_of (l, i);
  rc = ask (l, "lvs", LVTEXT_LV_COLUMNS, names, &result, f);
  if (rc == 0)
    rc = lvtext_rows (result.out, &lvs, &count, f);
  for (uint32_t i = 0; rc == 0 && i <= l->want.count; i++) {
    rc = take_lv (l, i, by_name (lvs, count, names[i]), f);
    if (rc < 0)
      fault_prefix (f, "volume %s/%s", l->want.sd, names[i]);
  }
  lvm_result_reset (&result);
  /* somebody gave the disk to a VM of this host */
  if (rc == 0 && l->want.mode == LV_WRITE && l->duty_count > 0
      && lvrelease_linked (l->want.sd, names[0], link, sizeof link))
    rc = fault_set (f, FAULT_CORRUPT, 0,
                    "volume %s/%s: vdsm began to use it (%s): somebody gave it "
                    "to a VM of this host; restore again",
                    l->want.sd, names[0], link);
  return rc;
}

int
lv_facts (const struct lv *l, uint32_t index, struct lv_facts *out,
          struct fault *f)
{
  const struct lvtext_lv *lv;

  if (l->set == NULL || index > l->want.count || !l->set[index].known)
    return fault_set (f, FAULT_PROTO, 0, "no such volume is open");
  lv = &l->set[index].lv;
  memset (out, 0, sizeof *out);
  memcpy (out->vg_uuid, lv->vg_uuid, sizeof out->vg_uuid);
  memcpy (out->lv_uuid, lv->lv_uuid, sizeof out->lv_uuid);
  memcpy (out->image, lv->image, sizeof out->image);
  memcpy (out->ranges, lv->ranges, sizeof out->ranges);
  out->size = lv->size;
  out->slot = lv->slot;
  return 0;
}

/* --- devices ---------------------------------------------------------- */

/* The state of volume I, once it is not suspended. */
static int
settled (const struct lv *l, uint32_t i, struct dm *d, struct fault *f)
{
  char id[DM_ID_SIZE];

  dm_id (l->set[i].lv.vg_uuid, l->set[i].lv.lv_uuid, id);
  for (int n = 0; n < SUSPENDED_TRIES; n++) {
    if (dm_status (id, d, f) < 0)
      return -1;
    if (!d->suspended)
      return 0;
    poll (NULL, 0, SUSPENDED_PAUSE_MS);
  }
  return fault_set (f, FAULT_BUSY, 0,
                    "its device is suspended for more than %d s; look at "
                    "dmsetup info and at processes of lvm",
                    SUSPENDED_TRIES * SUSPENDED_PAUSE_MS / 1000);
}

static int
open_device (struct lv *l, uint32_t i, struct fault *f)
{
  struct volume_set *s = &l->set[i];
  char id[DM_ID_SIZE];
  struct dm d;

  if (s->fd >= 0)
    return 0;
  dm_id (s->lv.vg_uuid, s->lv.lv_uuid, id);
  if (settled (l, i, &d, f) < 0)
    return -1;
  s->fd = dm_open (id, i < l->want.count && l->want.mode != LV_READ, f);
  return s->fd < 0 ? -1 : 0;
}

/* Only while they are read: what we hold open vdsm cannot deactivate, and it
   does not try again. */
static int
open_metadata (struct lv *l, struct fault *f)
{
  struct fault why = FAULT_INIT;

  if (open_device (l, l->want.count, &why) == 0)
    return 0;
  if (why.code == FAULT_NOTFOUND)
    return fault_set (f, FAULT_REMOTE, ENODEV,
                      "domain %s: its metadata are not active on this host: "
                      "vdsm is not connected to it",
                      l->want.sd);
  fault_copy (f, &why);
  return fault_prefix (f, "metadata of domain %s", l->want.sd);
}

/* --- open ------------------------------------------------------------- */

static void
shut (struct lv *l, uint32_t i)
{
  if (l->set[i].fd >= 0)
    close (l->set[i].fd);
  l->set[i].fd = -1;
}

static void
forget (struct lv *l)
{
  for (uint32_t i = 0; i <= l->want.count; i++)
    shut (l, i);
  free (l->set);
  free (l->duties);
  l->set = NULL;
  l->duties = NULL;
  l->duty_count = 0;
}

int
lv_open (struct lv *l, const struct lv_want *want, struct fault *f)
{
  if (geteuid () != 0)
    return fault_set (f, FAULT_REMOTE, 0,
                      "logical volumes need root: connect as root, or set "
                      "ssh.sudo");
  if (l->set != NULL || !want_valid (want))
    return fault_set (f, FAULT_PROTO, 0, "a set of volumes that cannot be");
  l->want = *want;
  l->group.version = want->version;
  memcpy (l->group.pool, want->pool, sizeof l->group.pool);
  l->group.lun_count = want->lun_count;
  l->group.luns = l->want.luns;
  l->set = xcalloc (want->count + 1, sizeof *l->set);
  l->duties = xcalloc (want->count + 1, sizeof *l->duties);
  for (uint32_t i = 0; i <= want->count; i++)
    l->set[i].fd = -1;
  if (lvm_probe (&l->lvm, f) == 0 && check_luns (l, f) == 0
      && list_group (l, f) == 0 && lv_list (l, f) == 0
      && open_metadata (l, f) == 0) {
    shut (l, want->count);
    return 0;
  }
  forget (l);
  return -1;
}

/* --- activate --------------------------------------------------------- */

static struct lvstate_volume *
duty_of (struct lv *l, const struct lvtext_lv *lv)
{
  for (size_t i = 0; i < l->duty_count; i++) {
    if (strcmp (l->duties[i].lv_uuid, lv->lv_uuid) == 0)
      return &l->duties[i];
  }
  return NULL;
}

/* Write down that LV is our duty, before it is. */
static int
add_duty (struct lv *l, const struct lvtext_lv *lv, bool mine, struct fault *f)
{
  struct lvstate_volume *d = duty_of (l, lv);
  struct lvstate_volume v = { .mine = mine };

  if (d != NULL && (d->mine || !mine))
    return 0;
  if (l->record.fd < 0
      && lvstate_create (l->want.sd, &l->group, &l->record, f) < 0)
    return -1;
  snprintf (v.name, sizeof v.name, "%.36s", lv->name);
  memcpy (v.vg_uuid, lv->vg_uuid, sizeof v.vg_uuid);
  memcpy (v.lv_uuid, lv->lv_uuid, sizeof v.lv_uuid);
  if (lvstate_add (&l->record, &v, f) < 0)
    return -1;
  if (d == NULL)
    d = &l->duties[l->duty_count++];
  *d = v;
  return 0;
}

/* May volume I, whose device is D, be written?  Nobody else uses it. */
static int
check_target (const struct lv *l, uint32_t i, const struct dm *d, bool linked,
              const char *link, struct fault *f)
{
  if (l->want.mode == LV_WRITE_LOCKED) {
    if (!d->active || !linked)
      return fault_set (f, FAULT_BUSY, 0,
                        "the engine's transfer has not prepared it on this "
                        "host");
  }
  else if (linked)
    return fault_set (f, FAULT_BUSY, 0, "vdsm uses it: %s", link);
  else if (d->active && duty_of ((struct lv *)l, &l->set[i].lv) == NULL)
    return fault_set (f, FAULT_BUSY, 0,
                      "it is active already: somebody uses it");
  if (d->active && d->read_only)
    return fault_set (f, FAULT_BUSY, 0, "its device is read-only");
  return 0;
}

/* What volume I needs: WORD "y" to be activated, "refresh", or NULL. */
static int
inspect (struct lv *l, uint32_t i, const char **word, struct fault *f)
{
  const struct lvtext_lv *lv = &l->set[i].lv;
  char link[256] = "";
  enum lvstate_claim claim;
  bool mine = false;
  struct dm d;
  bool linked;

  *word = NULL;
  if (l->set[i].fd >= 0)
    return 0;
  if (settled (l, i, &d, f) < 0)
    return -1;
  linked = lvrelease_linked (l->want.sd, lv->name, link, sizeof link);
  if (l->want.mode != LV_READ && check_target (l, i, &d, linked, link, f) < 0)
    return -1;
  if (!d.active) {
    *word = "y";
    return add_duty (l, lv, true, f);
  }
  if (d.size != lv->size)
    *word = "refresh";
  if (linked)
    return add_duty (l, lv, false, f);
  claim = lvstate_claims (lv->lv_uuid, &l->record, &mine);
  /* nobody keeps its table up to date, which may map extents that are another
     volume's by now */
  if (claim != LVSTATE_LIVING && l->want.mode == LV_READ)
    *word = "refresh";
  /* active by another of our helpers, or what vdsm gave up and could not
     deactivate because of that one: the last one does */
  if (claim != LVSTATE_NOBODY)
    return add_duty (l, lv, mine, f);
  /* vdsm is about to link it */
  return lvm_changes (l->want.sd, lv->name) != 0 ? add_duty (l, lv, false, f)
                                                 : 0;
}

static int
change (struct lv *l, bool read_only, const char *word,
        const char *const *names, struct fault *f)
{
  const char *const on[] = { "--autobackup", "n", "--available", "y", NULL };
  const char *const refresh[] = { "--refresh", NULL };
  struct lvm_result result = { .out = NULL };
  char reason[200];
  int rc;

  rc = lvm_try (&l->lvm, l->want.sd, &l->group, read_only, "lvchange",
                strcmp (word, "y") == 0 ? on : refresh, names, &result, f);
  if (rc == 0 && result.status != 0) {
    lvtext_reason (result.errors, reason, sizeof reason);
    rc = fault_set (f,
                    lvtext_classify (result.errors) == LVTEXT_NOT_FOUND
                        ? FAULT_CORRUPT
                        : FAULT_REMOTE,
                    0, "lvchange of domain %s ended with status %d: %s",
                    l->want.sd, result.status, reason);
  }
  lvm_result_reset (&result);
  return rc;
}

/* One command for all that need the same. */
static int
change_all (struct lv *l, const char *word, const char *const *words,
            struct fault *f)
{
  CLEANUP_FREE const char **names = xcalloc (l->want.count + 1, sizeof *names);
  struct fault why = FAULT_INIT;
  bool on = strcmp (word, "y") == 0;
  size_t n = 0;

  for (uint32_t i = 0; i < l->want.count; i++) {
    if (words[i] != NULL && strcmp (words[i], word) == 0)
      names[n++] = name_of (l, i);
  }
  if (n == 0)
    return 0;
  if (on && l->want.mode == LV_READ && change (l, true, word, names, &why) == 0)
    return 0;
  /* a host that cannot activate read-only still can activate; our descriptors
     are read-only in any case */
  if (why.code != FAULT_NONE && why.code != FAULT_REMOTE)
    return fault_copy (f, &why);
  return change (l, false, word, names, f);
}

static int
bring_up (struct lv *l, struct fault *f)
{
  CLEANUP_FREE const char **words = xcalloc (l->want.count, sizeof *words);

  for (uint32_t i = 0; i < l->want.count; i++) {
    if (inspect (l, i, &words[i], f) < 0)
      return fault_prefix (f, "volume %s", name_of (l, i));
  }
  if (change_all (l, "y", words, f) < 0
      || change_all (l, "refresh", words, f) < 0)
    return -1;
  for (uint32_t i = 0; i < l->want.count; i++) {
    if (open_device (l, i, f) < 0)
      return fault_prefix (f, "volume %s", name_of (l, i));
  }
  return 0;
}

/* Nobody but us has the volume I that we are about to write open; udev may,
   for a moment. */
static int
check_alone (struct lv *l, uint32_t i, struct fault *f)
{
  struct dm d;

  for (int n = 0; n < ALONE_TRIES; n++) {
    if (settled (l, i, &d, f) < 0)
      return -1;
    if (d.open_count == 1)
      return 0;
    poll (NULL, 0, ALONE_PAUSE_MS);
  }
  return fault_set (f, FAULT_BUSY, 0, "volume %s: somebody else has opened it",
                    name_of (l, i));
}

/* What is open has the size that LVM says. */
static int
check_sizes (struct lv *l, struct fault *f)
{
  struct dm d;

  for (uint32_t i = 0; i < l->want.count; i++) {
    if (settled (l, i, &d, f) < 0)
      return -1;
    if (!d.active || d.size != l->set[i].lv.size)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "volume %s: its device has %llu bytes, LVM says %llu",
                        name_of (l, i), (unsigned long long)d.size,
                        (unsigned long long)l->set[i].lv.size);
    if (l->want.mode == LV_WRITE && check_alone (l, i, f) < 0)
      return -1;
  }
  return 0;
}

int
lv_activate (struct lv *l, struct fault *f)
{
  struct fault why = FAULT_INIT;

  if (l->set == NULL || l->want.count == 0)
    return fault_set (f, FAULT_PROTO, 0, "no volumes are open");
  for (int i = 0; i < OPEN_TRIES; i++) {
    fault_reset (&why);
    if (bring_up (l, &why) == 0)
      return check_sizes (l, f);
    /* vdsm deactivated it before it was open */
    if (why.code != FAULT_NOTFOUND)
      break;
  }
  return fault_copy (f, &why);
}

int
lv_take (struct lv *l, uint32_t index, struct fault *f)
{
  if (l->set != NULL && index == l->want.count && open_metadata (l, f) < 0)
    return -1;
  if (l->set == NULL || index > l->want.count || l->set[index].fd < 0)
    return fault_set (f, FAULT_PROTO, 0, "no such volume is open");
  return steal_fd (&l->set[index].fd);
}

/* --- close ------------------------------------------------------------ */

void
lv_close (struct lv *l, struct buf *report)
{
  bool done;

  if (l->set == NULL)
    return;
  for (uint32_t i = 0; i <= l->want.count; i++)
    shut (l, i);
  done = lvrelease (&l->lvm, l->want.sd, &l->group, l->duties, l->duty_count,
                    &l->record, report);
  lvstate_close (&l->record, done);
  forget (l);
}

void
lv_reap (struct lv *l, struct buf *report)
{
  lvrelease_reap (&l->lvm, report);
}
