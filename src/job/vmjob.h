/* SPDX-License-Identifier: Apache-2.0 */
/* The backup of one VM, phase by phase. */
#ifndef VMJOB_H
#define VMJOB_H

#include <stdbool.h>

#include "job/shot.h"

struct fault;
struct observer;
struct observer_result;
struct plan_vm;
struct quota;
struct site;

struct vmjob_params {
  struct site *site;
  const struct plan_vm *plan; /* take is true */
  bool full;                  /* no increments */
  const struct observer *observer;
  struct quota *quota;
};

/* Run it to its end; RESULT is filled with the counts either way.  On failure
   nothing is published and what was made in the cluster is removed again; what
   could not be, or is safer left, stands in NOTE (a string of NOTE_MAX
   bytes, "" for nothing). */
#define VMJOB_NOTE_MAX SHOT_NOTE_MAX
#define VMJOB_POINT_MAX 320
int vmjob_run (const struct vmjob_params *params,
               struct observer_result *result,
               char point[static VMJOB_POINT_MAX],
               char note[static VMJOB_NOTE_MAX], struct fault *f);

#endif /* VMJOB_H */
