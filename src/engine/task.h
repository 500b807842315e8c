/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine does behind an answer: jobs and events. */
#ifndef ENGINE_TASK_H
#define ENGINE_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/uuid.h"

#define TASK_CORRELATION_SIZE 32 /* cl-RUNID-N and the NUL */
#define TASK_EVENTS_MAX 100000

struct doc_node;
struct engine;
struct fault;

struct task_event {
  uint64_t id;
  unsigned code;
  char severity[16]; /* normal, warning, error, alert */
  char *description;
  char correlation[40];
  char vm_id[UUID_SIZE];
  int64_t time;
};

struct task_events {
  struct task_event *items;
  size_t count;
};

enum task_state {
  TASK_ABSENT, /* never heard of, or long finished */
  TASK_RUNNING,
  TASK_FINISHED,
  TASK_FAILED,
};

/* A correlation id that was never used: one for each attempt to change
   something. */
void task_correlation (struct engine *engine,
                       char out[static TASK_CORRELATION_SIZE]);
/* The jobs of that correlation id, taken together.  DESCRIPTION (may be NULL)
   receives text of a failed one. */
int task_state (struct engine *engine, const char *correlation,
                enum task_state *state, char *description, size_t size,
                struct fault *f);
/* Wait until no job of it runs.  A failed one is FAULT_REMOTE with the text
   of job and events. */
int task_wait (struct engine *engine, const char *correlation,
               unsigned timeout_s, struct fault *f);
/* Highest event id now. */
int task_last_event_id (struct engine *engine, uint64_t *id, struct fault *f);
/* Events with an id above AFTER, oldest first; VM_ID "" or NULL: of all, else
   those that name that VM. */
int task_events_since (struct engine *engine, uint64_t after, const char *vm_id,
                       struct task_events **events, struct fault *f);
/* The same of VM_ID, picked by the engine.  An engine that does not know the
   condition, or has removed old events, answers with fewer of them and no
   fault: see that one is there which must be. */
int task_vm_events_since (struct engine *engine, uint64_t after,
                          const char *vm_id, struct task_events **events,
                          struct fault *f);
/* Events of one correlation id, oldest first. */
int task_events_of (struct engine *engine, const char *correlation,
                    struct task_events **events, struct fault *f);
/* The time of the oldest event that the engine has; 0: it has none. */
int task_first_time (struct engine *engine, int64_t *time, struct fault *f);
void task_events_free (struct task_events *events);
CLEANUP_DEFINE (task_events_free, struct task_events);
/* The first of EVENTS whose code is in the 0-terminated CODES, or NULL. */
const struct task_event *task_find_event (const struct task_events *events,
                                          const unsigned *codes);

int task_parse_event (const struct doc_node *node, struct task_event *event,
                      struct fault *f);

#endif /* ENGINE_TASK_H */
