/* SPDX-License-Identifier: Apache-2.0 */
/* Getting the helper to run on a host: pushed into a directory of its own, or
   placed there by the administrator; and looking for helpers that still run.
   The shell's side is POSIX sh without quotes that a user's shell may change.

   The helper is called
     chainlift-remote --selftest     it can run here: exit status 0
     chainlift-remote --unlink PATH  serve, after removing PATH, which is its
                                     own file, and the directory it is in
     chainlift-remote                serve
*/
#ifndef PUSH_H
#define PUSH_H

#include <stdbool.h>
#include <stddef.h>

struct chan;
struct conn;
struct fault;

#define PUSH_HELPER_MAX (4u * 1024 * 1024) /* bytes of the binary */
#define PUSH_PROBE_MAX (256u * 1024)       /* bytes of what the probe prints */

/* Push the binary LOCAL and start it; CHAN is then its stdin and stdout.
   FAULT_REMOTE with the next step when the host forbids it. */
int push_start (struct conn *c, const char *local, bool sudo,
                struct chan **chan, struct fault *f);
/* Start the one at PATH on the host, which must be the same, byte for
   byte, as LOCAL. */
int push_start_placed (struct conn *c, const char *path, const char *local,
                       bool sudo, struct chan **chan, struct fault *f);
/* What went wrong when a command begun by push_* ended with STATUS: sudo and
   shell messages are turned into the next step. */
int push_explain (struct conn *c, bool sudo, int status, const char *errors,
                  struct fault *f);
/* Lines "boot ID" and "helper PID STATE RUN-ID" of the host, the caller's. */
int push_probe (struct conn *c, bool sudo, char **lines, struct fault *f);

#endif /* PUSH_H */
