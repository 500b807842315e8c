/* SPDX-License-Identifier: Apache-2.0 */
/* Storage domains.  Their state exists only below a data center, so the list
   is made of the lists of all data centers.

   Where a host mounts one is vdsm's rule: the remote path is normalised
   (doubled and trailing slashes go), then each '_' becomes "__" and each '/'
   becomes '_'. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/doc.h"
#include "engine/domain.h"

#define DOMAIN_CENTERS_MAX 1024
#define LUN_ID_SIZE 256 /* longer ones are cut, and still too long */
#define DOMAIN_MOUNTS "/rhev/data-center/mnt/"

static const struct {
  const char *name;
  enum domain_kind kind;
} kinds[] = {
  { "nfs", DOMAIN_NFS },
  { "posixfs", DOMAIN_POSIXFS },
  { "glusterfs", DOMAIN_GLUSTERFS },
  { "localfs", DOMAIN_LOCALFS },
  { "iscsi", DOMAIN_ISCSI },
  { "fcp", DOMAIN_FCP },
};

static enum domain_kind
parse_kind (const char *name)
{
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (strcmp (kinds[i].name, name) == 0)
      return kinds[i].kind;
  }
  return DOMAIN_OTHER;
}

const char *
domain_kind_name (enum domain_kind kind)
{
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (kinds[i].kind == kind)
      return kinds[i].name;
  }
  return "other";
}

void
domain_reset (struct domain *domain)
{
  free (domain->name);
  free (domain->address);
  free (domain->path);
  free (domain->vfs_type);
  for (size_t i = 0; i < domain->lun_count; i++)
    free (domain->luns[i]);
  free (domain->luns);
}

/* A LUN is told once for each path to it. */
static void
add_lun (struct domain *domain, const char *id)
{
  for (size_t i = 0; i < domain->lun_count; i++) {
    if (strcmp (domain->luns[i], id) == 0)
      return;
  }
  if (domain->lun_count > DOMAIN_LUNS_MAX)
    return;
  domain->luns = xreallocarray (domain->luns, domain->lun_count + 1,
                                sizeof *domain->luns);
  domain->luns[domain->lun_count++] = xstrdup (id);
}

static void
parse_luns (const struct doc_node *node, struct domain *domain)
{
  const struct doc_node *luns
      = doc_child (node, "storage/volume_group/logical_units");
  const struct doc_node *lun = doc_first (luns, "logical_unit");

  while (lun != NULL) {
    char id[LUN_ID_SIZE];

    doc_attr (lun, "", "id", id, sizeof id);
    add_lun (domain, id);
    lun = doc_next (lun, "logical_unit");
  }
}

int
domain_parse (const struct doc_node *node, struct domain *domain,
              struct fault *f)
{
  uint64_t block_size = 512;
  char word[32];

  *domain = (struct domain){ .kind = DOMAIN_OTHER };
  domain->name = doc_string (node, "name");
  domain->address = doc_string (node, "storage/address");
  domain->path = doc_string (node, "storage/path");
  domain->vfs_type = doc_string (node, "storage/vfs_type");
  doc_word (node, "type", domain->type, sizeof domain->type);
  doc_word (node, "status", domain->status, sizeof domain->status);
  doc_word (node, "storage/type", word, sizeof word);
  domain->kind = parse_kind (word);
  doc_word (node, "storage_format", word, sizeof word);
  if (word[0] == 'v' && word[1] >= '1' && word[1] <= '9' && word[2] == '\0')
    domain->format = (unsigned)(word[1] - '0');
  if (domain_is_block (domain))
    parse_luns (node, domain);
  domain->is_master = doc_bool (node, "master", false);
  domain->is_backup = doc_bool (node, "backup", false);
  if (doc_need_id (node, domain->id, f) < 0
      || doc_u64 (node, "block_size", &block_size, f) < 0
      || doc_u64 (node, "available", &domain->available, f) < 0) {
    domain_reset (domain);
    return -1;
  }
  domain->block_size = block_size == 4096 ? 4096 : 512;
  return 0;
}

