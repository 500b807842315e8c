/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots.  "ok" is not enough to believe in one: on older engines a live
   snapshot that failed on the host keeps the status ok while qemu goes on
   writing into the layer that is called frozen; only events tell. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/change.h"
#include "engine/pace.h"
#include "engine/session.h"
#include "engine/snapshot.h"
#include "engine/vm.h"

#define SNAPSHOT_STAYS_LOOKS 3
#define SNAPSHOT_BODY_MAX (1u << 20)

/* 69, 117 failed; 170 live snapshot failed on the host; 173 memory failed;
   10774 left inconsistent. */
static const unsigned bad_events[] = { 69, 117, 170, 173, 10774, 0 };
/* The guest's file systems could not be frozen. */
static const unsigned freeze_events[] = { 10764, 0 };
/* Delete: refused, failed, partly failed, of one disk. */
static const unsigned delete_events[] = { 343, 357, 359, 376, 0 };

bool
snapshot_is_bad_event (unsigned code)
{
  for (size_t i = 0; bad_events[i] != 0; i++) {
    if (bad_events[i] == code)
      return true;
  }
  return false;
}

int
snapshot_parse (const struct doc_node *node, struct snapshot *snapshot,
                struct fault *f)
{
  CLEANUP_FREE char *date = doc_string (node, "date");

  *snapshot = (struct snapshot){ .date = 0 };
  if (doc_need_id (node, snapshot->id, f) < 0
      || doc_id (node, "vm", snapshot->vm_id, f) < 0
      || (date[0] != '\0' && stamp_parse_iso (date, &snapshot->date, f) < 0))
    return -1;
  doc_word (node, "snapshot_status", snapshot->status, sizeof snapshot->status);
  doc_word (node, "snapshot_type", snapshot->type, sizeof snapshot->type);
  snapshot->memory = doc_bool (node, "persist_memorystate", false);
  snapshot->description = doc_string (node, "description");
  snapshot->vm_name = xstrdup ("");
  return 0;
}

void
snapshot_reset (struct snapshot *snapshot)
{
  free (snapshot->description);
  free (snapshot->vm_name);
  *snapshot = (struct snapshot){ .date = 0 };
}

void
snapshot_free (struct snapshot *snapshot)
{
  if (snapshot == NULL)
    return;
  snapshot_reset (snapshot);
  free (snapshot);
}

void
snapshot_list_free (struct snapshot_list *list)
{
  if (list == NULL)
    return;
  for (size_t i = 0; i < list->count; i++)
    snapshot_reset (&list->items[i]);
  free (list->items);
  free (list);
}

static int
append (struct snapshot_list *list, const struct snapshot *snapshot,
        struct fault *f)
{
  if (list->count == SNAPSHOT_LIST_MAX)
    return fault_set (f, FAULT_PROTO, 0,
                      "the engine lists more than %d snapshots",
                      SNAPSHOT_LIST_MAX);
  list->items
      = xreallocarray (list->items, list->count + 1, sizeof *list->items);
  list->items[list->count++] = *snapshot;
  return 0;
}

static int
gather (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct snapshot snapshot;

  if (snapshot_parse (item, &snapshot, f) < 0)
    return -1;
  if (append (opaque, &snapshot, f) < 0) {
    snapshot_reset (&snapshot);
    return -1;
  }
  return 0;
}

int
snapshot_list (struct engine *engine, const char *vm_id,
               struct snapshot_list **list, struct fault *f)
{
  CLEANUP_FREE char *path = call_path ("vms/%/snapshots", vm_id, NULL, f);
  CLEANUP (snapshot_list_free)
  struct snapshot_list *found = xcalloc (1, sizeof *found);

  *list = NULL;
  if (path == NULL)
    return -1;
  if (call_each (engine, path, "snapshot", gather, found, f) < 0)
    return fault_prefix (f, "snapshots of VM %s", vm_id);
  for (size_t i = 0; i < found->count; i++)
    strcpy (found->items[i].vm_id, vm_id);
  *list = steal_ptr (&found);
  return 0;
}

