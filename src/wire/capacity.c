/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "wire/capacity.h"

bool
capacity_fits (uint64_t told, uint64_t found, uint64_t unit)
{
  return found == told
         || (found > told && found - told < unit && found % unit == 0);
}
