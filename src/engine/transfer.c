/* SPDX-License-Identifier: Apache-2.0 */
/* The upload lock.  An upload owns its disk: cancelling, or a finalize that
   the engine does not like, removes it. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/change.h"
#include "engine/disk.h"
#include "engine/pace.h"
#include "engine/transfer.h"

#define TRANSFER_START_S 900
#define TRANSFER_END_S 3600

static int
parse (const struct doc_node *node, struct transfer *t, struct fault *f)
{
  char disk_id[UUID_SIZE];

  doc_word (node, "phase", t->phase, sizeof t->phase);
  if (doc_need_id (node, t->id, f) < 0
      || doc_id (node, "image", disk_id, f) < 0)
    return -1;
  /* Some versions leave the image out once the transfer has ended. */
  if (disk_id[0] != '\0' && strcmp (disk_id, t->disk_id) != 0)
    return fault_set (f, FAULT_PROTO, 0, "transfer %s is of disk %s", t->id,
                      disk_id);
  return 0;
}

/* *GONE is true when there is none. */
static int
get (struct engine *engine, struct transfer *t, bool *gone, struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  struct fault now = FAULT_INIT;

  *gone = false;
  if (call_get_at (engine, "imagetransfers/%", t->id, NULL, &doc, &now) < 0) {
    *gone = now.code == FAULT_NOTFOUND;
    return *gone ? 0 : fault_copy (f, &now);
  }
  return parse (doc_root (doc), t, f);
}

static bool
phase_is (const struct transfer *t, const char *const *phases)
{
  for (; *phases != NULL; phases++) {
    if (strcmp (t->phase, *phases) == 0)
      return true;
  }
  return false;
}

/* The upload that holds the disk, among all. */
static int
match (const struct doc_node *item, void *opaque, struct fault *f)
{
  static const char *const ended[] = { "finished_success",
                                       "finished_failure",
                                       "finished_cleanup",
                                       "cancelled",
                                       "cancelled_system",
                                       "cancelled_user",
                                       NULL };
  struct transfer *t = opaque;
  struct transfer seen = { .id = "" };
  char direction[16];

  if (doc_id (item, "image", seen.disk_id, f) < 0)
    return -1;
  doc_word (item, "direction", direction, sizeof direction);
  if (strcmp (seen.disk_id, t->disk_id) != 0
      || strcmp (direction, "upload") != 0)
    return 0;
  if (parse (item, &seen, f) < 0)
    return -1;
  if (!phase_is (&seen, ended))
    memcpy (t->id, seen.id, UUID_SIZE);
  return 0;
}

/* change.look */
static int
look_for_transfer (struct engine *engine, void *opaque, bool *found,
                   struct fault *f)
{
  struct transfer *t = opaque;

  if (call_each (engine, "imagetransfers", "image_transfer", match, t, f) < 0)
    return -1;
  *found = t->id[0] != '\0';
  return 0;
}

int
transfer_find (struct engine *engine, const char *disk_id, struct transfer *out,
               struct fault *f)
{
  bool found;

  *out = (struct transfer){ .id = "" };
  if (!uuid_valid (disk_id))
    return fault_set (f, FAULT_PROTO, 0, "a disk without an id");
  strcpy (out->disk_id, disk_id);
  return look_for_transfer (engine, out, &found, f);
}

