/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of the engine: every parser over every element; OVF: what was
   stripped has no disks and strips to itself; tokens: never a byte that could
   end a header line. */
#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/cluster.h"
#include "engine/disk.h"
#include "engine/doc.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/ovf.h"
#include "engine/session.h"
#include "engine/snapshot.h"
#include "engine/task.h"
#include "engine/vm.h"

#define FUZZ_ELEMENTS_MAX 64

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
parse_domain (const struct doc_node *node)
{
  struct fault f = FAULT_INIT;
  char dir[DOMAIN_DIR_MAX];
  struct domain domain;

  if (domain_parse (node, &domain, &f) < 0)
    return;
  if (domain_dir (&domain, dir, &f) == 0) {
    assert (strlen (dir) < sizeof dir);
    assert (strncmp (dir, "/rhev/data-center/mnt/", 22) == 0);
    assert (strstr (dir, "/../") == NULL && strstr (dir, "//") == NULL);
  }
  domain_reset (&domain);
}

static void
parse_disk (const struct doc_node *node)
{
  struct fault f = FAULT_INIT;
  struct disk_layer layer;
  struct disk disk;

  if (disk_parse (node, &disk, &f) == 0) {
    assert (uuid_valid (disk.id));
    disk_skip_reason (&disk);
    disk_reset (&disk);
  }
  disk_parse_layer (node, &layer, NULL);
}

static void
parse_all (const struct doc_node *node)
{
  struct fault f = FAULT_INIT;
  struct task_event event;
  struct snapshot snapshot;
  struct cluster cluster;
  struct host host;
  struct vm vm;

  parse_domain (node);
  parse_disk (node);
  if (vm_parse (node, &vm, &f) == 0) {
    vm_is_running (&vm);
    vm_reset (&vm);
  }
  if (host_parse (node, &host, NULL) == 0)
    host_reset (&host);
  if (cluster_parse (node, &cluster, NULL) == 0)
    free (cluster.name);
  if (snapshot_parse (node, &snapshot, NULL) == 0)
    snapshot_reset (&snapshot);
  if (task_parse_event (node, &event, NULL) == 0)
    free (event.description);
}

static void
parse_ovf (const char *text)
{
  CLEANUP (ovf_disks_free) struct ovf_disks *disks = NULL;
  CLEANUP (ovf_disks_free) struct ovf_disks *left = NULL;
  CLEANUP_FREE char *out = NULL;
  CLEANUP_FREE char *again = NULL;
  char id[UUID_SIZE];

  ovf_vm_id (text, id, NULL);
  ovf_disks (text, &disks, NULL);
  if (ovf_strip (text, &out, NULL) < 0)
    return;
  assert (ovf_strip (out, &again, NULL) == 0);
  assert (strcmp (out, again) == 0);
  assert (ovf_disks (out, &left, NULL) == 0 && left->count == 0);
}

static void
parse_token (const char *text)
{
  char error[64];
  char *token = login_parse_token (text, error, sizeof error);

  assert (token == NULL || strpbrk (token, "\r\n ") == NULL);
  login_token_free (token);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  CLEANUP_FREE char *text = xstrndup ((const char *)data, size);
  CLEANUP (doc_free) struct doc *doc = NULL;
  const struct doc_node *node;
  char fault_text[CALL_TEXT_MAX];
  int elements = 0;

  parse_token (text);
  call_fault_text ((const char *)data, size, fault_text, sizeof fault_text);
  if (doc_parse (data, size, "input", &doc, NULL) < 0)
    return 0;
  for (node = doc_root (doc); node != NULL && elements < FUZZ_ELEMENTS_MAX;
       node = doc_walk (doc_root (doc), node)) {
    parse_all (node);
    elements++;
  }
  parse_ovf (text);
  return 0;
}
