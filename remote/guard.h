/* SPDX-License-Identifier: Apache-2.0 */
/* The helper is two processes.

     guard   the one that was started; keeps root, if it was root, for what
             only root can see or undo: /proc of all processes, LVM
     worker  its child; becomes vdsm (36:36), which an NFS server that squashes
             root lets in, and does all I/O of volumes and all parsing

   The worker asks the guard over a socket pair.  Neither outlives the other:
   the kernel kills the worker when the guard dies, and the guard ends when the
   worker did.  A page that both share holds the time of the last frame from
   the controller; the guard kills a worker that stays over its time. */
#ifndef GUARD_H
#define GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "remote/scan.h"

struct fault;
struct guard;

#define GUARD_VDSM_ID 36
#define GUARD_LIMIT_MS 30000 /* until the controller says another one */

/* Set the process up (name, niceness, limits), fork, and run WORK in the
   worker; its value is the worker's exit status.  Returns in the guard, once
   the worker is gone, the exit status of the helper. */
int guard_run (int (*work) (struct guard *g, void *opaque), void *opaque);

/* What the worker calls. */

/* Was the helper started by root; is this process vdsm? */
bool guard_is_root (const struct guard *g);
bool guard_is_vdsm (const struct guard *g);
/* Milliseconds since boot, also those of a suspended machine. */
uint64_t guard_now_ms (void);
/* How long the controller may be silent. */
void guard_set_limit (struct guard *g, uint32_t ms);
/* A frame has come.  False, and nothing is noted, when it came too late. */
bool guard_beat (struct guard *g);
/* Milliseconds until the controller counts as gone; 0: it does now.  Asked
   before every write. */
uint32_t guard_left_ms (const struct guard *g);
/* scan_writers, done by the guard.  Thread-safe. */
int guard_scan (struct guard *g, const struct scan_file *files, uint32_t count,
                struct scan_result *out, struct fault *f);
/* Send REQUEST of SIZE bytes, which the guard answers by lvserve: at least
   LEAST and at most REPLY_SIZE bytes to REPLY, and the descriptor that came
   with them to *PASSED (may be NULL), or -1.  Takes as long as LVM does.
   Thread-safe. */
int guard_ask (struct guard *g, const void *request, size_t size, void *reply,
               size_t reply_size, size_t least, int *passed, struct fault *f);
/* Had killed helpers left records of logical volumes when this one began? */
bool guard_has_orphans (const struct guard *g);
/* Show RUN_ID in the process list. */
void guard_title (struct guard *g, const char *run_id);
/* SIGKILL for both processes (test hook). */
void guard_die (struct guard *g) __attribute__ ((noreturn));

/* Keep argv's memory, so that the process list shows what runs, and name the
   process; called first. */
void guard_name (int argc, char **argv, char **env);

#endif /* GUARD_H */
