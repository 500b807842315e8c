/* SPDX-License-Identifier: Apache-2.0 */
/* What a restore as a VM will do: which point, where to, in which form.
   Repository and engine are read, nothing is changed; what cannot be done is
   told here. */
#ifndef RESTORE_PLAN_H
#define RESTORE_PLAN_H

#include <stddef.h>

#include "job/target.h"

struct cluster;
struct domain;
struct fault;
struct host;
struct manifest;
struct manifest_disk;
struct observer;
struct point;
struct restore_options;
struct site;

struct restore_plan_disk {
  const struct manifest_disk *from;
  const struct domain *domain;
  struct target target;
};

struct restore_plan {
  struct point *point;
  char *point_text;                /* VM@STAMP, whatever the user typed */
  const struct manifest *manifest; /* of the point */
  char *ovf;                       /* cleaned for a new VM */
  const struct cluster *cluster;
  const struct host *host; /* that writes the disks */
  struct restore_plan_disk *disks;
  size_t disk_count;
};

/* Each disk is told to OBSERVER.  PLAN is reset by the caller also after a
   fault; it borrows from SITE. */
int restore_plan_make (const struct site *site,
                       const struct restore_options *options,
                       const struct observer *observer,
                       struct restore_plan *plan, struct fault *f);
void restore_plan_reset (struct restore_plan *plan);

#endif /* RESTORE_PLAN_H */
