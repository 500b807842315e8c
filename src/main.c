/* SPDX-License-Identifier: Apache-2.0 */
/* The door of chainlift: global options, the command table, the exit
   status. */
#include <config.h>

#include <stdio.h>

#include "base/fault.h"

int
main (void)
{
  fputs ("chainlift " PACKAGE_VERSION "\n", stdout);
  return FAULT_USAGE;
}
