/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/cluster.h"
#include "engine/doc.h"

int
cluster_parse (const struct doc_node *node, struct cluster *cluster,
               struct fault *f)
{
  uint64_t major = 0;
  uint64_t minor = 0;

  *cluster = (struct cluster){ .major = 0 };
  if (doc_need_id (node, cluster->id, f) < 0
      || doc_id (node, "data_center", cluster->center_id, f) < 0
      || doc_u64 (node, "version/major", &major, f) < 0
      || doc_u64 (node, "version/minor", &minor, f) < 0)
    return -1;
  cluster->major = major > 999 ? 999 : (unsigned)major;
  cluster->minor = minor > 999 ? 999 : (unsigned)minor;
  cluster->name = doc_string (node, "name");
  return 0;
}

static int
gather (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct cluster_list *list = opaque;
  struct cluster cluster;

  if (list->count == CLUSTER_LIST_MAX)
    return fault_set (f, FAULT_PROTO, 0,
                      "the engine lists more than %d clusters",
                      CLUSTER_LIST_MAX);
  if (cluster_parse (item, &cluster, f) < 0)
    return -1;
  list->items
      = xreallocarray (list->items, list->count + 1, sizeof *list->items);
  list->items[list->count++] = cluster;
  return 0;
}

int
cluster_list (struct engine *engine, struct cluster_list **list,
              struct fault *f)
{
  CLEANUP (cluster_list_free)
  struct cluster_list *found = xcalloc (1, sizeof *found);

  *list = NULL;
  if (call_each (engine, "clusters", "cluster", gather, found, f) < 0)
    return fault_prefix (f, "list the clusters");
  *list = steal_ptr (&found);
  return 0;
}

void
cluster_list_free (struct cluster_list *list)
{
  if (list == NULL)
    return;
  for (size_t i = 0; i < list->count; i++)
    free (list->items[i].name);
  free (list->items);
  free (list);
}

const char *
cluster_center (const struct cluster_list *list, const char *cluster_id)
{
  for (size_t i = 0; i < list->count; i++) {
    if (strcmp (list->items[i].id, cluster_id) == 0)
      return list->items[i].center_id;
  }
  return "";
}
