/* SPDX-License-Identifier: Apache-2.0 */
/* A run removes one snapshot after the other, so this is about runs side by
   side.  Domains are taken in the order of their ids: two runs that need the
   same ones never wait for one another. */
#include <config.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/domain.h"
#include "engine/snapshot.h"
#include "engine/vm.h"
#include "job/merge.h"
#include "job/site.h"
#include "repo/slot.h"

#define POLL_MS 1000

struct merge {
  struct slot **slots;
  size_t count;
};

static int
compare (const void *a, const void *b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

/* The domains of VM's disks, each once, in order; the caller frees the array. */
static const char **
domains_of (const struct vm *vm, size_t *count)
{
  const char **ids = xcalloc (vm->disk_count + 1, sizeof *ids);
  size_t all = 0;

  for (size_t i = 0; i < vm->disk_count; i++) {
    if (vm->disks[i].disk.domain_count > 0)
      ids[all++] = vm->disks[i].disk.domain_ids[0];
  }
  qsort (ids, all, sizeof *ids, compare);
  *count = 0;
  for (size_t i = 0; i < all; i++) {
    if (*count == 0 || strcmp (ids[*count - 1], ids[i]) != 0)
      ids[(*count)++] = ids[i];
  }
  return ids;
}

static int
wait_slot (const struct site *site, const char *domain_id, struct slot **out,
           struct fault *f)
{
  unsigned limit = site->settings->snapshot.merges_per_domain;
  uint64_t end = stamp_mono_ms () + (uint64_t)SNAPSHOT_DELETE_S * 1000;
  size_t count;
  const struct domain *domain = site_domain (site, domain_id, &count);
  const char *name = domain != NULL ? domain->name : domain_id;

  for (bool told = false;; told = true) {
    int rc = slot_take (site->place, "merge", domain_id, limit, out, f);

    if (rc != 0)
      return rc < 0 ? -1 : 0;
    if (stamp_mono_ms () >= end)
      return fault_set (f, FAULT_BUSY, 0,
                        "other runs have merged %u on storage domain %s "
                        "for a day (snapshot.merges_per_domain)",
                        limit, name);
    if (!told)
      log_info ("waiting for a place: other runs merge %u on storage domain %s",
                limit, name);
    if (cancel_sleep_ms (POLL_MS, f) < 0)
      return -1;
  }
}

int
merge_begin (const struct site *site, const struct vm *vm, struct merge **out,
             struct fault *f)
{
  CLEANUP (merge_end) struct merge *m = xcalloc (1, sizeof *m);
  size_t count;
  CLEANUP_FREE const char **ids = domains_of (vm, &count);

  *out = NULL;
  m->slots = xcalloc (count + 1, sizeof *m->slots);
  for (size_t i = 0; i < count; i++) {
    if (wait_slot (site, ids[i], &m->slots[m->count], f) < 0)
      return -1;
    m->count++;
  }
  *out = steal_ptr (&m);
  return 0;
}

void
merge_end (struct merge *m)
{
  if (m == NULL)
    return;
  for (size_t i = 0; i < m->count; i++)
    slot_drop (m->slots[i]);
  free (m->slots);
  free (m);
}
