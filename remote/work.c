/* SPDX-License-Identifier: Apache-2.0 */
/* The pool is never torn down: the process ends. */
#include <config.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/xmem.h"
#include "remote/direct.h"
#include "remote/work.h"
#include "wire/frame.h"
#include "wire/pack.h"

#define STACK_SIZE ((size_t)512 * 1024)

struct work {
  pthread_mutex_t lock; /* of all below and of the pool's part of jobs */
  pthread_cond_t todo;
  pthread_cond_t idle;
  struct work_job *first; /* jobs with steps that nobody has begun */
  struct work_job *last;
  unsigned count;
  struct worker workers[WORK_THREADS];
};

/* The next step of the oldest job; the job leaves the list with its last. */
static struct work_job *
take_locked (struct work *p, uint64_t *index)
{
  struct work_job *j = p->first;

  *index = j->next++;
  j->running++;
  if (j->next == j->steps) {
    p->first = j->link;
    if (p->first == NULL)
      p->last = NULL;
  }
  return j;
}

/* Nobody is to begin another step of J. */
static void
drop_locked (struct work *p, struct work_job *j)
{
  struct work_job **at = &p->first;
  struct work_job *before = NULL;

  if (j->next == j->steps)
    return;
  j->next = j->steps;
  while (*at != j) {
    before = *at;
    at = &before->link;
  }
  *at = j->link;
  if (p->last == j)
    p->last = before;
}

/* True when it was the last step of J. */
static bool
give_back (struct work *p, struct work_job *j, const struct fault *f)
{
  SCOPED_LOCK (&p->lock);

  if (f->code != FAULT_NONE) {
    fault_copy (&j->fault, f);
    drop_locked (p, j);
  }
  return --j->running == 0 && j->next == j->steps;
}

static void
forget (struct work *p)
{
  SCOPED_LOCK (&p->lock);

  if (--p->count == 0)
    pthread_cond_broadcast (&p->idle);
}

static void *
run (void *opaque)
{
  struct worker *w = opaque;
  struct work *p = w->work;
  struct work_job *j;
  struct fault f;
  uint64_t index;

  for (;;) {
    pthread_mutex_lock (&p->lock);
    while (p->first == NULL)
      pthread_cond_wait (&p->todo, &p->lock);
    j = take_locked (p, &index);
    pthread_mutex_unlock (&p->lock);
    fault_reset (&f);
    if (j->step (j, w, index, &f) < 0 && f.code == FAULT_NONE)
      fault_set (&f, FAULT_INTERNAL, 0, "a step failed without a reason");
    if (give_back (p, j, &f)) {
      j->finish (j, w);
      forget (p);
    }
  }
  return NULL;
}

struct work *
work_new (struct fault *f)
{
  struct work *p = xcalloc (1, sizeof *p);
  pthread_attr_t attr;
  pthread_t thread;
  struct worker *w;
  int rc;

  pthread_mutex_init (&p->lock, NULL);
  pthread_cond_init (&p->todo, NULL);
  pthread_cond_init (&p->idle, NULL);
  pthread_attr_init (&attr);
  pthread_attr_setstacksize (&attr, STACK_SIZE);
  for (unsigned i = 0; i < WORK_THREADS; i++) {
    w = &p->workers[i];
    w->work = p;
    w->index = i;
    w->buffer = try_aligned (DIRECT_ALIGN, FRAME_RAW_MAX, "buffer", f);
    w->packed
        = try_aligned (DIRECT_ALIGN, pack_bound (FRAME_RAW_MAX), "buffer", f);
    if (w->buffer == NULL || w->packed == NULL)
      return NULL;
    rc = pthread_create (&thread, &attr, run, w);
    if (rc != 0) {
      fault_set (f, FAULT_REMOTE, rc, "start a thread");
      return NULL;
    }
    pthread_detach (thread);
  }
  pthread_attr_destroy (&attr);
  return p;
}

void
work_add (struct work *p, struct work_job *j)
{
  SCOPED_LOCK (&p->lock);

  j->next = 0;
  j->running = 0;
  j->link = NULL;
  if (p->last == NULL)
    p->first = j;
  else
    p->last->link = j;
  p->last = j;
  p->count++;
  pthread_cond_broadcast (&p->todo);
}

void
work_add_first (struct work *p, struct work_job *j)
{
  SCOPED_LOCK (&p->lock);

  j->next = 0;
  j->running = 0;
  j->link = p->first;
  p->first = j;
  if (p->last == NULL)
    p->last = j;
  p->count++;
  pthread_cond_broadcast (&p->todo);
}

unsigned
work_count (struct work *p)
{
  SCOPED_LOCK (&p->lock);

  return p->count;
}

void
work_drain (struct work *p)
{
  SCOPED_LOCK (&p->lock);

  while (p->count > 0)
    pthread_cond_wait (&p->idle, &p->lock);
}
