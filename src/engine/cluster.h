/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters: names for the user, compatibility level, data center. */
#ifndef ENGINE_CLUSTER_H
#define ENGINE_CLUSTER_H

#include <stddef.h>

#include "base/cleanup.h"
#include "base/uuid.h"

#define CLUSTER_LIST_MAX 4096

struct doc_node;
struct engine;
struct fault;

struct cluster {
  char id[UUID_SIZE];
  char *name;
  char center_id[UUID_SIZE]; /* data center, "" for none */
  unsigned major;            /* compatibility level */
  unsigned minor;
};

struct cluster_list {
  struct cluster *items;
  size_t count;
};

int cluster_list (struct engine *engine, struct cluster_list **list,
                  struct fault *f);
void cluster_list_free (struct cluster_list *list);
CLEANUP_DEFINE (cluster_list_free, struct cluster_list);
/* The data center of that cluster; "" when it is not known. */
const char *cluster_center (const struct cluster_list *list,
                            const char *cluster_id);

int cluster_parse (const struct doc_node *node, struct cluster *cluster,
                   struct fault *f);

#endif /* ENGINE_CLUSTER_H */
