/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/fault.h"
#include "conf/settings.h"
#include "engine/host.h"
#include "job/phase.h"
#include "job/pin.h"
#include "job/site.h"

bool
pin_wanted (const struct site *site, bool block)
{
  switch (site->settings->restore_lock) {
  case SETTINGS_LOCK_NONE:
    return false;
  case SETTINGS_LOCK_AUTO:
    return block;
  case SETTINGS_LOCK_ALWAYS:
    break;
  }
  return true;
}

int
pin_take (struct site *site, const char *lease_id, const char *disk_id,
          const struct host *host, struct pin *pin, struct fault *f)
{
  phase_stop (PHASE_HOLD);
  if (journal_intend (site->journal, PIN_KIND, lease_id, disk_id, host->name,
                      &pin->intention, f)
      < 0)
    return -1;
  if (transfer_lock (site->engine, disk_id, host->id, &pin->transfer, f) < 0) {
    fault_append (f,
                  "; host %s needs ovirt-imageio and the engine's user a role "
                  "that may create disks; or set restore_lock = \"none\": then "
                  "nothing keeps others from the disk until it is complete",
                  host->name);
    return -1;
  }
  phase_stop (PHASE_HOLD);
  return 0;
}

int
pin_release (struct site *site, struct pin *pin, struct fault *f)
{
  if (pin->intention == 0)
    return 0;
  phase_stop (PHASE_HOLD);
  if (transfer_finalize (site->engine, &pin->transfer, f) < 0)
    return -1;
  phase_stop (PHASE_HOLD);
  if (journal_settle (site->journal, pin->intention, f) < 0)
    return -1;
  pin->intention = 0;
  return 0;
}

int
pin_break (struct site *site, const char *disk_id, struct fault *f)
{
  struct transfer t;

  if (transfer_find (site->engine, disk_id, &t, f) < 0)
    return -1;
  return t.id[0] == '\0' ? 0 : transfer_cancel (site->engine, &t, f);
}

int
pin_undo (struct site *site, const char *disk_id, struct pin *pin,
          struct fault *f)
{
  if (pin->intention == 0)
    return 0;
  if (pin_break (site, disk_id, f) < 0
      || journal_settle (site->journal, pin->intention, f) < 0)
    return -1;
  pin->intention = 0;
  return 0;
}
