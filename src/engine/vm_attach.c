/* SPDX-License-Identifier: Apache-2.0 */
/* Disks of a VM: attached, described, detached. */
#include <config.h>

#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "engine/call.h"
#include "engine/change.h"
#include "engine/pace.h"
#include "engine/vm.h"

#define VM_ATTACH_S 600
#define VM_ATTACH_BODY_MAX (64u << 10)

/* Which attachment is looked for. */
struct wanted {
  const char *vm_id;
  const struct vm_disk *disk;
};

int
vm_look_attachment (struct engine *engine, const char *vm_id,
                    const char *disk_id, struct vm_attachment *out,
                    struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  struct fault now = FAULT_INIT;

  *out = (struct vm_attachment){ .there = false };
  if (call_get_at (engine, "vms/%/diskattachments/%", vm_id, disk_id, &doc,
                   &now)
      < 0)
    return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
  if (doc_id (doc_root (doc), "disk/snapshot", out->snapshot_id, f) < 0)
    return -1;
  out->there = true;
  out->active = doc_bool (doc_root (doc), "active", false);
  return 0;
}

/* Is it the one that W asks for?  The engine may name the snapshot or not. */
static bool
fits (const struct vm_attachment *a, const struct wanted *w)
{
  return a->there
         && (a->snapshot_id[0] == '\0' || w->disk->snapshot_id[0] == '\0'
             || strcmp (a->snapshot_id, w->disk->snapshot_id) == 0);
}

/* change.look */
static int
look (struct engine *engine, void *opaque, bool *found, struct fault *f)
{
  const struct wanted *w = opaque;
  struct vm_attachment now;

  if (vm_look_attachment (engine, w->vm_id, w->disk->disk.id, &now, f) < 0)
    return -1;
  *found = fits (&now, w);
  return 0;
}

static int
wait_attached (struct engine *engine, const struct wanted *w, struct fault *f)
{
  struct vm_attachment now;
  struct pace pace;

  pace_start (&pace, engine, VM_ATTACH_S);
  for (;;) {
    if (vm_look_attachment (engine, w->vm_id, w->disk->disk.id, &now, f) < 0)
      return -1;
    if (fits (&now, w) && now.active == w->disk->active)
      return 0;
    if (pace_over (&pace))
      return fault_set (f, FAULT_REMOTE, 0, "after %u s it is %s", VM_ATTACH_S,
                        !fits (&now, w)
                            ? "not attached"
                            : (now.active ? "active" : "not active"));
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

int
vm_attach_disk (struct engine *engine, const char *vm_id,
                const struct vm_disk *attach, struct fault *f)
{
  struct wanted wanted = { .vm_id = vm_id, .disk = attach };
  CLEANUP_FREE char *path = call_path ("vms/%/diskattachments", vm_id, NULL, f);
  CLEANUP_FREE char *body = NULL;
  struct change change
      = { .method = "POST", .path = path, .look = look, .opaque = &wanted };
  char correlation[TASK_CORRELATION_SIZE];
  struct buf b;

  if (path == NULL)
    return -1;
  buf_init (&b, VM_ATTACH_BODY_MAX);
  buf_printf (&b,
              "<disk_attachment><active>%s</active><bootable>%s</bootable>"
              "<pass_discard>%s</pass_discard><read_only>%s</read_only>",
              attach->active ? "true" : "false",
              attach->bootable ? "true" : "false",
              attach->pass_discard ? "true" : "false",
              attach->read_only ? "true" : "false");
  doc_put_element (&b, "interface", attach->interface);
  buf_printf (&b, "<disk id=\"%s\">", attach->disk.id);
  if (attach->snapshot_id[0] != '\0')
    buf_printf (&b, "<snapshot id=\"%s\"/>", attach->snapshot_id);
  buf_printf (&b, "</disk></disk_attachment>");
  body = doc_take_body (&b, f);
  if (body == NULL)
    return -1;
  change.body = body;
  if (change_make (engine, &change, correlation, NULL, f) < 0
      || task_wait (engine, correlation, VM_ATTACH_S, f) < 0
      || wait_attached (engine, &wanted, f) < 0)
    return fault_prefix (f, "attach disk %s to VM %s", attach->disk.id, vm_id);
  return 0;
}

int
vm_update_disk (struct engine *engine, const char *vm_id, const char *disk_id,
                const char *description, struct fault *f)
{
  CLEANUP_FREE char *path
      = call_path ("vms/%/diskattachments/%", vm_id, disk_id, f);
  CLEANUP (disk_free) struct disk *disk = NULL;
  CLEANUP_FREE char *body = NULL;
  struct change change = { .method = "PUT", .path = path };
  char correlation[TASK_CORRELATION_SIZE];
  struct buf b;

  if (path == NULL)
    return -1;
  buf_init (&b, VM_ATTACH_BODY_MAX);
  buf_printf (&b, "<disk_attachment><disk>");
  doc_put_element (&b, "description", description);
  buf_printf (&b, "</disk></disk_attachment>");
  body = doc_take_body (&b, f);
  if (body == NULL)
    return -1;
  change.body = body;
  if (change_make (engine, &change, correlation, NULL, f) < 0
      || task_wait (engine, correlation, VM_ATTACH_S, f) < 0
      || disk_wait_ok (engine, disk_id, VM_ATTACH_S, &disk, f) < 0)
    return fault_prefix (f, "describe disk %s", disk_id);
  if (strcmp (disk->description, description) != 0)
    return fault_set (f, FAULT_REMOTE, 0,
                      "describe disk %s: the engine kept \"%s\"", disk_id,
                      disk->description);
  return 0;
}

static int
wait_detached (struct engine *engine, const char *vm_id, const char *disk_id,
               struct fault *f)
{
  struct vm_attachment now;
  struct pace pace;

  pace_start (&pace, engine, VM_ATTACH_S);
  for (;;) {
    if (vm_look_attachment (engine, vm_id, disk_id, &now, f) < 0)
      return -1;
    if (!now.there)
      return 0;
    if (pace_over (&pace))
      return fault_set (f, FAULT_REMOTE, 0, "after %u s it is still attached",
                        VM_ATTACH_S);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

int
vm_detach_disk (struct engine *engine, const char *vm_id, const char *disk_id,
                struct fault *f)
{
  /* What is said here is the default; "false" would delete the disk. */
  CLEANUP_FREE char *path = call_path (
      "vms/%/diskattachments/%?detach_only=true", vm_id, disk_id, f);
  struct change change
      = { .method = "DELETE", .path = path, .gone_is_done = true };
  char correlation[TASK_CORRELATION_SIZE];

  if (path == NULL)
    return -1;
  if (change_make (engine, &change, correlation, NULL, f) < 0
      || task_wait (engine, correlation, VM_ATTACH_S, f) < 0
      || wait_detached (engine, vm_id, disk_id, f) < 0)
    return fault_prefix (f, "detach disk %s from VM %s", disk_id, vm_id);
  return 0;
}