/* Where the walk over the data centers is. */
struct gathered {
  struct domain_list *list;
  char centers[DOMAIN_CENTERS_MAX][UUID_SIZE];
  size_t center_count;
  const char *center;
};

static int
gather_center (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct gathered *g = opaque;

  if (g->center_count == DOMAIN_CENTERS_MAX)
    return fault_set (f, FAULT_PROTO, 0,
                      "the engine lists more than %d data centers",
                      DOMAIN_CENTERS_MAX);
  return doc_need_id (item, g->centers[g->center_count++], f);
}

/* An ISO domain may be attached to several data centers: the first that has
   it active stands. */
static int
gather (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct gathered *g = opaque;
  struct domain_list *list = g->list;
  struct domain domain;

  if (domain_parse (item, &domain, f) < 0)
    return -1;
  strcpy (domain.center_id, g->center);
  for (size_t i = 0; i < list->count; i++) {
    struct domain *old = &list->items[i];

    if (strcmp (old->id, domain.id) != 0)
      continue;
    if (!domain_is_active (old) && domain_is_active (&domain)) {
      struct domain swap = *old;

      *old = domain;
      domain = swap;
    }
    domain_reset (&domain);
    return 0;
  }
  if (list->count == DOMAIN_LIST_MAX) {
    domain_reset (&domain);
    return fault_set (f, FAULT_PROTO, 0,
                      "the engine lists more than %d storage domains",
                      DOMAIN_LIST_MAX);
  }
  list->items
      = xreallocarray (list->items, list->count + 1, sizeof *list->items);
  list->items[list->count++] = domain;
  return 0;
}

/* LUNs stand in the document of each domain by itself, and in that of a data
   center or not, by the engine's version. */
static int
ask_luns (struct engine *engine, struct domain *domain, struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  struct fault now = FAULT_INIT;

  if (call_get_at (engine, "storagedomains/%", domain->id, NULL, &doc, &now)
      == 0) {
    parse_luns (doc_root (doc), domain);
    return 0;
  }
  return now.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &now);
}

int
domain_luns (struct engine *engine, const struct domain *domain,
             struct domain *out, struct fault *f)
{
  *out = (struct domain){ .kind = domain->kind };
  memcpy (out->id, domain->id, sizeof out->id);
  if (ask_luns (engine, out, f) == 0)
    return 0;
  domain_reset (out);
  return fault_prefix (f, "LUNs of storage domain %s", domain->name);
}

static int
complete (struct engine *engine, struct domain_list *list, struct fault *f)
{
  for (size_t i = 0; i < list->count; i++) {
    struct domain *d = &list->items[i];

    if (domain_is_block (d) && domain_is_active (d) && d->lun_count == 0
        && ask_luns (engine, d, f) < 0)
      return fault_prefix (f, "LUNs of storage domain %s", d->name);
  }
  return 0;
}

int
domain_list (struct engine *engine, struct domain_list **list, struct fault *f)
{
  CLEANUP (domain_list_free)
  struct domain_list *found = xcalloc (1, sizeof *found);
  CLEANUP_FREE struct gathered *g = xcalloc (1, sizeof *g);

  *list = NULL;
  g->list = found;
  if (call_each (engine, "datacenters", "data_center", gather_center, g, f) < 0)
    return fault_prefix (f, "list the data centers");
  for (size_t i = 0; i < g->center_count; i++) {
    CLEANUP_FREE char *path
        = call_path ("datacenters/%/storagedomains", g->centers[i], NULL, f);
    struct fault now = FAULT_INIT;

    g->center = g->centers[i];
    if (path == NULL)
      return -1;
    if (call_each (engine, path, "storage_domain", gather, g, &now) < 0
        && now.code != FAULT_NOTFOUND) {
      fault_copy (f, &now);
      return fault_prefix (f, "storage domains of data center %s", g->center);
    }
  }
  if (complete (engine, found, f) < 0)
    return -1;
  *list = steal_ptr (&found);
  return 0;
}

