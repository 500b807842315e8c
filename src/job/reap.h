/* SPDX-License-Identifier: Apache-2.0 */
/* Logical volumes that helpers activate on hosts: what they say that became of
   them, and the duty to see that they are put back.

   Before a lane opens the first of them the journal names its host.  The
   intention is settled when the helper has ended in an orderly way and left
   nothing active.  After anything else somebody has to look, once that helper
   is gone: a new helper on that host tells whether it left records, and puts
   back what they name. */
#ifndef REAP_H
#define REAP_H

#include <stdbool.h>

struct fault;
struct host;
struct journal_entry;
struct journal_list;
struct msg_open_read;
struct msg_opened;
struct site;
struct site_lane;

/* Kind of a journal entry: the object is the host, the text its boot id. */
#define REAP_KIND "volumes"

/* What a helper's report says (struct msg_report). */
struct reap_sum {
  unsigned off;  /* deactivated, or inactive already */
  unsigned used; /* vdsm, or another helper, has taken them over */
  unsigned left; /* still active */
};

/* Pure: count the lines of REPORT; one that is none of chainlift-wire(7)
   counts as left. */
void reap_count (const char *report, struct reap_sum *sum);

/* Open the layers on LANE, for a disk of VM_ID; the journal comes first when
   they are logical volumes. */
int reap_open_read (struct site *site, struct site_lane *lane,
                    const char *vm_id, const struct msg_open_read *open,
                    struct msg_opened *opened, struct fault *f);
/* The journal alone, for a lane that is about to open one for writing. */
int reap_intend (struct site *site, struct site_lane *lane, const char *vm_id,
                 struct fault *f);
/* Close what is open on LANE, and tell what became of the volumes. */
int reap_close (struct site_lane *lane, struct fault *f);
/* A lane whose helper has just said hello: let it put back what killed helpers
   left on the host, and tell. */
int reap_hello (struct site_lane *lane, struct fault *f);
/* A lane has ended; ORDERLY: its helper was stopped. */
void reap_lane_end (struct site *site, struct site_lane *lane, bool orderly);

/* After all lanes of this run on HOST (NULL: on all) have ended: look there, when
   one did not end in order, or found what others left.  The number of hosts on
   which something of this run may be left; each on which anything is is told. */
unsigned reap_lost (struct site *site, const struct host *host);
/* As reap_lost for the host of E, an intention of an earlier run under whose lease
   the caller is; its like in JOURNAL are settled with it. */
int reap_entry (struct site *site, const struct journal_list *journal,
                const struct journal_entry *e, struct fault *f);
/* Hosts on which something was left when it was last looked at. */
unsigned reap_count_lost (const struct site *site);
/* The first open intention for HOST_ID of that run and VM; NULL: none. */
const struct journal_entry *reap_find (const struct journal_list *journal,
                                       const char *run_id, const char *vm_id,
                                       const char *host_id);
/* All of VM_ID, whose lease the caller has.  What cannot be done is told. */
int reap_vm (struct site *site, const char *vm_id, struct fault *f);

#endif /* REAP_H */
