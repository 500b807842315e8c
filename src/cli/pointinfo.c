/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "cli/json.h"
#include "cli/pointinfo.h"
#include "repo/manifest.h"
#include "repo/point.h"

static const char *
vm_of (const struct point *p)
{
  if (p->manifest != NULL && p->manifest->vm_name != NULL)
    return p->manifest->vm_name;
  return p->vm_id;
}

char *
pointinfo_name (const struct point *p)
{
  return xasprintf ("%s@%s", vm_of (p), p->name);
}

int64_t
pointinfo_time (const struct point *p)
{
  char stamp[STAMP_SIZE];
  int64_t seconds = 0;

  snprintf (stamp, sizeof stamp, "%.*s", (int)sizeof stamp - 1, p->name);
  if (stamp_parse (stamp, &seconds, NULL) != 0)
    return 0;
  return seconds;
}

const char *
pointinfo_disk_kind (const struct manifest_disk *d)
{
  static const char word[] = "differential";

  if (d->kind == MANIFEST_INCREMENT && d->reason != NULL
      && strncmp (d->reason, word, sizeof word - 1) == 0)
    return word;
  return manifest_kind_name (d->kind);
}

const char *
pointinfo_kind (const struct manifest *m)
{
  for (size_t i = 0; i < m->disk_count; i++) {
    if (m->disks[i].kind == MANIFEST_INCREMENT)
      return pointinfo_disk_kind (&m->disks[i]);
  }
  return manifest_kind_name (m->kind);
}

void
pointinfo_totals (const struct point *p, struct pointinfo_totals *out)
{
  *out = (struct pointinfo_totals){ 0 };
  if (p->manifest == NULL)
    return;
  for (size_t i = 0; i < p->manifest->disk_count; i++) {
    out->virtual_size += p->manifest->disks[i].virtual_size;
    out->data += p->manifest->disks[i].data;
    out->stored += p->manifest->disks[i].bytes;
  }
}

void
pointinfo_json (struct json *j, const struct point *p)
{
  const struct manifest *m = p->manifest;
  CLEANUP_FREE char *name = pointinfo_name (p);
  struct pointinfo_totals totals;

  json_string (j, "point", name);
  json_string (j, "vm_id", p->vm_id);
  json_string (j, "vm", m != NULL ? m->vm_name : NULL);
  json_string (j, "stamp", p->name);
  json_time (j, "time", pointinfo_time (p));
  json_string (j, "damage", p->damage);
  if (m == NULL)
    return;
  pointinfo_totals (p, &totals);
  json_string (j, "kind", manifest_kind_name (m->kind));
  json_string (j, "parent", m->parent[0] != '\0' ? m->parent : NULL);
  json_string (j, "consistency", manifest_consistency_name (m->consistency));
  json_u64 (j, "disk_count", m->disk_count);
  json_u64 (j, "skipped_count", m->skipped_count);
  json_u64 (j, "virtual_size", totals.virtual_size);
  json_u64 (j, "data", totals.data);
  json_u64 (j, "stored", totals.stored);
}

/* qsort is not stable: the index decides what the names leave open. */
struct place {
  struct point point;
  size_t index;
};

static int
compare (const void *a, const void *b)
{
  const struct place *x = a;
  const struct place *y = b;
  int order = strcmp (vm_of (&x->point), vm_of (&y->point));

  if (order == 0)
    order = strcmp (x->point.vm_id, y->point.vm_id);
  if (order == 0)
    order = x->index < y->index ? -1 : 1;
  return order;
}

void
pointinfo_sort (struct point_list *list)
{
  CLEANUP_FREE struct place *places = xcalloc (list->count + 1, sizeof *places);

  for (size_t i = 0; i < list->count; i++)
    places[i] = (struct place){ list->points[i], i };
  qsort (places, list->count, sizeof *places, compare);
  for (size_t i = 0; i < list->count; i++)
    list->points[i] = places[i].point;
}
