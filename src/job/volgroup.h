/* SPDX-License-Identifier: Apache-2.0 */
/* What a helper must be told of a storage domain on block devices, and what
   vdsm does to sizes.  Pure, but for volgroup_ask. */
#ifndef VOLGROUP_H
#define VOLGROUP_H

#include <stdbool.h>
#include <stdint.h>

struct domain;
struct engine;
struct fault;
struct group_spec;

#define VOLGROUP_EXTENT (UINT64_C (128) << 20) /* of vdsm's volume groups */

/* Why a helper on a host that has DOMAIN connected could not use it; NULL when
   it can.  Files are as right as blocks; the status is not looked at. */
const char *volgroup_refusal (const struct domain *domain);
/* OUT, which group_reset frees, for a block domain without a refusal. */
void volgroup_fill (const struct domain *domain, struct group_spec *out);
/* The same with the LUNs that it has now: a run may be hours old, and LVM finds
   a group incomplete without each of them. */
int volgroup_ask (struct engine *engine, const struct domain *domain,
                  struct group_spec *out, struct fault *f);
/* Can a volume of FOUND bytes be that of which the engine says TOLD?  vdsm
   rounds capacities up to 4 KiB, which old versions do not, and makes that of a
   raw one the size of its logical volume; the engine may know of neither. */
bool volgroup_size_fits (uint64_t told, uint64_t found);

#endif /* VOLGROUP_H */
