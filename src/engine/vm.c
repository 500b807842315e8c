/* SPDX-License-Identifier: Apache-2.0 */
/* VMs: read, made for a restore, changed, removed. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/change.h"
#include "engine/ovf.h"
#include "engine/pace.h"
#include "engine/vm.h"

#define VM_OVF_S 600
#define VM_LIST_PASSES 3
#define VM_CREATE_S 3600
#define VM_DELETE_S 3600
#define VM_START_S 900
#define VM_DOWN_LOOKS 5
#define VM_STAYS_LOOKS 3
#define VM_BODY_MAX (OVF_SIZE_MAX * 5u) /* escaped */
#define VM_PAGE_PLAIN 500

void
vm_reset (struct vm *vm)
{
  for (size_t i = 0; i < vm->disk_count; i++)
    disk_reset (&vm->disks[i].disk);
  for (size_t i = 0; i < vm->nic_count; i++)
    free (vm->nics[i].name);
  for (size_t i = 0; i < vm->tag_count; i++)
    free (vm->tags[i]);
  free (vm->disks);
  free (vm->nics);
  free (vm->tags);
  free (vm->name);
  free (vm->description);
  free (vm->comment);
  *vm = (struct vm){ .memory = 0 };
}

void
vm_free (struct vm *vm)
{
  if (vm == NULL)
    return;
  vm_reset (vm);
  free (vm);
}

void
vm_list_free (struct vm_list *list)
{
  if (list == NULL)
    return;
  for (size_t i = 0; i < list->count; i++)
    vm_reset (&list->items[i]);
  free (list->items);
  free (list);
}

/* Where follow= has left a link in its place, the collection is read by
   itself. */
static int
fill_gaps (struct engine *engine, const struct doc_node *node, struct vm *vm,
           bool nics, struct fault *f)
{
  static const struct {
    const char *wrapper;
    const char *pattern;
    int (*parse) (const struct doc_node *node, struct vm *vm, struct fault *f);
  } parts[] = {
    { "disk_attachments", "vms/%/diskattachments?follow=disk", vm_parse_disks },
    { "tags", "vms/%/tags", vm_parse_tags },
    { "nics", "vms/%/nics", vm_parse_nics },
  };

  for (size_t i = 0; i < (nics ? 3u : 2u); i++) {
    CLEANUP (doc_free) struct doc *doc = NULL;

    if (doc_first (node, parts[i].wrapper) != NULL)
      continue;
    if (call_get_at (engine, parts[i].pattern, vm->id, NULL, &doc, f) < 0)
      return -1;
    /* vm_parse made these, empty. */
    if (i == 0)
      free (steal_ptr (&vm->disks));
    else if (i == 1)
      free (steal_ptr (&vm->tags));
    else
      free (steal_ptr (&vm->nics));
    if (parts[i].parse (doc_root (doc), vm, f) < 0)
      return -1;
  }
  return 0;
}

/* What vm_list gathers. */
struct gathered {
  struct engine *engine;
  struct vm_list *list;
};

static int
gather (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct gathered *g = opaque;
  struct vm_list *list = g->list;
  struct fault now = FAULT_INIT;
  struct vm vm;

  if (list->count == VM_LIST_MAX)
    return fault_set (f, FAULT_PROTO, 0, "the engine lists more than %d VMs",
                      VM_LIST_MAX);
  if (vm_parse (item, &vm, f) < 0)
    return -1;
  if (fill_gaps (g->engine, item, &vm, false, &now) < 0) {
    vm_reset (&vm);
    /* Removed between the two requests: not there, then. */
    return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
  }
  list->items
      = xreallocarray (list->items, list->count + 1, sizeof *list->items);
  list->items[list->count++] = vm;
  return 0;
}

static int
by_id (const void *a, const void *b)
{
  return strcmp (((const struct vm *)a)->id, ((const struct vm *)b)->id);
}

static int
by_name (const void *a, const void *b)
{
  int c = strcmp (((const struct vm *)a)->name, ((const struct vm *)b)->name);

  return c != 0 ? c : by_id (a, b);
}

/* Pages may repeat a VM. */
static void
drop_doubles (struct vm_list *list)
{
  size_t kept = 0;

  if (list->count == 0)
    return;
  qsort (list->items, list->count, sizeof *list->items, by_id);
  for (size_t i = 0; i < list->count; i++) {
    if (kept > 0 && strcmp (list->items[kept - 1].id, list->items[i].id) == 0) {
      vm_reset (&list->items[i]);
      continue;
    }
    if (kept != i)
      list->items[kept] = list->items[i];
    kept++;
  }
  list->count = kept;
}

