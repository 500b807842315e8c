/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisors as the engine knows them. */
#ifndef ENGINE_HOST_H
#define ENGINE_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/uuid.h"

#define HOST_LIST_MAX 4096

struct doc_node;
struct engine;
struct fault;

struct host {
  char id[UUID_SIZE];
  char *name;
  char *address;
  char status[32]; /* up, maintenance, non_responsive, ... */
  char cluster_id[UUID_SIZE];
  unsigned ssh_port; /* 22 when the engine tells none */
  char *ssh_user;    /* "root" when the engine tells none */
  char *public_key;  /* "TYPE BASE64", "" before engine 4.4.5.5 */
  char *fingerprint; /* "SHA256:...", "" when none */
  bool is_spm;
};

struct host_list {
  struct host *items;
  size_t count;
};

int host_list (struct engine *engine, struct host_list **list, struct fault *f);
void host_list_free (struct host_list *list);
CLEANUP_DEFINE (host_list_free, struct host_list);
int host_get (struct engine *engine, const char *host_id, struct host **host,
              struct fault *f);
void host_free (struct host *host);
CLEANUP_DEFINE (host_free, struct host);
bool host_is_up (const struct host *host);

int host_parse (const struct doc_node *node, struct host *host,
                struct fault *f);
void host_reset (struct host *host);

#endif /* ENGINE_HOST_H */
