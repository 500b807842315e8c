/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of VMs: made, waited for, read, removed. */
#ifndef ENGINE_SNAPSHOT_H
#define ENGINE_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/uuid.h"
#include "engine/disk.h"
#include "engine/task.h"

#define SNAPSHOT_LIST_MAX 65536
#define SNAPSHOT_CREATE_S (45 * 60)
#define SNAPSHOT_DELETE_S (24 * 3600)

struct doc_node;
struct engine;
struct fault;

struct snapshot {
  char id[UUID_SIZE];
  char vm_id[UUID_SIZE];
  char *vm_name; /* only snapshot_list_ours; else "" */
  char *description;
  char status[24]; /* ok, locked, in_preview */
  char type[24];   /* regular, active, stateless, preview */
  int64_t date;    /* UNIX seconds, by the engine's clock */
  bool memory;     /* persist_memorystate */
  bool unfrozen;   /* snapshot_wait: the guest's file systems could not be
                      frozen, the snapshot is like a power cut */
};

struct snapshot_list {
  struct snapshot *items;
  size_t count;
};

void snapshot_free (struct snapshot *snapshot);
CLEANUP_DEFINE (snapshot_free, struct snapshot);
void snapshot_list_free (struct snapshot_list *list);
CLEANUP_DEFINE (snapshot_list_free, struct snapshot_list);

/* All of one VM, the one of type "active" included: that one is not a
   snapshot. */
int snapshot_list (struct engine *engine, const char *vm_id,
                   struct snapshot_list **list, struct fault *f);
int snapshot_get (struct engine *engine, const char *vm_id,
                  const char *snapshot_id, struct snapshot **snapshot,
                  struct fault *f);
/* Regular snapshots of all VMs whose description begins with PREFIX. */
int snapshot_list_ours (struct engine *engine, const char *prefix,
                        struct snapshot_list **list, struct fault *f);

struct snapshot_create {
  const char *vm_id;
  const char *description; /* unique: carries chainlift:REPOSITORY:RUN */
  const char *const *disk_ids;
  size_t disk_count; /* at least 1 */
};

/* Ask for a snapshot of those disks, without memory.  Refusals because the VM
   is busy are repeated for a while.  Never made twice: after an answer that
   got lost the snapshot is looked for by its description; one of that
   description that exists before is FAULT_BUSY.  CORRELATION is the one of
   the attempt that worked.  The snapshot may still be locked.  After
   FAULT_CANCELLED or FAULT_NET it may exist or come into being: look for its
   description. */
int snapshot_create (struct engine *engine,
                     const struct snapshot_create *create,
                     char correlation[static TASK_CORRELATION_SIZE],
                     struct snapshot **snapshot, struct fault *f);
/* Wait until it is ok and its job has ended, and look for the events that
   make an ok a lie (69, 117, 170, 173, 10774).  Those, a failed job and a
   snapshot that vanished are FAULT_REMOTE with the engine's reason; what is
   left of it is for the caller to remove.  Event 10764 only sets unfrozen.
   CORRELATION "" skips job and events. */
int snapshot_wait (struct engine *engine, const char *vm_id,
                   const char *snapshot_id, const char *correlation,
                   unsigned timeout_s, struct snapshot **snapshot,
                   struct fault *f);
/* Is CODE one of those events? */
bool snapshot_is_bad_event (unsigned code);
/* The configuration of that moment as OVF; caller frees.  Absent is asked
   again for a while, then FAULT_BUSY. */
int snapshot_get_ovf (struct engine *engine, const char *vm_id,
                      const char *snapshot_id, char **ovf, struct fault *f);
/* The disks of the snapshot: disk.volume_id is the frozen layer NOW (merges
   move it).  Sizes here are not exact. */
int snapshot_disks (struct engine *engine, const char *vm_id,
                    const char *snapshot_id, struct disk_list **list,
                    struct fault *f);
/* Remove it and wait until it is gone, its job has ended and every disk of
   the VM is ok again.  Absent already is success.  A failed merge is
   FAULT_REMOTE with the engine's reason. */
int snapshot_delete (struct engine *engine, const char *vm_id,
                     const char *snapshot_id, unsigned timeout_s,
                     struct fault *f);

/* One <snapshot> element. */
int snapshot_parse (const struct doc_node *node, struct snapshot *snapshot,
                    struct fault *f);
void snapshot_reset (struct snapshot *snapshot);

#endif /* ENGINE_SNAPSHOT_H */
