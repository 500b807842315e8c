/* SPDX-License-Identifier: Apache-2.0 */
/* One engine: its address, its token, what it is.  Source of all formats of
   this folder: the oVirt REST API version 4, XML.

   struct engine may be used by several threads at once.  Every call of this
   folder that takes one may block for minutes while the engine restarts; all
   of them end with FAULT_CANCELLED soon after a stop was wanted, unless the
   thread is shielded (cancel_shield).

   Codes: net = not reachable or not answering for retry_s; auth = password
   or permission; busy = refused because another operation runs, after busy_s
   of trying; notfound = the object is not there; space = no room on the
   storage domain; remote = refused or failed, with the engine's text; proto =
   an answer that makes no sense; conf = address or CA file. */
#ifndef ENGINE_LOGIN_H
#define ENGINE_LOGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/uuid.h"

struct engine;
struct fault;

struct login_params {
  const char *url;      /* https://HOST[:PORT][/ovirt-engine[/api]] */
  const char *ca_file;  /* PEM; the only trust anchor; never NULL */
  const char *user;     /* user@profile, e.g. backup@internal */
  const char *password; /* copied; the copy is wiped by login_close */
  const char *run_id;   /* [0-9a-z]{1,16}: correlation ids are cl-RUNID-N */
  unsigned poll_ms;     /* first interval of waits, grows tenfold; 0: 1000 */
  unsigned retry_s;     /* how long reads are retried; 0: 300 */
  unsigned busy_s;      /* how long "busy" refusals are retried; 0: 180 */
};

struct login_about {
  unsigned major;
  unsigned minor;
  unsigned build;
  char full_version[64];
  char instance_id[UUID_SIZE]; /* "" before engine 4.4.3.8 */
};

/* Log in and read what the engine is.  PARAMS is copied. */
int login_open (const struct login_params *params, struct engine **engine,
                struct fault *f);
/* Give the token back (best effort, never after a wait) and free. */
void login_close (struct engine *engine);
CLEANUP_DEFINE (login_close, struct engine);

const struct login_about *login_about (const struct engine *engine);
/* True when the engine is MAJOR.MINOR.BUILD or later. */
bool login_at_least (const struct engine *engine, unsigned major,
                     unsigned minor, unsigned build);

/* UNIX seconds by the engine's clock. */
int login_time (struct engine *engine, int64_t *now, struct fault *f);

#endif /* ENGINE_LOGIN_H */
