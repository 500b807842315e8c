/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct engine, only for login.c, call.c, change.c, pace.c and
   task.c.  Everything but the members named at the lock is constant after
   login_open. */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

#include <pthread.h>
#include <stdint.h>

#include "engine/http.h"
#include "engine/login.h"

#define SESSION_TOKEN_MAX 16384
#define SESSION_RUN_ID_MAX 16

struct engine {
  struct http *http;
  char *base; /* https://HOST[:PORT]/ovirt-engine */
  char *user;
  char *password;
  char run_id[SESSION_RUN_ID_MAX + 1];
  unsigned poll_ms;
  unsigned retry_s;
  unsigned busy_s;
  struct login_about about;

  pthread_mutex_t lock; /* guards what follows */
  pthread_cond_t changed;
  char *token;        /* NULL: not logged in */
  uint64_t token_age; /* grows with each token */
  bool logging_in;    /* one thread is at it; the others wait for changed */
  unsigned correlations;
};

/* A copy of the present token (logging in when there is none) and its age;
   wipe and free it with login_token_free. */
int login_token (struct engine *engine, char **token, uint64_t *age,
                 struct fault *f);
void login_token_free (char *token);
/* The token of that age was refused: the next login_token gets a new one,
   whoever asks. */
void login_token_refused (struct engine *engine, uint64_t age);

/* For its test: the access token out of an answer of the token service, an
   object or an array with one; NULL and the service's own error text in ERROR
   when there is none. */
char *login_parse_token (const char *json, char *error, size_t error_size);
/* For its test: engine.url to https://HOST[:PORT]/ovirt-engine. */
int login_parse_url (const char *url, char **base, struct fault *f);

#endif /* ENGINE_SESSION_H */
