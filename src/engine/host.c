/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/doc.h"
#include "engine/host.h"

static char *
or_default (char *text, const char *other)
{
  if (text[0] != '\0')
    return text;
  free (text);
  return xstrdup (other);
}

int
host_parse (const struct doc_node *node, struct host *host, struct fault *f)
{
  uint64_t port = 22;
  char spm[16];

  *host = (struct host){ .is_spm = false };
  host->name = doc_string (node, "name");
  host->address = doc_string (node, "address");
  host->ssh_user = or_default (doc_string (node, "ssh/user/user_name"), "root");
  host->public_key = doc_string (node, "ssh/public_key");
  host->fingerprint = doc_string (node, "ssh/fingerprint");
  doc_word (node, "status", host->status, sizeof host->status);
  doc_word (node, "spm/status", spm, sizeof spm);
  host->is_spm = strcmp (spm, "spm") == 0;
  if (doc_need_id (node, host->id, f) < 0
      || doc_id (node, "cluster", host->cluster_id, f) < 0
      || doc_u64 (node, "ssh/port", &port, f) < 0) {
    host_reset (host);
    return -1;
  }
  if (port == 0 || port > 65535) {
    fault_set (f, FAULT_PROTO, 0, "host %s has the SSH port %llu", host->name,
               (unsigned long long)port);
    host_reset (host);
    return -1;
  }
  host->ssh_port = (unsigned)port;
  return 0;
}

void
host_reset (struct host *host)
{
  free (host->name);
  free (host->address);
  free (host->ssh_user);
  free (host->public_key);
  free (host->fingerprint);
  *host = (struct host){ .is_spm = false };
}

static int
gather (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct host_list *list = opaque;
  struct host host;

  if (list->count == HOST_LIST_MAX)
    return fault_set (f, FAULT_PROTO, 0, "the engine lists more than %d hosts",
                      HOST_LIST_MAX);
  if (host_parse (item, &host, f) < 0)
    return -1;
  list->items
      = xreallocarray (list->items, list->count + 1, sizeof *list->items);
  list->items[list->count++] = host;
  return 0;
}

int
host_list (struct engine *engine, struct host_list **list, struct fault *f)
{
  CLEANUP (host_list_free) struct host_list *found = xcalloc (1, sizeof *found);

  *list = NULL;
  if (call_each (engine, "hosts", "host", gather, found, f) < 0)
    return fault_prefix (f, "list the hosts");
  *list = steal_ptr (&found);
  return 0;
}

void
host_list_free (struct host_list *list)
{
  if (list == NULL)
    return;
  for (size_t i = 0; i < list->count; i++)
    host_reset (&list->items[i]);
  free (list->items);
  free (list);
}

int
host_get (struct engine *engine, const char *host_id, struct host **host,
          struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  struct host parsed;

  *host = NULL;
  if (call_get_at (engine, "hosts/%", host_id, NULL, &doc, f) < 0
      || host_parse (doc_root (doc), &parsed, f) < 0)
    return fault_prefix (f, "host %s", host_id);
  *host = xmalloc (sizeof **host);
  **host = parsed;
  return 0;
}

void
host_free (struct host *host)
{
  if (host == NULL)
    return;
  host_reset (host);
  free (host);
}

bool
host_is_up (const struct host *host)
{
  return strcmp (host->status, "up") == 0;
}
