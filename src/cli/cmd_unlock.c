/* SPDX-License-Identifier: Apache-2.0 */
/* unlock: remove the lease that another machine left behind. */
#include <config.h>

#include <stdio.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "cli/args.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "conf/settings.h"
#include "repo/lease.h"
#include "repo/place.h"
#include "repo/point.h"

static const struct args_option unlock_options[] = {
  { "force", 0, NULL, "yes, remove it: no run on that machine lives" },
  { NULL, 0, NULL, NULL },
};

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (place_close) struct place *place = NULL;
  CLEANUP_FREE char *text = NULL;
  const char *vm = args->words[0];
  char id[UUID_SIZE];
  bool locked;

  if (door_settings (options, &settings, f) != 0
      || door_place (settings, &place, f) != 0)
    return -1;
  if (uuid_valid (vm))
    snprintf (id, sizeof id, "%s", vm);
  else if (point_find_vm (place, vm, id, f) != 0)
    return -1;
  if (lease_holder (place, id, &text, &locked, f) != 0)
    return -1;
  if (text == NULL) {
    log_info ("nobody holds the lease of %s", vm);
    return 0;
  }
  if (!args_flag (args, "force"))
    return fault_set (f, FAULT_USAGE, 0,
                      "the lease of %s is held by another machine: make sure "
                      "that no chainlift runs there, then say unlock --force",
                      vm);
  if (lease_break (place, id, f) != 0)
    return -1;
  log_info ("the lease of %s is removed", vm);
  return 0;
}

const struct command cmd_unlock = {
  .name = "unlock",
  .usage = "--force VM",
  .summary = "remove a lease that another machine left behind",
  .help = "VM is a name or an id, as the message that told of the lease says "
          "it.  A lease\nwhose holder lives on this machine is never "
          "removed.\n",
  .options = unlock_options,
  .word = "the VM",
  .min = 1,
  .max = 1,
  .run = run,
};