/* How many VMs the engine counts; *TOTAL stays when it does not say. */
static int
count_vms (struct engine *engine, uint64_t *total, struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;

  if (call_get (engine, "", &doc, f) < 0)
    return -1;
  return doc_u64 (doc_root (doc), "summary/vms/total", total, f);
}

/* Pages are cut from a list that is made anew for each request, so a VM that
   comes or goes meanwhile can hide another one; then all pages are read
   again and the results joined. */
int
vm_list (struct engine *engine, struct vm_list **list, struct fault *f)
{
  CLEANUP (vm_list_free) struct vm_list *found = xcalloc (1, sizeof *found);
  struct gathered g = { .engine = engine, .list = found };
  uint64_t total = 0;

  *list = NULL;
  for (int pass = 0; pass < VM_LIST_PASSES; pass++) {
    if (call_each_vm (engine, "disk_attachments.disk,tags", VM_PAGE, gather, &g,
                      f)
            < 0
        || count_vms (engine, &total, f) < 0)
      return fault_prefix (f, "list the VMs");
    drop_doubles (found);
    if (found->count >= total)
      break;
    log_debug ("the engine lists %zu of %llu VMs, reading again", found->count,
               (unsigned long long)total);
  }
  if (found->count == 0 && total > 0)
    return fault_set (f, FAULT_PROTO, 0,
                      "the engine counts %llu VMs but lists none",
                      (unsigned long long)total);
  if (found->count > 0)
    qsort (found->items, found->count, sizeof *found->items, by_name);
  *list = steal_ptr (&found);
  return 0;
}

int
vm_get (struct engine *engine, const char *vm_id, struct vm **vm,
        struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  CLEANUP (vm_free) struct vm *v = NULL;
  struct vm parsed;

  *vm = NULL;
  if (call_get_at (engine, "vms/%?follow=disk_attachments.disk,nics,tags",
                   vm_id, NULL, &doc, f)
          < 0
      || vm_parse (doc_root (doc), &parsed, f) < 0)
    return fault_prefix (f, "VM %s", vm_id);
  v = xmalloc (sizeof *v);
  *v = parsed;
  if (fill_gaps (engine, doc_root (doc), v, true, f) < 0)
    return fault_prefix (f, "VM %s", vm_id);
  *vm = steal_ptr (&v);
  return 0;
}

bool
vm_is_running (const struct vm *vm)
{
  /* What is not known to be off is taken to be on. */
  return strcmp (vm->status, "down") != 0
         && strcmp (vm->status, "suspended") != 0
         && strcmp (vm->status, "image_locked") != 0;
}

const struct vm_disk *
vm_find_disk (const struct vm *vm, const char *disk_id)
{
  for (size_t i = 0; i < vm->disk_count; i++) {
    if (strcmp (vm->disks[i].disk.id, disk_id) == 0)
      return &vm->disks[i];
  }
  return NULL;
}

int
vm_get_ovf (struct engine *engine, const char *vm_id, char **ovf,
            struct fault *f)
{
  CLEANUP_FREE char *path
      = call_path ("vms/%?all_content=true", vm_id, NULL, f);
  struct pace pace;