int
domain_status (struct engine *engine, const struct domain *domain,
               char status[static 32], struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;

  if (call_get_at (engine, "datacenters/%/storagedomains/%", domain->center_id,
                   domain->id, &doc, f)
      < 0)
    return -1;
  doc_word (doc_root (doc), "status", status, 32);
  return 0;
}

void
domain_list_free (struct domain_list *list)
{
  if (list == NULL)
    return;
  for (size_t i = 0; i < list->count; i++)
    domain_reset (&list->items[i]);
  free (list->items);
  free (list);
}

bool
domain_is_block (const struct domain *domain)
{
  return domain->kind == DOMAIN_ISCSI || domain->kind == DOMAIN_FCP;
}

bool
domain_is_file (const struct domain *domain)
{
  return domain->kind != DOMAIN_OTHER && !domain_is_block (domain);
}

bool
domain_is_active (const struct domain *domain)
{
  return strcmp (domain->status, "active") == 0;
}

/* vdsm's escape of PATH, appended to B. */
static void
put_escaped (struct buf *b, const char *path)
{
  size_t len = strlen (path);

  while (len > 1 && path[len - 1] == '/')
    len--;
  for (size_t i = 0; i < len; i++) {
    if (path[i] == '/' && i > 0 && path[i - 1] == '/')
      continue;
    if (path[i] == '_')
      buf_put (b, "__", 2);
    else
      buf_put_u8 (b, path[i] == '/' ? '_' : (uint8_t)path[i]);
  }
}

/* The path comes from the engine and becomes one component of a path on a
   host.  Once every slash is gone only "." and ".." could still leave the
   mount directory. */
static int
check_text (const struct domain *domain, const char *text, struct fault *f)
{
  for (const char *p = text; *p != '\0'; p++) {
    if ((unsigned char)*p < 0x20 || *p == 0x7f)
      return fault_set (f, FAULT_PROTO, 0,
                        "storage domain %s has a control character in its "
                        "path",
                        domain->name);
  }
  return 0;
}

static bool
is_dots (const char *name)
{
  return strcmp (name, ".") == 0 || strcmp (name, "..") == 0;
}

int
domain_mount_dir (const struct domain *domain, char out[static DOMAIN_DIR_MAX],
                  struct fault *f)
{
  struct buf b;
  int r;

  if (domain_is_block (domain)) {
    strcpy (out, DOMAIN_MOUNTS "blockSD");
    return 0;
  }
  if (domain->kind == DOMAIN_OTHER || domain->path[0] == '\0')
    return fault_set (f, FAULT_PROTO, 0,
                      "storage domain %s has no directory on a host",
                      domain->name);
  if (check_text (domain, domain->address, f) < 0
      || check_text (domain, domain->path, f) < 0)
    return -1;
  buf_init (&b, DOMAIN_DIR_MAX - UUID_SIZE - 1);
  buf_printf (&b, "%s", DOMAIN_MOUNTS);
  if (domain->kind == DOMAIN_GLUSTERFS)
    buf_printf (&b, "glusterSD/");
  if (domain->kind != DOMAIN_LOCALFS && domain->address[0] != '\0') {
    put_escaped (&b, domain->address);
    buf_put_u8 (&b, ':');
  }
  put_escaped (&b, domain->path);
  buf_put_u8 (&b, 0);
  if (!buf_bad (&b) && is_dots (strrchr ((char *)b.data, '/') + 1))
    b.bad = true;
  r = buf_bad (&b)
          ? fault_set (f, FAULT_PROTO, 0,
                       "the path of storage domain %s cannot be", domain->name)
          : 0;
  if (r == 0)
    memcpy (out, b.data, b.size);
  buf_reset (&b);
  return r;
}

int
domain_dir (const struct domain *domain, char out[static DOMAIN_DIR_MAX],
            struct fault *f)
{
  size_t len;

  if (domain_mount_dir (domain, out, f) < 0)
    return -1;
  len = strlen (out);
  out[len] = '/';
  strcpy (out + len + 1, domain->id);
  return 0;
}
