/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs and events by correlation id.  A search that the engine cannot parse
   is answered with an empty list, so the expressions here are fixed and their
   values are made by us. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/pace.h"
#include "engine/session.h"
#include "engine/task.h"

#define TASK_EVENTS_PAGE 500
#define TASK_TEXT_MAX 512

void
task_correlation (struct engine *engine, char out[static TASK_CORRELATION_SIZE])
{
  unsigned n;

  {
    SCOPED_LOCK (&engine->lock);
    n = ++engine->correlations;
  }
  snprintf (out, TASK_CORRELATION_SIZE, "cl-%s-%u", engine->run_id, n);
}

/* The jobs of one correlation id. */
struct jobs {
  unsigned running;
  unsigned finished;
  unsigned failed;
  char text[TASK_TEXT_MAX]; /* of the first failed one */
};

static int
count_job (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct jobs *jobs = opaque;
  char status[16];

  (void)f;
  doc_word (item, "status", status, sizeof status);
  if (strcmp (status, "finished") == 0)
    jobs->finished++;
  else if (strcmp (status, "failed") == 0 || strcmp (status, "aborted") == 0) {
    if (jobs->failed++ == 0)
      doc_word (item, "description", jobs->text, sizeof jobs->text);
  }
  else
    jobs->running++; /* started, and unknown counts as such */
  return 0;
}

int
task_state (struct engine *engine, const char *correlation,
            enum task_state *state, char *description, size_t size,
            struct fault *f)
{
  CLEANUP_FREE char *path
      = xasprintf ("jobs?search=correlation_id%%3D%s", correlation);
  struct jobs jobs = { .running = 0 };

  if (call_each (engine, path, "job", count_job, &jobs, f) < 0)
    return fault_prefix (f, "jobs of %s", correlation);
  if (jobs.running > 0)
    *state = TASK_RUNNING;
  else if (jobs.failed > 0)
    *state = TASK_FAILED;
  else
    *state = jobs.finished > 0 ? TASK_FINISHED : TASK_ABSENT;
  if (description != NULL)
    snprintf (description, size, "%s", jobs.text);
  return 0;
}

/* The first event of CORRELATION that is an error, into TEXT. */
static void
error_text (struct engine *engine, const char *correlation, char *text,
            size_t size)
{
  CLEANUP (task_events_free) struct task_events *events = NULL;
  struct fault ignored = FAULT_INIT;

  if (task_events_of (engine, correlation, &events, &ignored) < 0)
    return;
  for (size_t i = 0; i < events->count; i++) {
    const struct task_event *e = &events->items[i];

    if (strcmp (e->severity, "error") == 0
        || strcmp (e->severity, "alert") == 0) {
      snprintf (text, size, "%s (event %u)", e->description, e->code);
      return;
    }
  }
}

int
task_wait (struct engine *engine, const char *correlation, unsigned timeout_s,
           struct fault *f)
{
  char text[TASK_TEXT_MAX];
  enum task_state state;
  struct pace pace;

