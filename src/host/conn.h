/* SPDX-License-Identifier: Apache-2.0 */
/* One SSH connection to a hypervisor.  The one place that knows libssh.

   The host's key must be one of those that the engine told (pinned, never
   trusted on first use).  No file of the user's ~/.ssh is read and no agent is
   asked.

   Thread use: a conn and the chans on it belong to one thread at a time. */
#ifndef CONN_H
#define CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct conn;
struct conn_raw;
struct fault;

#define CONN_CONNECT_S 20
#define CONN_STALL_S 120
#define CONN_ANSWER_S 600

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
  unsigned stall_s;    /* no byte for so long = FAULT_NET; 0 = CONN_STALL_S */
  unsigned answer_s;   /* no answer of a living helper for so long = FAULT_NET;
                          0 = CONN_ANSWER_S */
  const char *ciphers; /* NULL = AES-GCM first */
};

/* Connect, compare the host's key, authenticate.  FAULT_NET when the host does
   not answer, FAULT_HOSTKEY, FAULT_AUTH, FAULT_CONF (key file),
   FAULT_CANCELLED.  The strings of PARAMS are copied. */
int conn_open (const struct conn_params *params, struct conn **conn,
               struct fault *f);
/* All chans on it must have been freed.  NULL is a no-op. */
void conn_close (struct conn *c);
CLEANUP_DEFINE (conn_close, struct conn);
const char *conn_name (const struct conn *c);
const char *conn_user (const struct conn *c);
uint64_t conn_stall_ms (const struct conn *c);
uint64_t conn_answer_ms (const struct conn *c);
/* The cipher that was agreed on ("aes128-gcm@openssh.com"). */
const char *conn_cipher (const struct conn *c);
/* False after an error that broke the connection. */
bool conn_alive (const struct conn *c);
/* Also false when the host has closed a connection that nobody used. */
bool conn_idle_alive (struct conn *c);
/* Least time to the host and back that was seen, in microseconds; 0 = not
   known. */
unsigned conn_rtt_us (const struct conn *c);
/* Give it up: nothing more is tried on it. */
void conn_kill (struct conn *c);

/* A running command, in single steps for chan.c, which adds the stall timer.
   -1 of these is FAULT_NET, the connection is then broken, or
   FAULT_CANCELLED. */

/* Gets what the program writes to stderr. */
typedef void (*conn_stderr_fn) (void *opaque, const char *data, size_t size);

int conn_raw_open (struct conn *c, const char *command, conn_stderr_fn fn,
                   void *opaque, struct conn_raw **raw, struct fault *f);
void conn_raw_free (struct conn_raw *r);
/* Bytes of stdout, waiting at most WAIT_MS for the first; 0 when none came
   (see conn_raw_ended).  A SIZE over CONN_READ_MAX grows the
   window to SIZE (libssh 0.10). */
ssize_t conn_raw_read (struct conn_raw *r, void *data, size_t size,
                       unsigned wait_ms, struct fault *f);
#define CONN_READ_MAX (512u * 1024) /* a larger size grows the window */
/* The program has closed its stdout and all of it was read. */
bool conn_raw_ended (const struct conn_raw *r);
/* As many bytes to stdin as the window allows now, maybe 0. */
ssize_t conn_raw_write (struct conn_raw *r, const void *data, size_t size,
                        struct fault *f);
int conn_raw_send_eof (struct conn_raw *r, struct fault *f);
/* Bytes wait to be handed to the kernel. */
bool conn_raw_unsent (const struct conn_raw *r);
/* Let the library send and receive for at most WAIT_MS. */
int conn_raw_pump (struct conn_raw *r, unsigned wait_ms, struct fault *f);
/* Exit status of the program (128 + N after signal N), -1 = not yet known;
   GONE: nor will it ever be. */
int conn_raw_status (const struct conn_raw *r, bool *gone);
struct conn *conn_raw_conn (const struct conn_raw *r);

#endif /* CONN_H */
