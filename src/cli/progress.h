/* SPDX-License-Identifier: Apache-2.0 */
/* What is going on, on stderr: on a terminal one line a running disk that is
   redrawn (rate, read, skipped, ETA), else a plain line at each change of
   phase and every 30 s, or with --json nothing.  The wish to stop is told as
   soon as it is seen.  Thread-safe; log lines clear the bar first. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct progress;
struct options;

/* Where one disk stands: bytes of its work. */
struct progress_disk {
  const char *phase; /* "stream", "verify"; copied */
  uint64_t done;     /* of total */
  uint64_t total;    /* 0: not known yet */
  uint64_t wire;     /* that crossed the network; 0: nothing to tell */
  uint64_t skipped;  /* holes and zeros, which nobody sent */
};

/* Starts drawing; silent with --quiet.  One at a time in a process. */
struct progress *progress_new (const struct options *options);
/* VM entered PHASE; TEXT (may be NULL) says more. */
void progress_phase (struct progress *p, const char *vm, const char *phase,
                     const char *text);
/* The latest figures of a disk of VM; the first call makes its line. */
void progress_update (struct progress *p, const char *vm, const char *disk,
                      const struct progress_disk *now);
/* The disk, or with DISK NULL the whole VM, needs no line any more. */
void progress_done (struct progress *p, const char *vm, const char *disk);
/* Run FN (OPAQUE) with the bar cleared, so that it may print on stdout;
   it must not log. */
void progress_around (struct progress *p, void (*fn) (void *opaque),
                      void *opaque);
/* Clears the bar and ends; NULL is a no-op. */
void progress_free (struct progress *p);
CLEANUP_DEFINE (progress_free, struct progress);

/* Pure, for tests: the line of a disk within COLUMNS columns.  Where that is
   little, the bar goes first, then amounts, what was skipped, the ETA.  RATE
   is bytes a second, 0 while unknown.  The caller frees it. */
char *progress_line (const char *vm, const char *disk,
                     const struct progress_disk *now, uint64_t rate,
                     unsigned columns);

#endif /* PROGRESS_H */
