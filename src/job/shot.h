/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshot of a backup: made, guarded, and in the end kept or removed,
   each step under the VM's lease and in the journal before it is done. */
#ifndef SHOT_H
#define SHOT_H

#include <stdbool.h>
#include <stddef.h>

#define SHOT_NOTE_MAX 512

struct fault;
struct guard;
struct lease;
struct site;
struct snapshot;
struct vm;

/* Filled by the caller but for what shot_take and shot_guard set. */
struct shot {
  struct site *site;
  struct lease *lease;
  const struct vm *vm;
  bool proven;               /* no writer was seen, whatever disk it is of */
  bool late;                 /* the engine still worked on it in the end */
  bool hold;                 /* the snapshot must stay: a writer was seen */
  struct snapshot *snapshot; /* NULL: not there yet */
  unsigned intention;        /* of the journal; 0: none */
  struct guard *guard;       /* NULL: none */
};

/* Make a snapshot of those disks and wait until it can be believed. */
int shot_take (struct shot *s, const char *const *disk_ids, size_t count,
               struct fault *f);
/* Guard those disks of it, when the settings want that. */
int shot_guard (struct shot *s, const char *const *disk_ids, size_t count,
                struct fault *f);
/* What the run has come to; the guard goes first.  PUBLISHED under snapshot.keep: what base_kept
   says stays, every other snapshot of ours is removed; else this one is
   removed.  -1: something of ours may be left, which the journal knows; NOTE
   is filled when it is left on purpose. */
int shot_release (struct shot *s, bool published,
                  char note[static SHOT_NOTE_MAX], struct fault *f);
void shot_reset (struct shot *s);

#endif /* SHOT_H */
