/* SPDX-License-Identifier: Apache-2.0 */
/* One SSH connection to a hypervisor, and the programs that run over it.  The
   one place that knows libssh.

   The host's key must be one of those that the engine told (pinned, never
   trusted on first use).  No file of the user's ~/.ssh is read and no agent is
   asked.  Every wait ends on a stop of the user (FAULT_CANCELLED), and when no
   byte came for stall_s seconds (FAULT_NET).

   Thread use: a conn and its chans belong to one thread at a time. */
#ifndef CONN_H
#define CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct conn;
struct conn_chan;
struct fault;

#define CONN_CONNECT_S 20
#define CONN_STALL_S 120
#define CONN_STDERR_MAX 4096 /* the last bytes are kept */

struct conn_params {
  const char *name;     /* of the host, for messages */
  const char *address;  /* name or IP address */
  unsigned port;        /* 0 = 22 */
  const char *user;     /* NULL = root */
  const char *key_file; /* private key, OpenSSH or PEM form, no passphrase */
  /* Each "TYPE BASE64 [COMMENT]" (a public key line) or "SHA256:...". */
  const char *const *hostkeys;
  size_t hostkey_count;
  unsigned connect_s;  /* until authenticated; 0 = CONN_CONNECT_S */
  unsigned stall_s;    /* 0 = CONN_STALL_S */
  const char *ciphers; /* NULL = AES-GCM first */
};

/* Connect, compare the host's key, authenticate.  FAULT_NET when the host does
   not answer, FAULT_HOSTKEY, FAULT_AUTH, FAULT_CONF (key file, key lines),
   FAULT_CANCELLED.  The strings of PARAMS are copied. */
int conn_open (const struct conn_params *params, struct conn **conn,
               struct fault *f);
/* Closes its chans' connection too; they may only be freed after it.  NULL is
   a no-op. */
void conn_close (struct conn *c);
CLEANUP_DEFINE (conn_close, struct conn);
const char *conn_name (const struct conn *c);
/* The cipher that was agreed on ("aes128-gcm@openssh.com"). */
const char *conn_cipher (const struct conn *c);
/* False after an error that broke the connection. */
bool conn_alive (const struct conn *c);

/* Run COMMAND by the user's shell on the host. */
int conn_exec (struct conn *c, const char *command, struct conn_chan **chan,
               struct fault *f);
/* Close and free; the program on the host sees the end of its stdin.  NULL is
   a no-op. */
void conn_chan_free (struct conn_chan *ch);
CLEANUP_DEFINE (conn_chan_free, struct conn_chan);

/* Wait up to WAIT_MS for bytes of the program's stdout or its end: 1, or 0
   when there is nothing yet, or -1.  The stall timer runs on between calls. */
int conn_wait (struct conn_chan *ch, unsigned wait_ms, struct fault *f);
/* Restart the stall timer: call it when silence until now was expected. */
void conn_expect (struct conn_chan *ch);
/* At least one and at most SIZE bytes of stdout; 0 at its end. */
ssize_t conn_read (struct conn_chan *ch, void *data, size_t size,
                   struct fault *f);
/* At most SIZE bytes that are there without waiting; 0 when none are (or at
   the end: see conn_eof). */
ssize_t conn_read_now (struct conn_chan *ch, void *data, size_t size,
                       struct fault *f);
bool conn_eof (const struct conn_chan *ch);
/* All SIZE bytes to the program's stdin.  FAULT_REMOTE when the program has
   ended. */
int conn_write (struct conn_chan *ch, const void *data, size_t size,
                struct fault *f);
/* No more bytes for stdin. */
int conn_send_eof (struct conn_chan *ch, struct fault *f);
/* Read away what is left of stdout and wait for the exit status (128 + N
   after signal N). */
int conn_finish (struct conn_chan *ch, int *status, struct fault *f);
/* What the program has written to stderr so far: its last CONN_STDERR_MAX
   bytes as one line ("; " for line ends), "" when nothing.  Owned by CH. */
const char *conn_stderr (struct conn_chan *ch);
/* All bytes that came for this chan, and that its session read. */
uint64_t conn_received (const struct conn_chan *ch);

/* Run COMMAND, collect at most MAX bytes of its stdout as a string that the
   caller frees (more: FAULT_PROTO), and its exit status. */
int conn_run (struct conn *c, const char *command, size_t max, char **out,
              int *status, struct fault *f);

#endif /* CONN_H */
