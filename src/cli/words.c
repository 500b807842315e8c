/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stddef.h>
#include <string.h>

#include "cli/words.h"

static const struct {
  const char *name; /* as in src/job/phase.c */
  const char *words;
} phases[] = {
  { "plan", "planning" },
  { "snapshot", "taking the snapshot" },
  { "config", "saving the configuration" },
  { "guard", "guarding the snapshot" },
  { "base", "looking for the template's base" },
  { "t0", "checking the layers (t0)" },
  { "map", "reading the map" },
  { "stream", "reading" },
  { "t1", "checking the layers again (t1)" },
  { "publish", "publishing the point" },
  { "release", "cleaning up" },
  { "create", "creating the disks" },
  { "hold", "holding the disks" },
  { "prove", "finding the new volumes" },
  { "write", "writing" },
  { "verify", "comparing" },
  { "vm", "making the VM" },
  { "attach", "attaching the disks" },
};

const char *
words_phase (const char *name)
{
  for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
    if (strcmp (phases[i].name, name) == 0)
      return phases[i].words;
  }
  return name;
}