static int
wait_transferring (struct engine *engine, struct transfer *t, struct fault *f)
{
  static const char *const coming[]
      = { "unknown", "initializing", "resuming", "", NULL };
  struct pace pace;
  bool gone;

  pace_start (&pace, engine, TRANSFER_START_S);
  for (;;) {
    if (get (engine, t, &gone, f) < 0)
      return -1;
    if (gone)
      return fault_set (f, FAULT_REMOTE, 0, "it vanished");
    if (strcmp (t->phase, "transferring") == 0)
      return 0;
    if (!phase_is (t, coming) || pace_over (&pace))
      return fault_set (f, FAULT_REMOTE, 0,
                        "its phase is %s; is ovirt-imageio running on that "
                        "host?",
                        t->phase);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

static int
lock (struct engine *engine, struct transfer *t, struct fault *f)
{
  CLEANUP (doc_free) struct doc *reply = NULL;
  CLEANUP_FREE char *body = xasprintf (
      "<image_transfer><disk id=\"%s\"/><direction>upload</direction>"
      "<host id=\"%s\"/><inactivity_timeout>0</inactivity_timeout>"
      "</image_transfer>",
      t->disk_id, t->host_id);
  struct change change = { .method = "POST",
                           .path = "imagetransfers",
                           .body = body,
                           .look = look_for_transfer,
                           .opaque = t };
  char correlation[TASK_CORRELATION_SIZE];
  bool found;

  if (change_make (engine, &change, correlation, &reply, f) < 0)
    return -1;
  if (t->id[0] == '\0' && reply != NULL
      && doc_need_id (doc_root (reply), t->id, f) < 0)
    return -1;
  if (t->id[0] == '\0' && look_for_transfer (engine, t, &found, f) < 0)
    return -1;
  if (t->id[0] == '\0')
    return fault_set (f, FAULT_REMOTE, 0, "the engine made none");
  return wait_transferring (engine, t, f);
}

int
transfer_lock (struct engine *engine, const char *disk_id, const char *host_id,
               struct transfer *out, struct fault *f)
{
  *out = (struct transfer){ .id = "" };
  if (!uuid_valid (disk_id) || !uuid_valid (host_id))
    return fault_set (f, FAULT_PROTO, 0, "lock a disk without ids");
  strcpy (out->disk_id, disk_id);
  strcpy (out->host_id, host_id);
  if (lock (engine, out, f) < 0)
    return fault_prefix (f, "hold disk %s by an upload transfer", disk_id);
  return 0;
}

/* change.look: a transfer that has left its phase has heard us. */
static int
look_for_phase (struct engine *engine, void *opaque, bool *found,
                struct fault *f)
{
  struct transfer now = *(const struct transfer *)opaque;
  bool gone;

  if (get (engine, &now, &gone, f) < 0)
    return -1;
  *found = gone || strcmp (now.phase, "transferring") != 0;
  return 0;
}

static int
act (struct engine *engine, const struct transfer *transfer,
     const char *pattern, struct fault *f)
{
  CLEANUP_FREE char *path = call_path (pattern, transfer->id, NULL, f);
  struct change change = { .method = "POST",
                           .path = path,
                           .body = "<action/>",
                           .look = look_for_phase,
                           .opaque = (void *)transfer,
                           .gone_is_done = true };
  char correlation[TASK_CORRELATION_SIZE];

  if (path == NULL)
    return -1;
  return change_make (engine, &change, correlation, NULL, f);
}

/* Before engine 4.4.7 a transfer is gone as soon as it has ended: the disk
   tells then how.  A cancelled one is not at its end: the disk is taken down
   on its host, and goes only then. */
static int
wait_end (struct engine *engine, struct transfer *t, bool cancelled,
          struct fault *f)
{
  static const char *const good[]
      = { "finished_success", "finished_cleanup", NULL };
  static const char *const after_cancel[]
      = { "finished_success", "finished_cleanup", "finished_failure", NULL };
  static const char *const bad[]
      = { "finished_failure", "cancelled", "cancelled_system", "cancelled_user",
          NULL };
  struct pace pace;
  bool gone;

  pace_start (&pace, engine, TRANSFER_END_S);
  for (;;) {
    if (get (engine, t, &gone, f) < 0)
      return -1;
    if (gone || phase_is (t, cancelled ? after_cancel : good))
      return 0;
    if (!cancelled && phase_is (t, bad))
      return fault_set (f, FAULT_CORRUPT, 0,
                        "the engine rejected the image: %s", t->phase);
    if (pace_over (&pace))
      return fault_set (f, FAULT_BUSY, 0, "its phase is still %s after %d s",
                        t->phase, TRANSFER_END_S);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

int
transfer_finalize (struct engine *engine, const struct transfer *transfer,
                   struct fault *f)
{
  CLEANUP (disk_free) struct disk *disk = NULL;
  struct transfer t = *transfer;
  struct fault now = FAULT_INIT;

  if (act (engine, transfer, "imagetransfers/%/finalize", f) < 0
      || wait_end (engine, &t, false, f) < 0)
    return fault_prefix (f, "finish the transfer of disk %s", t.disk_id);
  if (disk_wait_ok (engine, t.disk_id, TRANSFER_END_S, &disk, &now) == 0)
    return 0;
  if (now.code == FAULT_NOTFOUND)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "finish the transfer of disk %s: the engine rejected the "
                      "image and removed the disk",
                      t.disk_id);
  if (now.code == FAULT_REMOTE)
    now.code = FAULT_CORRUPT;
  fault_copy (f, &now);
  return fault_prefix (f, "finish the transfer of disk %s", t.disk_id);
}

int
transfer_cancel (struct engine *engine, const struct transfer *transfer,
                 struct fault *f)
{
  struct transfer t = *transfer;

  if (act (engine, transfer, "imagetransfers/%/cancel", f) < 0
      || wait_end (engine, &t, true, f) < 0)
    return fault_prefix (f, "cancel the transfer of disk %s", t.disk_id);
  return 0;
}
