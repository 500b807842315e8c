/* SPDX-License-Identifier: Apache-2.0 */
/* Disks: read, made, waited for, removed. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/change.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/pace.h"

#define DISK_CREATE_S 3600
#define DISK_DELETE_S 3600
#define DISK_STAYS_LOOKS 3
#define DISK_BODY_MAX 65536

int
disk_get (struct engine *engine, const char *disk_id, struct disk **disk,
          struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  struct disk parsed;

  *disk = NULL;
  if (call_get_at (engine, "disks/%", disk_id, NULL, &doc, f) < 0)
    return fault_prefix (f, "disk %s", disk_id);
  if (!doc_is (doc_root (doc), "disk")
      || disk_parse (doc_root (doc), &parsed, f) < 0) {
    fault_set (f, FAULT_PROTO, 0, "the answer is a <%s>",
               doc_name (doc_root (doc)));
    return fault_prefix (f, "disk %s", disk_id);
  }
  *disk = xmalloc (sizeof **disk);
  **disk = parsed;
  return 0;
}

void
disk_free (struct disk *disk)
{
  if (disk == NULL)
    return;
  disk_reset (disk);
  free (disk);
}

void
disk_list_free (struct disk_list *list)
{
  if (list == NULL)
    return;
  for (size_t i = 0; i < list->count; i++)
    disk_reset (&list->items[i]);
  free (list->items);
  free (list);
}

const char *
disk_skip_reason (const struct disk *disk)
{
  if (strcmp (disk->storage_type, "lun") == 0)
    return "direct LUN: it cannot be part of a snapshot";
  if (disk->storage_type[0] != '\0'
      && strcmp (disk->storage_type, "image") != 0)
    return "managed block storage: its layers are not on a storage domain";
  if (disk->shareable)
    return "shareable: it cannot be part of a snapshot";
  if (strcmp (disk->content_type, "data") != 0
      && strcmp (disk->content_type, "iso") != 0)
    return "its content is the engine's own";
  return NULL;
}

int
disk_wait_ok (struct engine *engine, const char *disk_id, unsigned timeout_s,
              struct disk **disk, struct fault *f)
{
  struct pace pace;

  *disk = NULL;
  pace_start (&pace, engine, timeout_s);
  for (;;) {
    CLEANUP (disk_free) struct disk *d = NULL;

    if (disk_get (engine, disk_id, &d, f) < 0)
      return -1;
    if (strcmp (d->status, "ok") == 0) {
      *disk = steal_ptr (&d);
      return 0;
    }
    if (strcmp (d->status, "illegal") == 0)
      return fault_set (f, FAULT_REMOTE, 0,
                        "disk %s (%s) is illegal: an operation of the engine "
                        "on it failed, see its events",
                        d->id, d->alias);
    if (pace_over (&pace))
      return fault_set (f, FAULT_BUSY, 0, "disk %s (%s) is still %s after %u s",
                        d->id, d->alias, d->status, timeout_s);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

static char *
create_body (const struct disk_create *c, struct fault *f)
{
  struct buf b;

  if (!uuid_valid (c->id) || !uuid_valid (c->volume_id)
      || !uuid_valid (c->domain_id)) {
    fault_set (f, FAULT_INTERNAL, 0, "create a disk without ids");
    return NULL;
  }
  buf_init (&b, DISK_BODY_MAX);
  buf_printf (&b, "<disk id=\"%s\"><image_id>%s</image_id><alias>", c->id,
              c->volume_id);
  doc_put_text (&b, c->alias);
  buf_printf (&b, "</alias><description>");
  doc_put_text (&b, c->description);
  buf_printf (&b,
              "</description><format>%s</format><sparse>%s</sparse>"
              "<backup>%s</backup><provisioned_size>%llu</provisioned_size>"
              "<content_type>data</content_type>"
              "<wipe_after_delete>%s</wipe_after_delete>"
              "<shareable>false</shareable>",
              c->format == DISK_FORMAT_RAW ? "raw" : "cow",
              c->sparse ? "true" : "false",
              c->incremental ? "incremental" : "none",
              (unsigned long long)c->provisioned_size,
              c->wipe_after_delete ? "true" : "false");
  if (c->initial_size > 0)
    buf_printf (&b, "<initial_size>%llu</initial_size>",
                (unsigned long long)c->initial_size);
  if (c->qcow_version != NULL && c->format == DISK_FORMAT_COW)
    buf_printf (&b, "<qcow_version>%s</qcow_version>", c->qcow_version);
  buf_printf (&b,
              "<storage_domains><storage_domain id=\"%s\"/>"
              "</storage_domains>",
              c->domain_id);
  if (c->profile_id != NULL && uuid_valid (c->profile_id))
    buf_printf (&b, "<disk_profile id=\"%s\"/>", c->profile_id);
  if (c->quota_id != NULL && uuid_valid (c->quota_id))
    buf_printf (&b, "<quota id=\"%s\"/>", c->quota_id);
  buf_printf (&b, "</disk>");
  buf_put_u8 (&b, 0);
  if (buf_bad (&b)) {
    buf_reset (&b);
    fault_set (f, FAULT_INTERNAL, 0,
               "alias or description of disk %s is too "
               "long",
               c->id);
    return NULL;
  }
  return (char *)b.data;
}

/* change.look: is the disk there? */
static int
look_for_disk (struct engine *engine, void *opaque, bool *found,
               struct fault *f)
{
  CLEANUP (disk_free) struct disk *disk = NULL;
  struct fault now = FAULT_INIT;

