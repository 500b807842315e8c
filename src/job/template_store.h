/* SPDX-License-Identifier: Apache-2.0 */
/* The base of a template in the repository, for a disk that is thin on it:
   found there, or stored first.  Two machines that need it at once meet at its
   lease: one stores it, the other waits.

     open the template's volume alone -> in the repository? the same volume?
     -> else lease -> map -> stream -> t1 -> publish */
#ifndef TEMPLATE_STORE_H
#define TEMPLATE_STORE_H

#include "job/plan.h"

struct fault;
struct host;
struct layers;
struct msg_opened;
struct observer;
struct observer_result;
struct plan_disk;
struct point;
struct quota;
struct site;
struct site_lane;
struct vm;

/* All borrowed. */
struct template_store {
  struct site *site;
  const struct host **host; /* that of the lanes; another one after a move */
  const struct vm *vm;
  const struct plan_disk *disk;
  const struct layers *layers; /* of the disk; the last is the template's */
  struct quota *quota;
  const struct observer *observer;
  struct observer_result *result; /* what is stored is counted there */
  struct site_lane *lanes;        /* STREAM_LANES_MAX, nothing open */
};

/* *BASE: what a full of the disk may be put over, to be freed with point_free;
   NULL: it has to do without, WHY says why (another volume is stored under that
   id, or what is stored is damaged).  Afterwards nothing is open on the lanes.
   A fault while it is stored is a fault of the disk. */
int template_store_get (const struct template_store *t, struct point **base,
                        char why[static PLAN_REASON_MAX], struct fault *f);
/* Is the last layer of OPENED still the volume of BASE? */
int template_store_check (const struct point *base,
                          const struct msg_opened *opened, struct fault *f);

/* For its tests: what of the helper's identity TEXT proves layer INDEX,
   whichever machine's folder it was opened in; heap.  DIFFERS: the first fact
   of NOW that is another one in STORED, into OUT; "" when all are the same. */
char *template_store_identity (const char *text, unsigned index);
void template_store_differs (const char *stored, const char *now,
                             char out[static PLAN_REASON_MAX]);

#endif /* TEMPLATE_STORE_H */
