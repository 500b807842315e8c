/* SPDX-License-Identifier: Apache-2.0 */
/* Changes in the engine, each made once: busy refusals are waited out, and
   after a lost answer the effect is looked for before anything is sent
   again. */
#ifndef ENGINE_CHANGE_H
#define ENGINE_CHANGE_H

#include <stdbool.h>

#include "engine/doc.h"
#include "engine/task.h"

struct engine;
struct fault;

struct change {
  const char *method;
  const char *path; /* as call_path gives it */
  const char *body; /* NULL: none */
  /* Has an attempt had its effect?  NULL: repeating does no harm. */
  int (*look) (struct engine *engine, void *opaque, bool *found,
               struct fault *f);
  void *opaque;
  bool gone_is_done; /* 404 is success (DELETE) */
};

/* CORRELATION (always filled) is the id of the last attempt.  *REPLY is NULL
   when the answer was empty, was lost (the effect was found), or with
   gone_is_done; the caller reads the object then.  REPLY may be NULL. */
int change_make (struct engine *engine, const struct change *change,
                 char correlation[static TASK_CORRELATION_SIZE],
                 struct doc **reply, struct fault *f);

#endif /* ENGINE_CHANGE_H */
