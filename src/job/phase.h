/* SPDX-License-Identifier: Apache-2.0 */
/* The phases of a backup and of a restore (DESIGN sections 3 and 4): their
   names in logs, and the places where a test can stop the program. */
#ifndef PHASE_H
#define PHASE_H

enum phase {
  PHASE_PLAN,
  PHASE_SNAPSHOT,
  PHASE_CONFIG,
  PHASE_GUARD,
  PHASE_BASE,
  PHASE_T0,
  PHASE_MAP,
  PHASE_STREAM,
  PHASE_T1,
  PHASE_PUBLISH,
  PHASE_RELEASE,
  PHASE_CREATE,
  PHASE_HOLD,
  PHASE_PROVE,
  PHASE_WRITE,
  PHASE_VERIFY,
  PHASE_VM,
  PHASE_ATTACH,
  PHASE_CLEAN, /* leftovers --clean: before each change, and after it */
};

const char *phase_name (enum phase phase);

/* In a build with --enable-test-hooks: when CHAINLIFT_STOP_AT is PHASE or
   PHASE:N and this is the Nth call for that phase, stop the process with
   SIGSTOP.  Each phase is a stop at least twice where that can make a
   difference: before its first effect and right after it.  Else nothing. */
void phase_stop (enum phase phase);

#endif /* PHASE_H */
