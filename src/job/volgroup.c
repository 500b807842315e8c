/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "engine/domain.h"
#include "job/volgroup.h"
#include "wire/capacity.h"
#include "wire/group.h"

_Static_assert(DOMAIN_LUNS_MAX == GROUP_LUNS_MAX, "what is told can be sent");

const char *
volgroup_refusal (const struct domain *domain)
{
  if (domain_is_file (domain))
    return NULL;
  if (!domain_is_block (domain))
    return "a host has no volumes of its type";
  if (domain->format < GROUP_VERSION_MIN || domain->format > GROUP_VERSION_MAX)
    return "its format is not v3, v4 or v5";
  if (domain->lun_count == 0)
    return "the engine tells none of its LUNs: the user needs an "
           "administrator's role";
  if (domain->lun_count > GROUP_LUNS_MAX)
    return "it has more than 128 LUNs";
  for (size_t i = 0; i < domain->lun_count; i++) {
    if (!group_lun_valid (domain->luns[i]))
      return "the id of one of its LUNs cannot be a name of multipath";
  }
  return NULL;
}

void
volgroup_fill (const struct domain *domain, struct group_spec *out)
{
  *out = (struct group_spec){ .version = (uint8_t)domain->format,
                              .lun_count = (uint32_t)domain->lun_count };
  memcpy (out->pool, domain->center_id, sizeof out->pool);
  out->luns = xcalloc (domain->lun_count, sizeof *out->luns);
  for (size_t i = 0; i < domain->lun_count; i++)
    memcpy (out->luns[i].id, domain->luns[i], strlen (domain->luns[i]) + 1);
}

int
volgroup_ask (struct engine *engine, const struct domain *domain,
              struct group_spec *out, struct fault *f)
{
  struct domain now = *domain;
  struct domain luns;
  const char *refusal;
  int rc = 0;

  if (domain_luns (engine, domain, &luns, f) < 0)
    return -1;
  if (luns.lun_count > 0) {
    now.luns = luns.luns;
    now.lun_count = luns.lun_count;
  }
  refusal = volgroup_refusal (&now);
  if (refusal == NULL)
    volgroup_fill (&now, out);
  else
    rc = fault_set (f, FAULT_BUSY, 0, "storage domain %s was changed: %s",
                    domain->name, refusal);
  domain_reset (&luns);
  return rc;
}

bool
volgroup_size_fits (uint64_t told, uint64_t found)
{
  return capacity_fits (told, found, CAPACITY_ROUND)
         || capacity_fits (told, found, VOLGROUP_EXTENT);
}
