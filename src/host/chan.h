/* SPDX-License-Identifier: Apache-2.0 */
/* A program that runs on a hypervisor: its stdin, stdout, stderr and end.
   Every wait ends on a stop of the user (FAULT_CANCELLED), and when no byte
   came for the connection's stall time (FAULT_NET; the connection is then
   given up). */
#ifndef CHAN_H
#define CHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct chan;
struct conn;
struct fault;

#define CHAN_STDERR_MAX 4096 /* the last bytes are kept */

/* Run COMMAND by the user's shell on the host. */
int chan_open (struct conn *c, const char *command, struct chan **chan,
               struct fault *f);
/* Close and free; the program sees the end of its stdin.  NULL: no-op. */
void chan_free (struct chan *ch);
CLEANUP_DEFINE (chan_free, struct chan);
struct conn *chan_conn (const struct chan *ch);

/* At least one and at most SIZE bytes of stdout; 0 at its end. */
ssize_t chan_read (struct chan *ch, void *data, size_t size, struct fault *f);
/* As chan_read, but give up after WAIT_MS: 0 (see chan_ended). */
ssize_t chan_read_for (struct chan *ch, void *data, size_t size,
                       unsigned wait_ms, struct fault *f);
/* The end of stdout was reached. */
bool chan_ended (const struct chan *ch);
/* All SIZE bytes to stdin.  FAULT_REMOTE when the program has ended. */
int chan_write (struct chan *ch, const void *data, size_t size,
                struct fault *f);
/* No more bytes for stdin. */
int chan_send_eof (struct chan *ch, struct fault *f);
/* Read away what is left of stdout and wait for the exit status (128 + N
   after signal N, 255 when the host does not tell). */
int chan_finish (struct chan *ch, int *status, struct fault *f);
/* What came on stderr so far, as one line ("" when nothing).  Owned by CH. */
const char *chan_stderr (struct chan *ch);
/* All bytes of stdout that were read. */
uint64_t chan_received (const struct chan *ch);

/* Run COMMAND, collect at most MAX bytes of its stdout (more: FAULT_PROTO), with
   a NUL behind them, which the caller frees, and its exit status.  SIZE, when
   not NULL, gets their count; ERRORS, when not NULL, stderr as one line, also
   the caller's. */
int chan_run (struct conn *c, const char *command, size_t max, char **out,
              size_t *size, char **errors, int *status, struct fault *f);

#endif /* CHAN_H */
