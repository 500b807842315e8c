/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTPS request and its answer: no retries, no meaning.  Connections are
   kept and shared by threads, one request on each at a time. */
#ifndef ENGINE_HTTP_H
#define ENGINE_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

#define HTTP_HEADERS_MAX 12
#define HTTP_BODY_MAX (64u << 20) /* of an answer */

struct fault;
struct http;

struct http_request {
  const char *method; /* GET, POST, PUT, DELETE */
  const char *url;
  const char *headers[HTTP_HEADERS_MAX]; /* "Name: value", ends at NULL */
  const char *body;                      /* NULL: none */
  size_t body_size;
  size_t answer_max; /* 0: HTTP_BODY_MAX */
  unsigned timeout_s;
};

struct http_answer {
  int status;    /* 200, 404, ... */
  char type[64]; /* content type in lower case, without parameters */
  char location[256];
  char *body; /* NUL-terminated; http_answer_reset frees it */
  size_t size;
  bool sent; /* also after -1: the request may have reached the engine */
};

/* CA_FILE is the only trust anchor; the host name is checked. */
int http_new (const char *ca_file, struct http **http, struct fault *f);
/* No request may be running. */
void http_free (struct http *http);
CLEANUP_DEFINE (http_free, struct http);

/* 0 when any answer came, whatever its status.  -1: FAULT_NET (try again
   later), FAULT_CONF (address or certificate), FAULT_PROTO (too large),
   FAULT_CANCELLED. */
int http_perform (struct http *http, const struct http_request *request,
                  struct http_answer *answer, struct fault *f);
/* Wipes the body too: it may be a token. */
void http_answer_reset (struct http_answer *answer);

#endif /* ENGINE_HTTP_H */
