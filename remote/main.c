/* SPDX-License-Identifier: Apache-2.0 */
/* chainlift-remote: the helper that the controller pushes to a hypervisor. */
#include <config.h>

#include <stdio.h>

#include "base/fault.h"
#include "remote/guard.h"

static int
work (struct guard *g, void *opaque)
{
  (void)opaque;
  return guard_left_ms (g) > 0 ? 0 : FAULT_NET;
}

int
main (int argc, char **argv, char **env)
{
  guard_name (argc, argv, env);
  return guard_run (work, NULL);
}
