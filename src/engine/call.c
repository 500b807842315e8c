/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer means.

   A read may be repeated as often as we like, so everything that is not a
   clear answer is "later": the engine restarts for minutes, with 503, HTML
   pages, 404 from the servlet container, or no listener at all.

   A change is tried once, apart from two cases in which it cannot have had an
   effect: the token was refused (401), and the connection was never made.
   What happens after a lost answer is decided in change.c. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/pace.h"
#include "engine/session.h"

#define CALL_GET_TIMEOUT_S 60
#define CALL_SEND_TIMEOUT_S 300
#define CALL_PAGES_MAX 1000
#define CALL_LOGINS_MAX 4 /* fresh tokens refused one after the other */

char *
call_path (const char *pattern, const char *a, const char *b, struct fault *f)
{
  const char *ids[] = { a, b };
  unsigned n = 0;
  struct buf out;

  buf_init (&out, 4096);
  for (const char *p = pattern; *p != '\0'; p++) {
    if (*p != '%') {
      buf_put_u8 (&out, (uint8_t)*p);
      continue;
    }
    if (n >= 2 || ids[n] == NULL || !uuid_valid (ids[n])) {
      fault_set (f, FAULT_PROTO, 0, "\"%s\" is not an id of the engine",
                 n < 2 && ids[n] != NULL ? ids[n] : "");
      buf_reset (&out);
      return NULL;
    }
    buf_put (&out, ids[n++], UUID_SIZE - 1);
  }
  buf_put_u8 (&out, 0);
  return (char *)out.data;
}

void
call_fault_text (const char *body, size_t size, char *out, size_t out_size)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  struct fault ignored = FAULT_INIT;
  const struct doc_node *fault;
  CLEANUP_FREE char *text = NULL;
  char *p;
  size_t len;

  out[0] = '\0';
  if (size == 0 || doc_parse (body, size, "fault", &doc, &ignored) < 0)
    return;
  fault = doc_root (doc);
  if (!doc_is (fault, "fault"))
    fault = doc_first (fault, "fault");
  text = doc_string (fault, "detail");
  if (text[0] == '\0') {
    free (text);
    text = doc_string (fault, "reason");
  }
  p = text + strspn (text, "[ \t\r\n");
  len = strlen (p);
  while (len > 0 && strchr ("] \t\r\n.", p[len - 1]) != NULL)
    len--;
  if (len >= out_size)
    len = out_size - 1;
  memcpy (out, p, len);
  out[len] = '\0';
}

static bool
text_has (const char *text, const char *const *words)
{
  for (; *words != NULL; words++) {
    if (strcasestr (text, *words) != NULL)
      return true;
  }
  return false;
}

int
call_refusal (int status, const char *text)
{
  static const char *const space[]
      = { "low disk space", "not enough space", "disk space is low",
          "no space left", NULL };
  /* "... is already in use, please choose a unique name and try again" */
  static const char *const taken[]
      = { "already in use", "already exist", NULL };
  static const char *const busy[]
      = { "in progress", "try again", "locked",        "being ",
          "during",      "migrating", "hot-plug disk", NULL };

  if (status == 401 || status == 403)
    return FAULT_AUTH;
  if (status == 404)
    return FAULT_NOTFOUND;
  if (text_has (text, space))
    return FAULT_SPACE;
  if (status == 409 && text_has (text, busy) && !text_has (text, taken))
    return FAULT_BUSY;
  return FAULT_REMOTE;
}

/* One request with a token.  A refused token is replaced and the request
   repeated once: 401 means that nothing was done.  -1 with *LEFT when it may
   have reached the engine. */
static int
perform (struct engine *engine, struct http_request *request,
         const char *correlation, bool all_content, struct http_answer *answer,
         bool *left, struct fault *f)
{
  CLEANUP_FREE char *correlation_line = NULL;

  *answer = (struct http_answer){ .sent = false };
  *left = false;
  if (correlation != NULL)
    correlation_line = xasprintf ("Correlation-Id: %s", correlation);
  for (int attempt = 0;; attempt++) {
    char *token;
    char *line;
    uint64_t age;
    int n = 0;
    int r;

    if (login_token (engine, &token, &age, f) < 0)
      return -1;
    line = xasprintf ("Authorization: Bearer %s", token);
    login_token_free (token);
    request->headers[n++] = line;
    request->headers[n++] = "Version: 4";
    request->headers[n++] = "Accept: application/xml";
    if (request->body != NULL)
      request->headers[n++] = "Content-Type: application/xml";
    if (all_content)
      request->headers[n++] = "All-Content: true";
    if (correlation_line != NULL)
      request->headers[n++] = correlation_line;
    request->headers[n] = NULL;
    r = http_perform (engine->http, request, answer, f);
    login_token_free (line);
    *left = answer->sent;
    if (r < 0)
      return -1;
    if (answer->status != 401)
      return 0;
    login_token_refused (engine, age);
    if (attempt > 0)
      return 0;
    http_answer_reset (answer);
  }
}

