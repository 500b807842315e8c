/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <inttypes.h>

#include "base/fault.h"
#include "engine/domain.h"
#include "job/target.h"
#include "job/volgroup.h"
#include "repo/manifest.h"
#include "wire/capacity.h"

#define MIB (UINT64_C (1) << 20)
#define GIB (UINT64_C (1) << 30)
#define QCOW2_V3_FROM 4 /* format of the domain */

static uint64_t
round_up (uint64_t bytes, uint64_t unit)
{
  return (bytes + unit - 1) / unit * unit;
}

/* vdsm's factor, with what it cuts off. */
static uint64_t
with_spare (uint64_t bytes)
{
  return bytes + bytes / 10;
}

static int
check_domain (const struct domain *domain, struct fault *f)
{
  const char *refusal = domain->is_backup
                            ? "it is a backup domain, on which no VM can run"
                            : volgroup_refusal (domain);

  if (refusal == NULL)
    return 0;
  return fault_set (f, FAULT_USAGE, 0,
                    "storage domain %s (%s) is not supported as a target: %s",
                    domain->name, domain_kind_name (domain->kind), refusal);
}

int
target_choose (const struct manifest_disk *from, const struct domain *domain,
               enum target_format format, struct target *out, struct fault *f)
{
  bool was_cow = from->format == MANIFEST_COW;
  struct target t = {
    .block = domain_is_block (domain),
    .cow = format == TARGET_AS_RECORDED ? was_cow : format == TARGET_QCOW2,
    .sparse = from->sparse,
    .note = "",
  };

  if (check_domain (domain, f) < 0)
    return -1;
  if (t.cow && !was_cow && !t.sparse) {
    t.sparse = true;
    t.note = "it was preallocated, qcow2 made of raw is thin";
  }
  if (t.block && !t.cow && t.sparse) {
    if (format == TARGET_AS_RECORDED) {
      t.cow = true;
      t.note = "it was raw, which cannot be thin on block storage";
    }
    else {
      t.sparse = false;
      t.note = "it was thin, which raw cannot be on block storage";
    }
  }
  t.incremental = t.cow && !t.sparse;
  t.qcow2_version = domain->format >= QCOW2_V3_FROM ? 3 : 2;
  *out = t;
  return 0;
}

void
target_measure (struct target *t, uint64_t virtual_size, uint64_t image_size)
{
  uint64_t most = round_up (with_spare (virtual_size), VOLGROUP_EXTENT);

  t->image_size = image_size;
  t->initial_size = 0;
  /* Whether its volume is larger than the disk depends on the version of
     vdsm. */
  if (t->block && t->cow && !t->sparse
      && image_size > round_up (virtual_size, VOLGROUP_EXTENT)) {
    t->sparse = true;
    t->incremental = false;
    t->note = "it was preallocated, which leaves no room for qcow2's tables";
  }
  if (!t->block)
    t->room = t->sparse ? 0 : virtual_size;
  else if (!t->cow)
    t->room = round_up (virtual_size, VOLGROUP_EXTENT);
  else if (!t->sparse)
    t->room = most;
  else {
    /* vdsm refuses more than the largest volume of such a disk. */
    t->initial_size = image_size < most ? image_size : most;
    t->room = round_up (round_up (with_spare (t->initial_size), MIB),
                        VOLGROUP_EXTENT);
  }
}

uint64_t
target_capacity (const struct target *t, uint64_t told)
{
  return t->block && !t->cow ? round_up (told, VOLGROUP_EXTENT) : told;
}

bool
target_fits (const struct target *t, uint64_t told, uint64_t found)
{
  return capacity_fits (target_capacity (t, told), found, CAPACITY_ROUND);
}

/* The engine tells whole GiB. */
int
target_check_room (const struct domain *domain, uint64_t room, struct fault *f)
{
  if (room < domain->available + GIB)
    return 0;
  return fault_set (f, FAULT_SPACE, 0,
                    "storage domain %s has %" PRIu64 " GiB available, the new "
                    "disks need %" PRIu64 ": make room or choose another with "
                    "--storage",
                    domain->name, domain->available / GIB,
                    round_up (room, GIB) / GIB);
}
