/* SPDX-License-Identifier: Apache-2.0 */
/* May a thing that an earlier run left be removed, and if not, why?  Pure:
   facts in, a decision out; src/job/inspect gathers the facts. */
#ifndef VERDICT_H
#define VERDICT_H

#include <stdbool.h>
#include <stdint.h>

enum verdict_kind {
  VERDICT_ATTACHMENT, /* to a guard VM: before the snapshot that it holds */
  VERDICT_SNAPSHOT,
  VERDICT_VM,   /* of a restore that did not end */
  VERDICT_DISK, /* the same */
  VERDICT_DRAFT,
  VERDICT_BASE,    /* of a template, over which no point is */
  VERDICT_JOURNAL, /* an intention of which nothing is left */
  VERDICT_HELPER,
  VERDICT_VOLUMES, /* logical volumes that may be active on a host */
};

/* Who may change the object. */
enum verdict_lease {
  VERDICT_LEASE_OURS,    /* we have it, or could */
  VERDICT_LEASE_HELD,    /* a living process does */
  VERDICT_LEASE_AWAY,    /* another machine may */
  VERDICT_LEASE_UNKNOWN, /* no journal says which one it is */
};

/* Helpers of the run on the hosts where it may have had some. */
enum verdict_helper {
  VERDICT_HELPER_GONE,
  VERDICT_HELPER_THERE,
  VERDICT_HELPER_HUNG,   /* in the kernel */
  VERDICT_HELPER_UNSURE, /* a host does not tell */
};

struct verdict_facts {
  enum verdict_kind kind;
  bool foreign; /* it carries the id of another repository */
  bool gone;    /* not there any more, or our mark is not */
  enum verdict_lease lease;
  const char *status; /* the engine's word: ok, locked, down, ...; "": none */
  /* snapshots */
  bool needed;        /* the next increment is built on it */
  bool on_hold;       /* left on purpose: qemu still wrote into its volume */
  bool vm_locked;     /* the VM is image_locked */
  bool after_failure; /* another of this VM could not be removed just now */
  /* disks */
  bool attached;
  bool pinned; /* locked by the transfer that its own restore began */
  enum verdict_helper helper;
  bool mapped; /* a host may have its logical volume active */
  /* VMs */
  bool renamed;      /* it has not the name that a restore gives */
  bool is_protected; /* against removal */
  bool other_disk;   /* a disk that is not of its run is attached */
};

enum verdict {
  VERDICT_REMOVE,
  VERDICT_GONE,    /* nothing to do and nothing to tell */
  VERDICT_KEPT,    /* no leftover */
  VERDICT_FOREIGN, /* of another repository */
  VERDICT_BUSY,    /* a run that lives takes care of it */
  VERDICT_LEAVE,
};

/* The word of KIND in messages and JSON. */
const char *verdict_kind_name (enum verdict_kind kind);

/* *REASON: static text for FOREIGN, BUSY and LEAVE, that says what to do; ""
   else. */
enum verdict verdict_of (const struct verdict_facts *facts,
                         const char **reason);

/* An object of a repository that is lost. */
struct verdict_adopt {
  bool locked; /* also in preview */
  bool used;   /* attached to a VM of somebody; started, protected */
  bool age_known;
  int64_t age_s; /* by the engine's dates and clock */
};
#define VERDICT_ADOPT_AGE_S (24 * 3600)

/* Why it may not be removed, static text; "" when it may. */
const char *verdict_adopt_reason (const struct verdict_adopt *facts);

#endif /* VERDICT_H */
