/* SPDX-License-Identifier: Apache-2.0 */
/* What a run is about to change in the cluster, written and fsynced before
   the call: REPO/journal/RUN-ID, one line an intention, one line a result.

     chainlift-journal 1 RUN-ID STAMP HOSTNAME PID
     + N KIND VM-ID OBJECT-ID TEXT      the intention N
     = N OBJECT-ID                      done: the object exists
     - N                                settled: it is gone, or not ours to
                                        remove any more

   Fields are separated by one blank; an unknown id is "-"; TEXT runs to the
   end of the line and holds no control characters.  A torn last line is
   ignored, and cut off before the next one is appended.

   Two bytes behind the largest file are OFD write locks: JOURNAL_LIFE is held
   by the run from before its first line to its end, JOURNAL_APPEND by whoever
   appends, for that time (O_APPEND alone is not atomic over NFS).  The file is
   removed with both held, by the run or, once that is gone, by who settles the
   last intention: else what a living run intends later would be lost. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#define JOURNAL_ID_MAX 64
#define JOURNAL_TEXT_MAX 512
#define JOURNAL_FILE_MAX (16 << 20)
#define JOURNAL_LIFE JOURNAL_FILE_MAX
#define JOURNAL_APPEND (JOURNAL_FILE_MAX + 1)

struct fault;
struct journal;

/* Open a new journal for RUN_ID in the directory DIRFD (borrowed, it must
   stay open).  The file is made with the first intention. */
struct journal *journal_new (int dirfd, const char *run_id);
/* Close; the file is removed when nothing in it is open. */
void journal_free (struct journal *j);

/* Write an intention; *NUMBER identifies it.  KIND: snapshot, attachment, hold,
   disk, vm, host.  OBJECT_ID may be NULL when the engine will choose it.
   Thread-safe. */
int journal_intend (struct journal *j, const char *kind, const char *vm_id,
                    const char *object_id, const char *text, unsigned *number,
                    struct fault *f);
/* The object of intention NUMBER exists and has this id. */
int journal_exists (struct journal *j, unsigned number, const char *object_id,
                    struct fault *f);
/* Nothing of intention NUMBER is left to undo. */
int journal_settle (struct journal *j, unsigned number, struct fault *f);

/* One open intention of a journal file. */
struct journal_entry {
  char run_id[JOURNAL_ID_MAX];
  char kind[JOURNAL_ID_MAX];
  char vm_id[JOURNAL_ID_MAX];
  char object_id[JOURNAL_ID_MAX]; /* "-" when unknown */
  char text[JOURNAL_TEXT_MAX];
  unsigned number;
  bool exists;
  bool settled;
};

struct journal_list {
  struct journal_entry *entries;
  size_t count;
};

/* Parse the text of one journal; malformed lines are FAULT_CORRUPT except a
   torn last one.  Entries are appended to LIST. */
int journal_parse (const char *text, struct journal_list *list,
                   struct fault *f);
/* All open intentions of all journals in DIRFD but that of run EXCEPT (may be
   NULL). */
int journal_read_all (int dirfd, const char *except, struct journal_list *list,
                      struct fault *f);
/* Append "- N" to the journal of another run; the file is removed when it was
   the last open one and that run lives no more.  No such file: 0, nothing was
   open in it. */
int journal_settle_other (int dirfd, const char *run_id, unsigned number,
                          struct fault *f);
/* Remove the journals of dead runs but EXCEPT in which all is settled: a run
   that was killed between two VMs leaves one. */
int journal_sweep (int dirfd, const char *except, struct fault *f);
void journal_list_reset (struct journal_list *list);

#endif /* JOURNAL_H */
