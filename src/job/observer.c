/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "job/observer.h"

void
observer_count (struct observer_tally *tally,
                const struct observer_result *result)
{
  enum fault_code code;

  switch (result->state) {
  case OBSERVER_PLANNED:
  case OBSERVER_DONE:
    tally->done++;
    return;
  case OBSERVER_SKIPPED:
    tally->skipped++;
    return;
  case OBSERVER_FAILED:
    break;
  }
  tally->failed++;
  code = result->fault != NULL ? result->fault->code : FAULT_INTERNAL;
  if (tally->code != FAULT_NONE && tally->code != code)
    tally->mixed = true;
  tally->code = code;
}

int
observer_exit_status (const struct observer_tally *tally)
{
  if (tally->failed == 0)
    return tally->leftovers > 0 ? 1 : 0;
  if (tally->done > 0 || tally->mixed)
    return 1;
  return (int)tally->code;
}