int
snapshot_get (struct engine *engine, const char *vm_id, const char *snapshot_id,
              struct snapshot **snapshot, struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  struct snapshot parsed;

  *snapshot = NULL;
  if (call_get_at (engine, "vms/%/snapshots/%", vm_id, snapshot_id, &doc, f) < 0
      || snapshot_parse (doc_root (doc), &parsed, f) < 0)
    return fault_prefix (f, "snapshot %s", snapshot_id);
  strcpy (parsed.vm_id, vm_id);
  *snapshot = xmalloc (sizeof **snapshot);
  **snapshot = parsed;
  return 0;
}

/* What snapshot_list_ours gathers. */
struct ours {
  struct engine *engine;
  struct snapshot_list *list;
  const char *prefix;
};

static bool
is_listed (const struct snapshot_list *list, const char *id)
{
  for (size_t i = 0; i < list->count; i++) {
    if (strcmp (list->items[i].id, id) == 0)
      return true;
  }
  return false;
}

static int
gather_of_vm (const struct doc_node *vm, void *opaque, struct fault *f)
{
  struct ours *ours = opaque;
  const struct doc_node *snapshots = doc_first (vm, "snapshots");
  CLEANUP (doc_free) struct doc *doc = NULL;
  const struct doc_node *item;
  char vm_id[UUID_SIZE];

  if (doc_need_id (vm, vm_id, f) < 0)
    return -1;
  if (snapshots == NULL) { /* not followed: read it by itself */
    struct fault now = FAULT_INIT;

    if (call_get_at (ours->engine, "vms/%/snapshots", vm_id, NULL, &doc, &now)
        < 0)
      return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
    snapshots = doc_root (doc);
  }
  item = doc_first (snapshots, "snapshot");
  for (; item != NULL; item = doc_next (item, "snapshot")) {
    struct snapshot s;

    if (snapshot_parse (item, &s, f) < 0)
      return -1;
    if (strcmp (s.type, "active") == 0
        || strncmp (s.description, ours->prefix, strlen (ours->prefix)) != 0
        || is_listed (ours->list, s.id)) {
      snapshot_reset (&s);
      continue;
    }
    strcpy (s.vm_id, vm_id);
    free (s.vm_name);
    s.vm_name = doc_string (vm, "name");
    if (append (ours->list, &s, f) < 0) {
      snapshot_reset (&s);
      return -1;
    }
  }
  return 0;
}

int
snapshot_list_ours (struct engine *engine, const char *prefix,
                    struct snapshot_list **list, struct fault *f)
{
  CLEANUP (snapshot_list_free)
  struct snapshot_list *found = xcalloc (1, sizeof *found);
  struct ours ours = { .engine = engine, .list = found, .prefix = prefix };

  *list = NULL;
  if (call_each_vm (engine, "snapshots", VM_PAGE, gather_of_vm, &ours, f) < 0)
    return fault_prefix (f, "snapshots of all VMs");
  *list = steal_ptr (&found);
  return 0;
}

/* A snapshot that is looked for by its description. */
struct wanted {
  const char *vm_id;
  const char *description;
  char id[UUID_SIZE]; /* "" until it is found */
};

/* change.look */
static int
look_for_snapshot (struct engine *engine, void *opaque, bool *found,
                   struct fault *f)
{
  struct wanted *wanted = opaque;
  CLEANUP (snapshot_list_free) struct snapshot_list *list = NULL;

  *found = false;
  if (snapshot_list (engine, wanted->vm_id, &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++) {
    if (strcmp (list->items[i].description, wanted->description) == 0
        && strcmp (list->items[i].type, "active") != 0) {
      strcpy (wanted->id, list->items[i].id);
      *found = true;
    }
  }
  return 0;
}

static char *
create_body (const struct snapshot_create *c, struct fault *f)
{
  struct buf b;

  if (c->disk_count == 0 || c->disk_count > VM_DISKS_MAX) {
    fault_set (f, FAULT_INTERNAL, 0, "a snapshot of %zu disks", c->disk_count);
    return NULL;
  }
  buf_init (&b, SNAPSHOT_BODY_MAX);
  buf_printf (&b, "<snapshot><description>");
  doc_put_text (&b, c->description);
  /* Memory would be saved by default, with the guest stopped meanwhile. */
  buf_printf (&b, "</description>"
                  "<persist_memorystate>false</persist_memorystate>"
                  "<disk_attachments>");
  for (size_t i = 0; i < c->disk_count; i++) {
    if (!uuid_valid (c->disk_ids[i]))
      b.bad = true;
    buf_printf (&b, "<disk_attachment><disk id=\"%s\"/></disk_attachment>",
                c->disk_ids[i]);
  }
  buf_printf (&b, "</disk_attachments></snapshot>");
  buf_put_u8 (&b, 0);
  if (!buf_bad (&b))
    return (char *)b.data;
  buf_reset (&b);
  fault_set (f, FAULT_INTERNAL, 0, "a snapshot of disks without ids");
  return NULL;
}

static int
create (struct engine *engine, const struct snapshot_create *c,
        char correlation[static TASK_CORRELATION_SIZE], struct wanted *wanted,
        struct fault *f)
{
  CLEANUP_FREE char *path = call_path ("vms/%/snapshots", c->vm_id, NULL, f);
  CLEANUP_FREE char *body = create_body (c, f);
  CLEANUP (doc_free) struct doc *reply = NULL;
  struct change change = { .method = "POST",
                           .path = path,
                           .body = body,
                           .look = look_for_snapshot,
                           .opaque = wanted };
  bool found;

