/* SPDX-License-Identifier: Apache-2.0 */
/*   send -> done                            the normal case
          -> refused, busy                   pause, send again (new id)
          -> refused                         fault
          -> never left                      pause, send again
          -> unknown -> look: effect there   as good as done
                     -> job of it runs       look again
                     -> nothing, several
                        times               send again
   The looks are far enough apart for a request that is still on its way
   through the engine's front end to show. */
#include <config.h>

#include "base/fault.h"
#include "base/log.h"
#include "engine/call.h"
#include "engine/change.h"
#include "engine/pace.h"
#include "engine/session.h"

#define CHANGE_LOOKS 5
#define CHANGE_LOST_MAX 3 /* answers lost one after the other */
#define CHANGE_LOOK_S 3600

static int
look_for_effect (struct engine *engine, const struct change *change,
                 const char *correlation, bool *found, struct fault *f)
{
  enum task_state state = TASK_ABSENT;
  struct pace pace;

  *found = false;
  if (change->look == NULL)
    return 0;
  pace_start (&pace, engine, CHANGE_LOOK_S);
  for (int looks = 0; looks < CHANGE_LOOKS && !pace_over (&pace);) {
    if (pace_sleep (&pace, f) < 0
        || change->look (engine, change->opaque, found, f) < 0)
      return -1;
    if (*found)
      return 0;
    if (task_state (engine, correlation, &state, NULL, 0, f) < 0)
      return -1;
    if (state != TASK_RUNNING)
      looks++;
  }
  if (state == TASK_RUNNING)
    return fault_set (f, FAULT_BUSY, 0,
                      "the answer to %s %s got lost and its job %s still runs",
                      change->method, change->path, correlation);
  return 0;
}

/* How long one change has been tried. */
struct trial {
  struct pace busy;
  struct pace net;
  unsigned lost;
};

/* After a failed attempt: 0 = send again, 1 = done after all, -1 = fault. */
static int
after_failure (struct engine *engine, const struct change *change,
               const char *correlation, enum call_effect effect,
               struct trial *trial, const struct fault *now, struct fault *f)
{
  struct pace *pace = now->code == FAULT_NET ? &trial->net : &trial->busy;
  bool found = false;

  if (effect == CALL_UNKNOWN) {
    log_warn ("%s; looking whether %s %s took effect", now->text,
              change->method, change->path);
    if (look_for_effect (engine, change, correlation, &found, f) < 0)
      return -1;
    if (found)
      return 1;
    if (++trial->lost < CHANGE_LOST_MAX)
      return 0;
  }
  else if (now->code == FAULT_NOTFOUND && change->gone_is_done)
    return 1;
  else if (fault_may_retry (now->code) && !pace_over (pace)) {
    log_debug ("%s; trying again", now->text);
    return pace_sleep (pace, f);
  }
  return fault_copy (f, now);
}

int
change_make (struct engine *engine, const struct change *change,
             char correlation[static TASK_CORRELATION_SIZE], struct doc **reply,
             struct fault *f)
{
  enum call_effect effect;
  struct trial trial = { .lost = 0 };
  int next = 0;

  if (reply != NULL)
    *reply = NULL;
  pace_start (&trial.busy, engine, engine->busy_s);
  pace_start (&trial.net, engine, engine->retry_s);
  while (next == 0) {
    struct fault now = FAULT_INIT;
    struct doc *doc = NULL;

    task_correlation (engine, correlation);
    if (call_send (engine, change->method, change->path, change->body,
                   correlation, &effect, &doc, &now)
        == 0) {
      if (reply != NULL)
        *reply = doc;
      else
        doc_free (doc);
      return 0;
    }
    if (now.code == FAULT_CANCELLED && effect != CALL_UNKNOWN)
      return fault_copy (f, &now);
    next = after_failure (engine, change, correlation, effect, &trial, &now, f);
  }
  return next > 0 ? 0 : -1;
}