static bool
answer_is_xml (const struct http_answer *answer)
{
  const char *p = answer->body + strspn (answer->body, " \t\r\n");

  if (answer->type[0] != '\0' && strstr (answer->type, "xml") == NULL)
    return false;
  return strstr (answer->type, "html") == NULL
         && strncasecmp (p, "<html", 5) != 0
         && strncasecmp (p, "<!doctype", 9) != 0;
}

/* A refusal as a fault that carries the engine's text. */
static int
refuse (const struct engine *engine, const char *method, const char *path,
        const struct http_answer *answer, struct fault *f)
{
  char text[CALL_TEXT_MAX] = "";

  if (answer_is_xml (answer))
    call_fault_text (answer->body, answer->size, text, sizeof text);
  if (answer->status >= 300 && answer->status < 400)
    return fault_set (f, FAULT_CONF, 0,
                      "%s is redirected to %s; set engine.url to the engine's "
                      "own address",
                      engine->base, answer->location);
  if (answer->status == 401)
    return fault_set (f, FAULT_AUTH, 0,
                      "the engine refuses a token that it has just given to "
                      "%s",
                      engine->user);
  if (answer->status == 403)
    return fault_set (f, FAULT_AUTH, 0,
                      "user %s lacks a permission: %s; see the roles of this "
                      "user in the engine",
                      engine->user, text[0] != '\0' ? text : path);
  if (text[0] == '\0')
    return fault_set (f, (enum fault_code)call_refusal (answer->status, text),
                      0, "the engine answers %d to %s %s", answer->status,
                      method, path);
  return fault_set (f, (enum fault_code)call_refusal (answer->status, text), 0,
                    "the engine says: %s", text);
}

enum reading {
  READING_DONE,   /* *doc is there */
  READING_LATER,  /* with a fault that says why; try again */
  READING_ABSENT, /* 404 */
  READING_FAILED, /* with a fault; final */
};

static enum reading
read_once (struct engine *engine, const char *path, bool all_content,
           struct doc **doc, struct fault *f)
{
  CLEANUP_FREE char *url = xasprintf ("%s/api%s%s", engine->base,
                                      path[0] != '\0' ? "/" : "", path);
  struct http_request request
      = { .method = "GET", .url = url, .timeout_s = CALL_GET_TIMEOUT_S };
  struct http_answer answer;
  enum reading result = READING_FAILED;
  bool left;

  if (perform (engine, &request, NULL, all_content, &answer, &left, f) < 0)
    return f->code == FAULT_NET ? READING_LATER : READING_FAILED;
  if (answer.status == 404)
    result = READING_ABSENT;
  else if (answer.status == 401) {
    refuse (engine, "GET", path, &answer, f);
    result = READING_LATER;
  }
  else if (answer.status >= 500 || answer.status == 408
           || answer.status == 429) {
    fault_set (f, FAULT_NET, 0, "the engine answers %d to GET %s",
               answer.status, path);
    result = READING_LATER;
  }
  else if (answer.status != 200)
    refuse (engine, "GET", path, &answer, f);
  else if (!answer_is_xml (&answer)) {
    fault_set (f, FAULT_NET, 0,
               "the engine answers with a page (%s) to "
               "GET %s",
               answer.type, path);
    result = READING_LATER;
  }
  else if (doc_parse (answer.body, answer.size, path, doc, f) == 0)
    result = READING_DONE;
  http_answer_reset (&answer);
  return result;
}

/* Is the engine itself there?  Only then does a 404 speak of the object. */
static enum reading
read_root (struct engine *engine, struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  enum reading r = read_once (engine, "", false, &doc, f);

  if (r == READING_ABSENT) {
    fault_set (f, FAULT_NET, 0, "there is no API at %s/api now", engine->base);
    return READING_LATER;
  }
  return r;
}

static enum reading
read_sure (struct engine *engine, const char *path, bool all_content,
           struct doc **doc, struct fault *f)
{
  enum reading r = read_once (engine, path, all_content, doc, f);

  if (r != READING_ABSENT)
    return r;
  if (cancel_sleep_ms (engine->poll_ms, f) < 0)
    return READING_FAILED;
  r = read_root (engine, f);
  if (r != READING_DONE)
    return r;
  return read_once (engine, path, all_content, doc, f);
}

static int
get (struct engine *engine, const char *path, bool all_content,
     struct doc **doc, struct fault *f)
{
  struct pace pace;
  unsigned refused = 0;
  bool told = false;

