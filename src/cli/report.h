/* SPDX-License-Identifier: Apache-2.0 */
/* What a user sees of a backup, a restore or a verification: progress on
   stderr, plan and results on stdout, as text or as JSON. */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "job/observer.h"

struct options;
struct report;

/* VERB: "backed up", "restored" (what a good result is called).  RESULTS:
   where text and JSON go (stdout, unless that carries data). */
struct report *report_new (const struct options *options, const char *verb,
                           FILE *results);
/* The observer to be given to the job; owned by R. */
const struct observer *report_observer (struct report *r);
/* The result is one disk in a file, not a VM.  Borrowed; what is NULL is not
   known. */
struct report_file {
  const char *vm_id;
  const char *vm;
  const char *point; /* VM@STAMP */
  const char *disk_id;
  const char *alias;
  const char *file;
};
void report_set_file (struct report *r, const struct report_file *file);
/* Print the collected plan of a dry run, or its counts as JSON. */
void report_plan (struct report *r, const struct observer_tally *tally);
/* End the progress; print the counts when there was more than one result. */
void report_summary (struct report *r, const struct observer_tally *tally);
/* Ends the progress; NULL is a no-op. */
void report_free (struct report *r);
CLEANUP_DEFINE (report_free, struct report);

#endif /* REPORT_H */
