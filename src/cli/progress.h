/* SPDX-License-Identifier: Apache-2.0 */
/* What is going on, on stderr: on a terminal one line a running disk that is
   redrawn (rate, read, skipped, ETA), else a plain line at each change of
   phase and every 30 s.  Thread-safe; log lines clear the bar first. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct progress;
struct options;

/* Where one disk stands.  "done" and "total" are guest bytes of the work
   (data to be moved); total 0 means not known yet. */
struct progress_disk {
  uint64_t done;
  uint64_t total;
  uint64_t read;    /* bytes read at the source */
  uint64_t sent;    /* bytes on the wire */
  uint64_t skipped; /* bytes that were holes or zeros */
};

/* Starts drawing; silent with --quiet.  One at a time in a process. */
struct progress *progress_new (const struct options *options);
/* VM entered PHASE; TEXT (may be NULL) says more. */
void progress_phase (struct progress *p, const char *vm, const char *phase,
                     const char *text);
/* The latest figures of a disk of VM; the first call makes its line. */
void progress_update (struct progress *p, const char *vm, const char *disk,
                      const struct progress_disk *now);
/* The disk needs no line any more. */
void progress_done (struct progress *p, const char *vm, const char *disk);
/* Run FN (OPAQUE) with the bar cleared, so that it may print on stdout. */
void progress_around (struct progress *p, void (*fn) (void *opaque),
                      void *opaque);
/* Clears the bar and ends; NULL is a no-op. */
void progress_free (struct progress *p);
CLEANUP_DEFINE (progress_free, struct progress);

#endif /* PROGRESS_H */
