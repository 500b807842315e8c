/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "job/phase.h"

static const char *const names[] = {
  [PHASE_PLAN] = "plan",       [PHASE_SNAPSHOT] = "snapshot",
  [PHASE_CONFIG] = "config",   [PHASE_GUARD] = "guard",
  [PHASE_BASE] = "base",       [PHASE_T0] = "t0",
  [PHASE_MAP] = "map",         [PHASE_STREAM] = "stream",
  [PHASE_T1] = "t1",           [PHASE_PUBLISH] = "publish",
  [PHASE_RELEASE] = "release", [PHASE_CREATE] = "create",
  [PHASE_HOLD] = "hold",       [PHASE_PROVE] = "prove",
  [PHASE_WRITE] = "write",     [PHASE_VERIFY] = "verify",
  [PHASE_VM] = "vm",           [PHASE_ATTACH] = "attach",
  [PHASE_CLEAN] = "clean",
};

const char *
phase_name (enum phase phase)
{
  return names[phase];
}

#ifdef ENABLE_TEST_HOOKS
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long calls[PHASE_CLEAN + 1]; /* under lock */

void
phase_stop (enum phase phase)
{
  const char *wanted = getenv ("CHAINLIFT_STOP_AT");
  size_t len = strlen (names[phase]);
  unsigned long count = 1;

  if (wanted == NULL || strncmp (wanted, names[phase], len) != 0)
    return;
  if (wanted[len] == ':')
    count = strtoul (wanted + len + 1, NULL, 10);
  else if (wanted[len] != '\0')
    return;
  {
    SCOPED_LOCK (&lock);
    if (++calls[phase] != count)
      return;
  }
  fprintf (stderr, "chainlift: stopped at %s\n", wanted);
  kill (getpid (), SIGSTOP);
}
#else
void
phase_stop (enum phase phase)
{
  (void)phase;
}
#endif
