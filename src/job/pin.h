/* SPDX-License-Identifier: Apache-2.0 */
/* A new disk held against everybody else while it is written: by an upload
   transfer that moves no byte.  The engine prepares the disk on the host, its
   volume is ILLEGAL meanwhile.

   The transfer owns the disk: cancelling it, or a finalize that the engine does
   not like, deletes the disk.  So it is ended by pin_release when all is well,
   and by pin_undo when the disk shall go. */
#ifndef PIN_H
#define PIN_H

#include <stdbool.h>

#include "engine/transfer.h"
#include "job/journal.h"

struct fault;
struct host;
struct site;

/* Kind of a journal entry: the object is the disk. */
#define PIN_KIND "transfer"

struct pin {
  struct transfer transfer;
  unsigned intention; /* 0: nothing was asked for */
};

/* Does RESTORE_LOCK of the settings want it for a disk, on block storage or
   not? */
bool pin_wanted (const struct site *site, bool block);
/* Hold DISK_ID, prepared on HOST; the journal comes first, under LEASE_ID. */
int pin_take (struct site *site, const char *lease_id, const char *disk_id,
              const struct host *host, struct pin *pin, struct fault *f);
/* The engine looks at the image; then the disk is ok and free.  FAULT_CORRUPT:
   it was rejected, and deleted.  A no-op when nothing is held. */
int pin_release (struct site *site, struct pin *pin, struct fault *f);
/* End the transfer of DISK_ID that PIN asked for, if there is one: that removes
   the disk.  A no-op when nothing was asked for. */
int pin_undo (struct site *site, const char *disk_id, struct pin *pin,
              struct fault *f);
/* The same for a disk of an earlier run, without a journal. */
int pin_break (struct site *site, const char *disk_id, struct fault *f);

#endif /* PIN_H */