  *ovf = NULL;
  if (path == NULL)
    return -1;
  pace_start (&pace, engine, VM_OVF_S);
  for (;;) {
    CLEANUP (doc_free) struct doc *doc = NULL;
    const struct doc_node *data;

    if (call_get_all_content (engine, path, &doc, f) < 0)
      return fault_prefix (f, "configuration of VM %s", vm_id);
    data = doc_child (doc_root (doc), "initialization/configuration/data");
    if (data != NULL) {
      *ovf = doc_string (data, "");
      return 0;
    }
    if (pace_over (&pace))
      return fault_set (f, FAULT_BUSY, 0,
                        "configuration of VM %s: the engine gives none while "
                        "the VM or one of its disks is locked",
                        vm_id);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

static int
guest_action (struct engine *engine, const char *vm_id, const char *pattern,
              struct fault *f)
{
  CLEANUP_FREE char *path = call_path (pattern, vm_id, NULL, f);
  struct change change
      = { .method = "POST", .path = path, .body = "<action/>" };
  char correlation[TASK_CORRELATION_SIZE];

  if (path == NULL)
    return -1;
  return change_make (engine, &change, correlation, NULL, f);
}

int
vm_freeze (struct engine *engine, const char *vm_id, struct fault *f)
{
  if (guest_action (engine, vm_id, "vms/%/freezefilesystems", f) < 0)
    return fault_prefix (f, "freeze the file systems of VM %s", vm_id);
  return 0;
}

int
vm_thaw (struct engine *engine, const char *vm_id, struct fault *f)
{
  if (guest_action (engine, vm_id, "vms/%/thawfilesystems", f) < 0)
    return fault_prefix (f, "thaw the file systems of VM %s", vm_id);
  return 0;
}

/* A VM that is looked for by its description. */
struct wanted {
  const char *description;
  char id[UUID_SIZE]; /* "" until it is found */
};

static int
match (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct wanted *wanted = opaque;
  CLEANUP_FREE char *description = doc_string (item, "description");

  if (strcmp (description, wanted->description) != 0)
    return 0;
  return doc_need_id (item, wanted->id, f);
}

/* change.look */
static int
look_for_vm (struct engine *engine, void *opaque, bool *found, struct fault *f)
{
  struct wanted *wanted = opaque;

  if (call_each_vm (engine, "", VM_PAGE_PLAIN, match, wanted, f) < 0)
    return -1;
  *found = wanted->id[0] != '\0';
  return 0;
}

static char *
create_body (const struct vm_create *c, struct fault *f)
{
  struct buf b;

  if (!uuid_valid (c->cluster_id)) {
    fault_set (f, FAULT_INTERNAL, 0, "create a VM without a cluster");
    return NULL;
  }
  buf_init (&b, VM_BODY_MAX);
  buf_printf (&b, "<vm>");
  doc_put_element (&b, "name", c->name);
  doc_put_element (&b, "description", c->description);
  buf_printf (&b, "<cluster id=\"%s\"/><initialization>", c->cluster_id);
  if (c->regenerate_ids)
    buf_printf (&b, "<regenerate_ids>true</regenerate_ids>");
  buf_printf (&b, "<configuration><type>ovf</type>");
  doc_put_element (&b, "data", c->ovf);
  buf_printf (&b, "</configuration></initialization></vm>");
  return doc_take_body (&b, f);
}

static int
create (struct engine *engine, const struct vm_create *c, struct wanted *wanted,
        struct fault *f)
{
  CLEANUP_FREE char *body = create_body (c, f);
  CLEANUP (doc_free) struct doc *reply = NULL;
  struct change change = { .method = "POST",
                           .path = "vms",
                           .body = body,
                           .look = look_for_vm,
                           .opaque = wanted };
  char correlation[TASK_CORRELATION_SIZE];
  bool found;

  if (body == NULL || look_for_vm (engine, wanted, &found, f) < 0)
    return -1;
  if (found)
    return fault_set (f, FAULT_BUSY, 0, "VM %s has that description already",
                      wanted->id);
  if (change_make (engine, &change, correlation, &reply, f) < 0)
    return -1;
  if (wanted->id[0] == '\0' && reply != NULL
      && doc_need_id (doc_root (reply), wanted->id, f) < 0)
    return -1;
  if (wanted->id[0] == '\0' && look_for_vm (engine, wanted, &found, f) < 0)
    return -1;
  if (wanted->id[0] == '\0')
    return fault_set (f, FAULT_REMOTE, 0, "the engine made none");
  if (task_wait (engine, correlation, VM_CREATE_S, f) < 0)
    return -1;
  return vm_wait_status (engine, wanted->id, "down", VM_CREATE_S, f);
}

int
vm_create_from_ovf (struct engine *engine, const struct vm_create *c,
                    char id[static UUID_SIZE], struct fault *f)
{
  struct wanted wanted = { .description = c->description };
  int r = create (engine, c, &wanted, f);

  memcpy (id, wanted.id, UUID_SIZE);
  return r < 0 ? fault_prefix (f, "create VM %s", c->name) : 0;
}

int
vm_wait_status (struct engine *engine, const char *vm_id, const char *status,
                unsigned timeout_s, struct fault *f)
{
  struct pace pace;

  pace_start (&pace, engine, timeout_s);
  for (;;) {
    CLEANUP (vm_free) struct vm *vm = NULL;

    if (vm_get (engine, vm_id, &vm, f) < 0)
      return -1;
    if (strcmp (vm->status, status) == 0)
      return 0;
    if (pace_over (&pace))
      return fault_set (f, FAULT_BUSY, 0,
                        "VM %s (%s) is %s, not %s, after %u s", vm->name, vm_id,
                        vm->status, status, timeout_s);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

int
vm_update (struct engine *engine, const char *vm_id,
           const struct vm_update *update, struct fault *f)
{
  CLEANUP_FREE char *path = call_path ("vms/%", vm_id, NULL, f);
  CLEANUP_FREE char *body = NULL;
  struct change change = { .method = "PUT", .path = path };
  char correlation[TASK_CORRELATION_SIZE];
  struct buf b;

  if (path == NULL)
    return -1;
  buf_init (&b, VM_BODY_MAX);
  buf_printf (&b, "<vm>");
  doc_put_element (&b, "name", update->name);
  doc_put_element (&b, "description", update->description);
  doc_put_element (&b, "comment", update->comment);
  buf_printf (&b, "</vm>");
  body = doc_take_body (&b, f);
  if (body == NULL)
    return -1;
  change.body = body;
  if (change_make (engine, &change, correlation, NULL, f) < 0)
    return fault_prefix (f, "change VM %s", vm_id);
  return 0;
}

int
vm_delete (struct engine *engine, const char *vm_id, struct fault *f)
{
  /* Without detach_only the engine removes the disks too. */
  CLEANUP_FREE char *path
      = call_path ("vms/%?detach_only=true", vm_id, NULL, f);
  struct change change
      = { .method = "DELETE", .path = path, .gone_is_done = true };
  char correlation[TASK_CORRELATION_SIZE];
  unsigned idle = 0;
  struct pace pace;

  if (path == NULL)
    return -1;
  if (change_make (engine, &change, correlation, NULL, f) < 0
      || task_wait (engine, correlation, VM_DELETE_S, f) < 0)
    return fault_prefix (f, "remove VM %s", vm_id);
  pace_start (&pace, engine, VM_DELETE_S);
  for (;;) {
    CLEANUP (doc_free) struct doc *doc = NULL;
    struct fault now = FAULT_INIT;
    char status[32];

    if (call_get_at (engine, "vms/%", vm_id, NULL, &doc, &now) < 0)
      return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
    doc_word (doc_root (doc), "status", status, sizeof status);
    idle = strcmp (status, "image_locked") != 0 ? idle + 1 : 0;
    if (idle >= VM_STAYS_LOOKS || pace_over (&pace))
      return fault_set (f, FAULT_REMOTE, 0,
                        "remove VM %s: the engine did not, its status is %s",
                        vm_id, status);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

/* change.look: anything but down means that a start was heard. */
static int
look_for_start (struct engine *engine, void *opaque, bool *found,
                struct fault *f)
{
  CLEANUP (vm_free) struct vm *vm = NULL;

  if (vm_get (engine, opaque, &vm, f) < 0)
    return -1;
  *found = strcmp (vm->status, "down") != 0;
  return 0;
}

int
vm_start (struct engine *engine, const char *vm_id, struct fault *f)
{
  CLEANUP_FREE char *path = call_path ("vms/%/start", vm_id, NULL, f);
  struct change change = { .method = "POST",
                           .path = path,
                           .body = "<action/>",
                           .look = look_for_start,
                           .opaque = (void *)vm_id };
  char correlation[TASK_CORRELATION_SIZE];
  unsigned down = 0;
  struct pace pace;

  if (path == NULL)
    return -1;
  if (change_make (engine, &change, correlation, NULL, f) < 0
      || task_wait (engine, correlation, VM_START_S, f) < 0)
    return fault_prefix (f, "start VM %s", vm_id);
  pace_start (&pace, engine, VM_START_S);
  for (;;) {
    CLEANUP (vm_free) struct vm *vm = NULL;

    if (vm_get (engine, vm_id, &vm, f) < 0)
      return -1;
    if (strcmp (vm->status, "up") == 0
        || strcmp (vm->status, "powering_up") == 0)
      return 0;
    if (strcmp (vm->status, "down") == 0)
      down++;
    if (down >= VM_DOWN_LOOKS || pace_over (&pace))
      return fault_set (f, FAULT_REMOTE, 0,
                        "start VM %s (%s): it is %s; see the engine's events",
                        vm->name, vm_id, vm->status);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

int
vm_set_nic_profile (struct engine *engine, const char *vm_id,
                    const char *nic_id, const char *profile_id, struct fault *f)
{
  CLEANUP_FREE char *path = call_path ("vms/%/nics/%", vm_id, nic_id, f);
  CLEANUP_FREE char *body
      = xasprintf ("<nic><vnic_profile id=\"%.36s\"/></nic>", profile_id);
  struct change change = { .method = "PUT", .path = path, .body = body };
  char correlation[TASK_CORRELATION_SIZE];

  if (path == NULL)
    return -1;
  if (!uuid_valid (profile_id))
    return fault_set (f, FAULT_PROTO, 0, "\"%s\" is not a vNIC profile's id",
                      profile_id);
  if (change_make (engine, &change, correlation, NULL, f) < 0)
    return fault_prefix (f, "set the vNIC profile of NIC %s", nic_id);
  return 0;
}
