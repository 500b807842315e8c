/* SPDX-License-Identifier: Apache-2.0 */
/* A few threads that do the reading, checking and writing.  A job is a number
   of steps; the threads take the steps of the oldest job first, so that
   several work on one request and storage sees several reads at once. */
#ifndef WORK_H
#define WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"

#define WORK_THREADS 4

struct work;

/* What a thread has for itself. */
struct worker {
  struct work *work;
  unsigned index;  /* 0 to WORK_THREADS - 1 */
  uint8_t *buffer; /* FRAME_RAW_MAX bytes, aligned to DIRECT_ALIGN */
  uint8_t *packed; /* pack_bound (FRAME_RAW_MAX) bytes */
};

/* Embedded as the first member in what the job is about. */
struct work_job {
  /* Do step INDEX; -1: the steps that nobody has begun are left out. */
  int (*step) (struct work_job *j, struct worker *w, uint64_t index,
               struct fault *f);
  /* All is done, or failed (fault.code tells); frees the job. */
  void (*finish) (struct work_job *j, struct worker *w);
  uint64_t steps; /* at least 1 */
  /* the rest belongs to the pool */
  uint64_t next;
  unsigned running;
  struct fault fault;
  struct work_job *link;
};

/* NULL and a fault when there is no memory or no thread. */
struct work *work_new (struct fault *f);
/* Hand over a job: behind all others, or before them. */
void work_add (struct work *p, struct work_job *j);
void work_add_first (struct work *p, struct work_job *j);
/* Jobs that are not finished. */
unsigned work_count (struct work *p);
/* Wait until there is none. */
void work_drain (struct work *p);

#endif /* WORK_H */
