/* SPDX-License-Identifier: Apache-2.0 */
/* What vdsm makes of the capacity that is asked for (Volume.create in
   lib/vdsm/storage/volume.py). */
#ifndef CAPACITY_H
#define CAPACITY_H

#include <stdbool.h>
#include <stdint.h>

/* It rounds up to that; old versions do not, and the engine does not learn it. */
#define CAPACITY_ROUND UINT64_C (4096)

/* Pure: is FOUND what was TOLD, or that rounded up to UNIT? */
bool capacity_fits (uint64_t told, uint64_t found, uint64_t unit);

#endif /* CAPACITY_H */
