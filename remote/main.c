/* SPDX-License-Identifier: Apache-2.0 */
/* chainlift-remote: the helper that the controller pushes to a hypervisor. */
#include <config.h>

#include <stdio.h>

#include "base/fault.h"

int
main (void)
{
  fputs ("chainlift-remote " PACKAGE_VERSION "\n", stderr);
  return FAULT_USAGE;
}