  pace_start (&pace, engine, timeout_s);
  for (;;) {
    if (task_state (engine, correlation, &state, text, sizeof text, f) < 0)
      return -1;
    if (state == TASK_FAILED) {
      error_text (engine, correlation, text, sizeof text);
      return fault_set (f, FAULT_REMOTE, 0,
                        "the engine's job failed: %s (correlation id %s)", text,
                        correlation);
    }
    if (state != TASK_RUNNING)
      return 0;
    if (pace_over (&pace))
      return fault_set (f, FAULT_BUSY, 0,
                        "the engine's job %s still runs after %u s",
                        correlation, timeout_s);
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

int
task_parse_event (const struct doc_node *node, struct task_event *event,
                  struct fault *f)
{
  CLEANUP_FREE char *date = doc_string (node, "time");
  char id[24];
  char *end;
  uint64_t code = 0;

  *event = (struct task_event){ .id = 0 };
  doc_attr (node, "", "id", id, sizeof id);
  event->id = strtoull (id, &end, 10);
  if (id[0] < '0' || id[0] > '9' || *end != '\0')
    return fault_set (f, FAULT_PROTO, 0, "event with the id \"%s\"", id);
  if (doc_u64 (node, "code", &code, f) < 0
      || doc_id (node, "vm", event->vm_id, f) < 0
      || (date[0] != '\0' && stamp_parse_iso (date, &event->time, f) < 0))
    return -1;
  event->code = code > UINT32_MAX ? UINT32_MAX : (unsigned)code;
  doc_word (node, "severity", event->severity, sizeof event->severity);
  doc_word (node, "correlation_id", event->correlation,
            sizeof event->correlation);
  event->description = doc_string (node, "description");
  return 0;
}

/* What the walks over events gather; VM_ID NULL: all. */
struct gathered {
  struct task_events *events;
  const char *vm_id;
  uint64_t highest;
  uint64_t last; /* id of the row before */
  size_t rows;
  bool ascending;
};

static int
gather (const struct doc_node *item, void *opaque, struct fault *f)
{
  struct gathered *g = opaque;
  struct task_events *events = g->events;
  struct task_event event;

  if (task_parse_event (item, &event, f) < 0)
    return -1;
  if (g->rows++ > 0 && event.id < g->last)
    g->ascending = false;
  g->last = event.id;
  if (event.id > g->highest)
    g->highest = event.id;
  if (events == NULL
      || (g->vm_id != NULL && strcmp (event.vm_id, g->vm_id) != 0)) {
    free (event.description);
    return 0;
  }
  if (events->count == TASK_EVENTS_MAX) {
    free (event.description);
    return fault_set (f, FAULT_PROTO, 0, "the engine lists more than %d events",
                      TASK_EVENTS_MAX);
  }
  events->items
      = xreallocarray (events->items, events->count + 1, sizeof *events->items);
  events->items[events->count++] = event;
  return 0;
}

static int
by_id (const void *a, const void *b)
{
  const struct task_event *x = a;
  const struct task_event *y = b;

  return x->id < y->id ? -1 : x->id > y->id;
}

int
task_last_event_id (struct engine *engine, uint64_t *id, struct fault *f)
{
  struct gathered g = { .events = NULL };

  if (call_each (engine, "events?max=1", "event", gather, &g, f) < 0)
    return fault_prefix (f, "read the last event");
  *id = g.highest;
  return 0;
}

/* CONDITION of the search: "", or one that ends with a blank, escaped. */
static int
events_since (struct engine *engine, uint64_t after, const char *condition,
              const char *vm_id, struct task_events **events, struct fault *f)
{
  CLEANUP (task_events_free)
  struct task_events *found = xcalloc (1, sizeof *found);
  struct gathered g = { .events = found, .highest = after };

  *events = NULL;
  if (vm_id != NULL && vm_id[0] != '\0')
    g.vm_id = vm_id;
  do {
    CLEANUP_FREE char *path = xasprintf (
        "events?from=%llu&max=%d&search=%ssortby%%20time%%20asc",
        (unsigned long long)g.highest, TASK_EVENTS_PAGE, condition);

    g.rows = 0;
    g.last = 0;
    g.ascending = true;
    if (call_each (engine, path, "event", gather, &g, f) < 0)
      return fault_prefix (f, "read the events after %llu",
                           (unsigned long long)after);
    /* A full page out of order may have left out rows between. */
    if (g.rows >= TASK_EVENTS_PAGE && !g.ascending)
      return fault_set (f, FAULT_PROTO, 0,
                        "the engine lists events out of order");
  } while (g.rows >= TASK_EVENTS_PAGE);
  if (found->count > 0)
    qsort (found->items, found->count, sizeof *found->items, by_id);
  *events = steal_ptr (&found);
  return 0;
}

int
task_events_since (struct engine *engine, uint64_t after, const char *vm_id,
                   struct task_events **events, struct fault *f)
{
  return events_since (engine, after, "", vm_id, events, f);
}

int
task_vm_events_since (struct engine *engine, uint64_t after, const char *vm_id,
                      struct task_events **events, struct fault *f)
{
  CLEANUP_FREE char *condition = xasprintf ("event_vm_id%%3D%s%%20", vm_id);

  return events_since (engine, after, condition, vm_id, events, f);
}

int
task_events_of (struct engine *engine, const char *correlation,
                struct task_events **events, struct fault *f)
{
  CLEANUP (task_events_free)
  struct task_events *found = xcalloc (1, sizeof *found);
  CLEANUP_FREE char *path
      = xasprintf ("events?search=correlation_id%%3D%s", correlation);
  struct gathered g = { .events = found };

  *events = NULL;
  if (call_each (engine, path, "event", gather, &g, f) < 0)
    return fault_prefix (f, "events of %s", correlation);
  if (found->count > 0)
    qsort (found->items, found->count, sizeof *found->items, by_id);
  *events = steal_ptr (&found);
  return 0;
}

int
task_first_time (struct engine *engine, int64_t *time, struct fault *f)
{
  CLEANUP (task_events_free)
  struct task_events *found = xcalloc (1, sizeof *found);
  struct gathered g = { .events = found };

  if (call_each (engine, "events?search=sortby%20time%20asc&max=1", "event",
                 gather, &g, f)
      < 0)
    return fault_prefix (f, "the oldest event");
  *time = found->count > 0 ? found->items[0].time : 0;
  return 0;
}

void
task_events_free (struct task_events *events)
{
  if (events == NULL)
    return;
  for (size_t i = 0; i < events->count; i++)
    free (events->items[i].description);
  free (events->items);
  free (events);
}

const struct task_event *
task_find_event (const struct task_events *events, const unsigned *codes)
{
  for (size_t i = 0; i < events->count; i++) {
    for (const unsigned *c = codes; *c != 0; c++) {
      if (events->items[i].code == *c)
        return &events->items[i];
    }
  }
  return NULL;
}