  if (path == NULL || body == NULL
      || look_for_snapshot (engine, wanted, &found, f) < 0)
    return -1;
  if (found)
    return fault_set (f, FAULT_BUSY, 0,
                      "snapshot %s has that description already", wanted->id);
  if (change_make (engine, &change, correlation, &reply, f) < 0)
    return -1;
  if (wanted->id[0] != '\0')
    return 0;
  if (reply != NULL)
    return doc_need_id (doc_root (reply), wanted->id, f);
  if (look_for_snapshot (engine, wanted, &found, f) < 0)
    return -1;
  if (!found)
    return fault_set (f, FAULT_REMOTE, 0, "the engine made none");
  return 0;
}

int
snapshot_create (struct engine *engine, const struct snapshot_create *c,
                 char correlation[static TASK_CORRELATION_SIZE],
                 struct snapshot **snapshot, struct fault *f)
{
  struct wanted wanted = { .vm_id = c->vm_id, .description = c->description };

  *snapshot = NULL;
  correlation[0] = '\0';
  if (create (engine, c, correlation, &wanted, f) < 0)
    return fault_prefix (f, "create a snapshot of VM %s", c->vm_id);
  if (snapshot_get (engine, c->vm_id, wanted.id, snapshot, f) < 0) {
    if (f->code == FAULT_NOTFOUND)
      f->code = FAULT_REMOTE; /* made, and rolled back at once */
    return fault_prefix (f, "create a snapshot of VM %s", c->vm_id);
  }
  return 0;
}

/* The first of the events of CORRELATION with one of CODES, as text; "" when
   there is none. */
static int
event_text (struct engine *engine, const char *correlation,
            const unsigned *codes, char *text, size_t size, struct fault *f)
{
  CLEANUP (task_events_free) struct task_events *events = NULL;
  const struct task_event *e;

  text[0] = '\0';
  if (correlation[0] == '\0')
    return 0;
  if (task_events_of (engine, correlation, &events, f) < 0)
    return -1;
  e = task_find_event (events, codes);
  if (e != NULL)
    snprintf (text, size, "%s (event %u)", e->description, e->code);
  return 0;
}

static int
vanished (struct engine *engine, const char *vm_id, const char *snapshot_id,
          const char *correlation, struct fault *f)
{
  struct fault ignored = FAULT_INIT;
  char text[CALL_TEXT_MAX] = "";

  event_text (engine, correlation, bad_events, text, sizeof text, &ignored);
  return fault_set (f, FAULT_REMOTE, 0, "snapshot %s of VM %s vanished: %s",
                    snapshot_id, vm_id,
                    text[0] != '\0'
                        ? text
                        : "the engine rolled it back or somebody removed it");
}

/* Polls until the snapshot is ok. */
static int
wait_ok (struct engine *engine, const char *vm_id, const char *snapshot_id,
         const char *correlation, unsigned timeout_s,
         struct snapshot **snapshot, struct fault *f)
{
  struct pace pace;