  *doc = NULL;
  pace_start (&pace, engine, engine->retry_s);
  for (;;) {
    struct fault now = FAULT_INIT;

    switch (read_sure (engine, path, all_content, doc, &now)) {
    case READING_DONE:
      return 0;
    case READING_FAILED:
      return fault_copy (f, &now);
    case READING_ABSENT:
      return fault_set (f, FAULT_NOTFOUND, 0, "the engine has no %s", path);
    case READING_LATER:
      break;
    }
    if (now.code == FAULT_AUTH && ++refused >= CALL_LOGINS_MAX)
      return fault_copy (f, &now);
    if (pace_over (&pace)) {
      fault_append (&now, " (tried for %u s)", engine->retry_s);
      return fault_copy (f, &now);
    }
    if (!told)
      log_warn ("%s; trying again for up to %u s", now.text, engine->retry_s);
    told = true;
    if (pace_sleep (&pace, f) < 0)
      return -1;
  }
}

int
call_get (struct engine *engine, const char *path, struct doc **doc,
          struct fault *f)
{
  return get (engine, path, false, doc, f);
}

int
call_get_at (struct engine *engine, const char *pattern, const char *a,
             const char *b, struct doc **doc, struct fault *f)
{
  CLEANUP_FREE char *path = call_path (pattern, a, b, f);

  if (path == NULL)
    return -1;
  return get (engine, path, false, doc, f);
}

int
call_get_all_content (struct engine *engine, const char *path, struct doc **doc,
                      struct fault *f)
{
  return get (engine, path, true, doc, f);
}

int
call_send (struct engine *engine, const char *method, const char *path,
           const char *body, const char *correlation, enum call_effect *effect,
           struct doc **reply, struct fault *f)
{
  CLEANUP_FREE char *url = xasprintf ("%s/api/%s", engine->base, path);
  struct http_request request = {
    .method = method,
    .url = url,
    .body = body,
    .body_size = body != NULL ? strlen (body) : 0,
    .timeout_s = CALL_SEND_TIMEOUT_S,
  };
  struct http_answer answer;
  bool left;
  int r = -1;

  *reply = NULL;
  *effect = CALL_NONE;
  if (perform (engine, &request, correlation, false, &answer, &left, f) < 0) {
    if (left)
      *effect = CALL_UNKNOWN;
    return -1;
  }
  if (answer.status >= 200 && answer.status < 300
      && (answer.size == 0 || answer_is_xml (&answer))) {
    *effect = CALL_DONE;
    r = 0;
    /* A body that cannot be read is looked at as if it had got lost. */
    if (answer.size > 0
        && doc_parse (answer.body, answer.size, path, reply, f) < 0) {
      *effect = CALL_UNKNOWN;
      r = -1;
    }
  }
  else if (answer.status < 300 || answer.status >= 500
           || answer.status == 408) {
    *effect = CALL_UNKNOWN;
    r = fault_set (f, FAULT_NET, 0, "the engine answers %d (%s) to %s %s",
                   answer.status, answer.type, method, path);
  }
  else
    r = refuse (engine, method, path, &answer, f);
  http_answer_reset (&answer);
  return r;
}

static int
walk (const struct doc *doc, const char *item_name, size_t *count, call_item fn,
      void *opaque, struct fault *f)
{
  const struct doc_node *item = doc_first (doc_root (doc), item_name);

  for (*count = 0; item != NULL; item = doc_next (item, item_name)) {
    (*count)++;
    if (fn (item, opaque, f) < 0)
      return -1;
  }
  return 0;
}

int
call_each (struct engine *engine, const char *path, const char *item_name,
           call_item fn, void *opaque, struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  size_t count;

  if (call_get (engine, path, &doc, f) < 0)
    return -1;
  return walk (doc, item_name, &count, fn, opaque, f);
}

int
call_each_vm (struct engine *engine, const char *follow, size_t page,
              call_item fn, void *opaque, struct fault *f)
{
  size_t count = page;

  for (unsigned n = 1; count >= page; n++) {
    CLEANUP (doc_free) struct doc *doc = NULL;
    CLEANUP_FREE char *path
        = xasprintf ("vms?search=sortby%%20name%%20asc%%20page%%20%u&max=%zu%s"
                     "%s",
                     n, page, follow[0] != '\0' ? "&follow=" : "", follow);

    if (n > CALL_PAGES_MAX)
      return fault_set (f, FAULT_PROTO, 0,
                        "the engine's list of VMs does not end after %u pages",
                        CALL_PAGES_MAX);
    if (call_get (engine, path, &doc, f) < 0
        || walk (doc, "vm", &count, fn, opaque, f) < 0)
      return -1;
  }
  return 0;
}