  *found = disk_get (engine, opaque, &disk, &now) == 0;
  if (*found || now.code == FAULT_NOTFOUND)
    return 0;
  return fault_copy (f, &now);
}

int
disk_create (struct engine *engine, const struct disk_create *create,
             struct disk **disk, struct fault *f)
{
  char correlation[TASK_CORRELATION_SIZE];
  struct change change = { .method = "POST",
                           .path = "disks",
                           .look = look_for_disk,
                           .opaque = (void *)create->id };
  CLEANUP_FREE char *body = create_body (create, f);
  bool found;

  *disk = NULL;
  if (body == NULL || look_for_disk (engine, (void *)create->id, &found, f) < 0)
    return -1;
  if (found)
    return fault_set (f, FAULT_BUSY, 0, "a disk with the id %s exists already",
                      create->id);
  change.body = body;
  if (change_make (engine, &change, correlation, NULL, f) < 0
      || task_wait (engine, correlation, DISK_CREATE_S, f) < 0
      || disk_wait_ok (engine, create->id, DISK_CREATE_S, disk, f) < 0)
    return fault_prefix (f, "create disk %s (%s)", create->alias, create->id);
  return 0;
}

int
disk_delete (struct engine *engine, const char *disk_id, struct fault *f)
{
  CLEANUP_FREE char *path = call_path ("disks/%", disk_id, NULL, f);
  struct change change
      = { .method = "DELETE", .path = path, .gone_is_done = true };
  char correlation[TASK_CORRELATION_SIZE];
  unsigned idle = 0;
  struct pace pace;

  if (path == NULL)
    return -1;
  if (change_make (engine, &change, correlation, NULL, f) < 0
      || task_wait (engine, correlation, DISK_DELETE_S, f) < 0)
    return fault_prefix (f, "delete disk %s", disk_id);
  pace_start (&pace, engine, DISK_DELETE_S);
  for (;;) {
    CLEANUP (disk_free) struct disk *disk = NULL;
    struct fault now = FAULT_INIT;

    if (disk_get (engine, disk_id, &disk, &now) < 0)
      return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
    /* The job is over: a disk that shows no sign of going stays. */
    idle = strcmp (disk->status, "locked") != 0 ? idle + 1 : 0;
    if (idle >= DISK_STAYS_LOOKS || pace_over (&pace))
      return fault_set (f, FAULT_REMOTE, 0,
                        "delete disk %s (%s): the engine did not remove it, "
                        "its status is %s",
                        disk->alias, disk->id, disk->status);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

/* What disk_list_ours gathers. */
struct ours {
  struct disk_list *list;
  const char *prefix;
  size_t seen;
};

static bool
is_listed (const struct disk_list *list, const char *id)
{
  for (size_t i = 0; i < list->count; i++) {
    if (strcmp (list->items[i].id, id) == 0)
      return true;
  }
  return false;
}

static int
gather (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct ours *ours = opaque;
  struct disk_list *list = ours->list;
  struct disk disk;

  if (++ours->seen > DISK_LIST_MAX)
    return fault_set (f, FAULT_PROTO, 0, "the engine lists more than %d disks",
                      DISK_LIST_MAX);
  if (disk_parse (item, &disk, f) < 0)
    return -1;
  if (strncmp (disk.description, ours->prefix, strlen (ours->prefix)) != 0
      || is_listed (list, disk.id)) {
    disk_reset (&disk);
    return 0;
  }
  list->items
      = xreallocarray (list->items, list->count + 1, sizeof *list->items);
  list->items[list->count++] = disk;
  return 0;
}

/* Only the disk's own page says who uses it. */
static int
fill_users (struct engine *engine, struct disk_list *list, struct fault *f)
{
  for (size_t i = 0; i < list->count; i++) {
    CLEANUP (disk_free) struct disk *disk = NULL;
    struct fault now = FAULT_INIT;

    if (disk_get (engine, list->items[i].id, &disk, &now) == 0)
      memcpy (list->items[i].vm_id, disk->vm_id, UUID_SIZE);
    else if (now.code != FAULT_NOTFOUND)
      return fault_copy (f, &now);
  }
  return 0;
}

/* By storage domain: /disks with search and max does not page, and all disks
   of a large site in one answer are too many. */
int
disk_list_ours (struct engine *engine, const char *prefix,
                struct disk_list **list, struct fault *f)
{
  CLEANUP (domain_list_free) struct domain_list *domains = NULL;
  CLEANUP (disk_list_free) struct disk_list *found = xcalloc (1, sizeof *found);
  struct ours ours = { .list = found, .prefix = prefix };

  *list = NULL;
  if (domain_list (engine, &domains, f) < 0)
    return -1;
  for (size_t i = 0; i < domains->count; i++) {
    const struct domain *domain = &domains->items[i];
    CLEANUP_FREE char *path = NULL;
    struct fault now = FAULT_INIT;

    if (strcmp (domain->type, "data") != 0)
      continue;
    path = call_path ("storagedomains/%/disks", domain->id, NULL, f);
    if (path == NULL)
      return -1;
    if (call_each (engine, path, "disk", gather, &ours, &now) < 0
        && now.code != FAULT_NOTFOUND) {
      fault_copy (f, &now);
      return fault_prefix (f, "disks of storage domain %s", domain->name);
    }
  }
  if (fill_users (engine, found, f) < 0)
    return -1;
  *list = steal_ptr (&found);
  return 0;
}