  pace_start (&pace, engine, timeout_s);
  for (;;) {
    CLEANUP (snapshot_free) struct snapshot *s = NULL;
    struct fault now = FAULT_INIT;

    if (snapshot_get (engine, vm_id, snapshot_id, &s, &now) < 0) {
      if (now.code == FAULT_NOTFOUND)
        return vanished (engine, vm_id, snapshot_id, correlation, f);
      return fault_copy (f, &now);
    }
    if (strcmp (s->status, "ok") == 0) {
      *snapshot = steal_ptr (&s);
      return 0;
    }
    if (strcmp (s->status, "locked") != 0)
      return fault_set (f, FAULT_REMOTE, 0, "snapshot %s of VM %s is %s",
                        snapshot_id, vm_id, s->status);
    if (pace_over (&pace))
      return fault_set (f, FAULT_BUSY, 0,
                        "snapshot %s of VM %s is still locked after %u s",
                        snapshot_id, vm_id, timeout_s);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

/* The job has ended well and no event says otherwise. */
static int
believe (struct engine *engine, const char *correlation, unsigned timeout_s,
         struct snapshot *snapshot, struct fault *f)
{
  char text[CALL_TEXT_MAX];

  if (correlation[0] == '\0')
    return 0;
  if (task_wait (engine, correlation, timeout_s, f) < 0
      || event_text (engine, correlation, bad_events, text, sizeof text, f) < 0)
    return -1;
  if (text[0] != '\0')
    return fault_set (f, FAULT_REMOTE, 0, "it is not to be trusted: %s", text);
  if (event_text (engine, correlation, freeze_events, text, sizeof text, f) < 0)
    return -1;
  if (text[0] != '\0') {
    log_warn ("snapshot %s: %s", snapshot->id, text);
    snapshot->unfrozen = true;
  }
  return 0;
}

int
snapshot_wait (struct engine *engine, const char *vm_id,
               const char *snapshot_id, const char *correlation,
               unsigned timeout_s, struct snapshot **snapshot, struct fault *f)
{
  CLEANUP (snapshot_free) struct snapshot *s = NULL;

  *snapshot = NULL;
  if (wait_ok (engine, vm_id, snapshot_id, correlation, timeout_s, &s, f) < 0)
    return -1;
  if (believe (engine, correlation, timeout_s, s, f) < 0)
    return fault_prefix (f, "snapshot %s of VM %s", snapshot_id, vm_id);
  *snapshot = steal_ptr (&s);
  return 0;
}

int
snapshot_get_ovf (struct engine *engine, const char *vm_id,
                  const char *snapshot_id, char **ovf, struct fault *f)
{
  CLEANUP_FREE char *path
      = call_path ("vms/%/snapshots/%?all_content=true", vm_id, snapshot_id, f);
  struct pace pace;

  *ovf = NULL;
  if (path == NULL)
    return -1;
  pace_start (&pace, engine, engine->busy_s);
  for (;;) {
    CLEANUP (doc_free) struct doc *doc = NULL;
    const struct doc_node *data;

    if (call_get_all_content (engine, path, &doc, f) < 0)
      return fault_prefix (f, "configuration of snapshot %s", snapshot_id);
    data = doc_child (doc_root (doc), "initialization/configuration/data");
    if (data != NULL) {
      *ovf = doc_string (data, "");
      return 0;
    }
    if (pace_over (&pace))
      return fault_set (f, FAULT_BUSY, 0,
                        "configuration of snapshot %s: the engine gives none "
                        "(asked for %u s), as it does while a disk or the VM "
                        "is locked: try again later",
                        snapshot_id, engine->busy_s);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

static int
gather_disk (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct disk_list *list = opaque;
  struct disk disk;

  if (list->count == VM_DISKS_MAX)
    return fault_set (f, FAULT_PROTO, 0, "it has more than %d disks",
                      VM_DISKS_MAX);
  if (disk_parse (item, &disk, f) < 0)
    return -1;
  list->items
      = xreallocarray (list->items, list->count + 1, sizeof *list->items);
  list->items[list->count++] = disk;
  return 0;
}

int
snapshot_disks (struct engine *engine, const char *vm_id,
                const char *snapshot_id, struct disk_list **list,
                struct fault *f)
{
  CLEANUP_FREE char *path
      = call_path ("vms/%/snapshots/%/disks", vm_id, snapshot_id, f);
  CLEANUP (disk_list_free) struct disk_list *found = xcalloc (1, sizeof *found);

  *list = NULL;
  if (path == NULL)
    return -1;
  if (call_each (engine, path, "disk", gather_disk, found, f) < 0)
    return fault_prefix (f, "disks of snapshot %s", snapshot_id);
  *list = steal_ptr (&found);
  return 0;
}

/* change.look: is a delete of it on its way, or over? */
static int
look_for_delete (struct engine *engine, void *opaque, bool *found,
                 struct fault *f)
{
  const struct wanted *wanted = opaque;
  CLEANUP (snapshot_free) struct snapshot *s = NULL;
  struct fault now = FAULT_INIT;

  *found = true;
  if (snapshot_get (engine, wanted->vm_id, wanted->id, &s, &now) < 0)
    return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
  *found = strcmp (s->status, "locked") == 0;
  return 0;
}

static int
stayed (struct engine *engine, const char *correlation, const char *status,
        struct fault *f)
{
  char text[CALL_TEXT_MAX];

  if (event_text (engine, correlation, delete_events, text, sizeof text, f) < 0)
    return -1;
  return fault_set (f, FAULT_REMOTE, 0,
                    "the engine did not remove it, it is %s%s%s", status,
                    text[0] != '\0' ? ": " : "", text);
}

/* Polls until the snapshot is gone.  Its status is ok for a moment before the
   engine begins, and again when the merge has failed. */
static int
wait_gone (struct engine *engine, const char *vm_id, const char *snapshot_id,
           const char *correlation, unsigned timeout_s, struct fault *f)
{
  unsigned idle = 0;
  struct pace pace;

  pace_start (&pace, engine, timeout_s);
  for (;;) {
    CLEANUP (snapshot_free) struct snapshot *s = NULL;
    struct fault now = FAULT_INIT;
    char text[CALL_TEXT_MAX];
    enum task_state state;

    if (snapshot_get (engine, vm_id, snapshot_id, &s, &now) < 0)
      return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
    if (task_state (engine, correlation, &state, text, sizeof text, f) < 0)
      return -1;
    idle = strcmp (s->status, "locked") != 0 && state != TASK_RUNNING ? idle + 1
                                                                      : 0;
    if (idle >= SNAPSHOT_STAYS_LOOKS || pace_over (&pace))
      return stayed (engine, correlation, s->status, f);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

/* After the merge every disk of the VM is ok again. */
static int
wait_disks (struct engine *engine, const char *vm_id, unsigned timeout_s,
            struct fault *f)
{
  struct pace pace;

  pace_start (&pace, engine, timeout_s);
  for (;;) {
    CLEANUP (vm_free) struct vm *vm = NULL;
    const struct disk *locked = NULL;
    struct fault now = FAULT_INIT;

    if (vm_get (engine, vm_id, &vm, &now) < 0)
      return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
    for (size_t i = 0; i < vm->disk_count; i++) {
      const struct disk *disk = &vm->disks[i].disk;

      if (strcmp (disk->status, "illegal") == 0)
        return fault_set (f, FAULT_REMOTE, 0,
                          "afterwards disk %s (%s) is illegal: see the "
                          "engine's events, the disk may need repair",
                          disk->alias, disk->id);
      if (strcmp (disk->status, "locked") == 0)
        locked = disk;
    }
    if (locked == NULL)
      return 0;
    if (pace_over (&pace))
      return fault_set (f, FAULT_BUSY, 0,
                        "afterwards disk %s (%s) stays locked", locked->alias,
                        locked->id);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

int
snapshot_delete (struct engine *engine, const char *vm_id,
                 const char *snapshot_id, unsigned timeout_s, struct fault *f)
{
  CLEANUP_FREE char *path
      = call_path ("vms/%/snapshots/%", vm_id, snapshot_id, f);
  struct wanted wanted = { .vm_id = vm_id };
  struct change change = { .method = "DELETE",
                           .path = path,
                           .look = look_for_delete,
                           .opaque = &wanted,
                           .gone_is_done = true };
  char correlation[TASK_CORRELATION_SIZE];

  if (path == NULL)
    return -1;
  strcpy (wanted.id, snapshot_id);
  if (change_make (engine, &change, correlation, NULL, f) < 0
      || wait_gone (engine, vm_id, snapshot_id, correlation, timeout_s, f) < 0
      || task_wait (engine, correlation, timeout_s, f) < 0
      || wait_disks (engine, vm_id, timeout_s, f) < 0)
    return fault_prefix (f, "remove snapshot %s of VM %s", snapshot_id, vm_id);
  return 0;
}
