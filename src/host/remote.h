/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's side of one helper that runs on a hypervisor: pushing and
   starting it, its requests and replies, its heartbeat.

   A remote and its conn belong to one thread at a time.  Heartbeats are sent
   from inside all calls; a caller that does other work for longer than a third
   of heartbeat_s calls remote_ping meanwhile.  After FAULT_NET, FAULT_PROTO
   and FAULT_CANCELLED only remote_free is useful; other faults are the answer
   to one request (remote_alive tells). */
#ifndef REMOTE_H
#define REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "wire/msg.h"

struct conn;
struct fault;
struct remote;

#define REMOTE_HEARTBEAT_S 30
#define REMOTE_OUTSTANDING_MAX 64 /* READs that were submitted */

struct remote_options {
  bool sudo;                /* start it by "sudo -n" */
  const char *helper_local; /* the binary that is pushed */
  const char *helper_path;  /* already on the host (absolute): used instead of
                               a push, its version must be ours; NULL = push */
  unsigned heartbeat_s;     /* 0 = REMOTE_HEARTBEAT_S */
  bool lz4;                 /* the helper may compress */
  const char *run_id;
  const char *stop_phase; /* test hook; NULL = none */
};

/* Put the helper on the host (or find it there), start it and say HELLO.
   FAULT_REMOTE with the next step when the host forbids it (noexec, fapolicyd,
   sudo needs a password, no directory). */
int remote_start (struct conn *c, const struct remote_options *options,
                  struct remote **remote, struct fault *f);
/* End the channel; a helper that still runs ends by itself.  NULL: no-op. */
void remote_free (struct remote *r);
CLEANUP_DEFINE (remote_free, struct remote);
const struct msg_welcome *remote_welcome (const struct remote *r);
bool remote_alive (const struct remote *r);

/* Prove and open layers.  OPENED is the caller's: msg_opened_reset. */
int remote_open_read (struct remote *r, const struct msg_open_read *m,
                      struct msg_opened *opened, struct fault *f);

/* What is allocated in the whole disk of the last remote_open_read. */
struct remote_map {
  uint64_t data_bytes;
  uint64_t zero_bytes;
  uint64_t absent_bytes;
  uint64_t extents;
  size_t span_count; /* spans of MSG_SPAN bytes */
  uint32_t *spans;   /* as in struct msg_mapped */
};
int remote_map (struct remote *r, struct remote_map *map, struct fault *f);
void remote_map_reset (struct remote_map *map);

/* The identity text now; the caller frees *TEXT.  No READ may be outstanding.
*/
int remote_identify (struct remote *r, char **text, struct fault *f);

/* Ask for [start, start + length), at most MSG_READ_MAX; does not wait.  ID is
   the caller's name for it (not 0, not one that is outstanding). */
int remote_read_submit (struct remote *r, uint32_t id, uint64_t start,
                        uint64_t length, struct fault *f);
unsigned remote_read_outstanding (const struct remote *r);

enum remote_kind {
  REMOTE_DATA, /* size bytes at offset; every digest was checked */
  REMOTE_ZERO, /* size bytes at offset read as zeros */
  REMOTE_DONE, /* all of READ ID came */
};

struct remote_block {
  enum remote_kind kind;
  uint32_t id;
  uint64_t offset; /* multiple of DIGEST_BLOCK */
  uint64_t size;
  const uint8_t *data;    /* aligned to 4096; may be written to; until the next
                             call */
  const uint8_t *digests; /* DIGEST_BLOCKS (size) of them */
  struct msg_read_done done;
};

/* The next answer to any outstanding READ.  -1 with the helper's fault when a
   READ failed (its id is in out->id and is no longer outstanding). */
int remote_next (struct remote *r, struct remote_block *out, struct fault *f);

/* Bytes that came over the wire, and what they stood for. */
struct remote_totals {
  uint64_t wire_bytes;
  uint64_t raw_bytes;
};
void remote_totals (const struct remote *r, struct remote_totals *t);

/* Prove and open an empty volume for writing.  WOPENED is the caller's:
   msg_wopened_reset. */
int remote_open_write (struct remote *r, const struct msg_open_write *m,
                       struct msg_wopened *wopened, struct fault *f);
/* Write SIZE bytes (any size; OFFSET a multiple of DIGEST_BLOCK) at OFFSET of
   the container.  DIGESTS, when not NULL, are those of its blocks and save
   computing them.  Waits when too much is in flight; a fault may belong to an
   earlier write. */
int remote_write (struct remote *r, uint64_t offset, const void *data,
                  size_t size, const uint8_t *digests, struct fault *f);
/* Make a range of the container read as zeros (only needed where it is not
   fresh). */
int remote_zero (struct remote *r, uint64_t offset, uint64_t length,
                 struct fault *f);
int remote_truncate (struct remote *r, uint64_t size, struct fault *f);
/* Wait until everything is on stable storage. */
int remote_flush (struct remote *r, struct fault *f);
/* Read back [offset, offset + length) past all caches, at most MSG_READ_MAX:
   DIGEST_BLOCKS (length) digests to DIGESTS. */
int remote_check (struct remote *r, uint64_t offset, uint64_t length,
                  uint8_t *digests, struct fault *f);
/* Prove the identity again, then write SIZE bytes (at most MSG_SEAL_MAX) at
   offset 0 and flush.  *IDENTITY (may be NULL) is the caller's. */
int remote_seal (struct remote *r, const void *data, size_t size,
                 char **identity, struct fault *f);

/* Close what is open, if anything is; another volume may be opened after it. */
int remote_close_volume (struct remote *r, struct fault *f);
/* What the last remote_close_volume told of logical volumes, as in struct
   msg_report; "" when there was nothing.  Borrowed until the next one. */
const char *remote_report (const struct remote *r);
/* Let the helper put back what killed helpers left on this host; nothing is
   open.  *REPORT, as in struct msg_report, is the caller's. */
int remote_reap (struct remote *r, char **report, struct fault *f);
/* Is the block domain of M one whose volumes could be opened on this host?
   Its LUNs are there, LVM finds the group on them, and vdsm is connected. */
int remote_look (struct remote *r, const struct msg_look *m, struct fault *f);
/* Send a heartbeat when one is due, and take in what has come. */
int remote_ping (struct remote *r, struct fault *f);
/* BYE, then wait until the helper has ended with status 0. */
int remote_stop (struct remote *r, struct fault *f);

/* A helper that still runs on a host. */
struct remote_leftover {
  uint32_t pid;
  char state; /* as in /proc/PID/stat: 'D' = hung in the kernel */
  char run_id[MSG_NAME_MAX]; /* "" = none yet */
};
/* Look on the host for running helpers (of any run) by a shell of its own;
   *LIST is the caller's to free.  Also the boot id of the host. */
int remote_probe (struct conn *c, bool sudo, struct remote_leftover **list,
                  size_t *count, char boot_id[static MSG_NAME_MAX],
                  struct fault *f);

#endif /* REMOTE_H */
