/* SPDX-License-Identifier: Apache-2.0 */
/* The token: got with the user's password, used by all threads, got again
   when the engine refuses it (it ends after 30 idle minutes and whenever the
   engine restarts).

   Many threads see a 401 at the same moment.  Each says which token it had;
   only the first invalidates it, one thread logs in without the lock held,
   the others wait for it. */
#include <config.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "engine/call.h"
#include "engine/doc.h"
#include "engine/login.h"
#include "engine/session.h"

#define LOGIN_ANSWER_MAX 65536
#define LOGIN_TIMEOUT_S 60
#define LOGOUT_TIMEOUT_S 5
#define LOGIN_RETRY_S 300
/* Who typed a wrong address wants to know soon. */
#define LOGIN_FIRST_RETRY_S 20

int
login_parse_url (const char *url, char **base, struct fault *f)
{
  static const char scheme[] = "https://";
  const char *host = url + sizeof scheme - 1;
  const char *path;
  size_t len;

  if (strncmp (url, scheme, sizeof scheme - 1) != 0)
    return fault_set (f, FAULT_CONF, 0,
                      "engine.url %s does not begin with https://", url);
  len = strcspn (host, "/");
  path = host + len;
  for (size_t i = 0; i < len; i++) {
    if (!isalnum ((unsigned char)host[i]) && strchr (".-:[]_", host[i]) == NULL)
      return fault_set (f, FAULT_CONF, 0,
                        "engine.url %s: \"%c\" cannot be in a host name", url,
                        host[i]);
  }
  while (path[0] == '/' && path[1] == '/')
    path++;
  if (len == 0
      || (strcmp (path, "") != 0 && strcmp (path, "/") != 0
          && strcmp (path, "/ovirt-engine") != 0
          && strcmp (path, "/ovirt-engine/") != 0
          && strcmp (path, "/ovirt-engine/api") != 0
          && strcmp (path, "/ovirt-engine/api/") != 0))
    return fault_set (f, FAULT_CONF, 0,
                      "engine.url %s is not https://HOST/ovirt-engine/api",
                      url);
  *base = xasprintf ("%s%.*s/ovirt-engine", scheme, (int)len, host);
  return 0;
}

/* The string value of KEY, JSON escapes undone where they are ASCII. */
static char *
json_string (const char *json, const char *key)
{
  CLEANUP_FREE char *quoted = xasprintf ("\"%s\"", key);
  const char *p = strstr (json, quoted);
  struct buf b;

  if (p == NULL)
    return NULL;
  p += strlen (quoted);
  p += strspn (p, " \t\r\n");
  if (*p++ != ':')
    return NULL;
  p += strspn (p, " \t\r\n");
  if (*p++ != '"')
    return NULL;
  buf_init (&b, LOGIN_ANSWER_MAX + 1);
  for (; *p != '"' && *p != '\0'; p++) {
    if (p[0] == '\\' && p[1] == 'u') {
      char hex[5] = "";

      strncpy (hex, p + 2, 4);
      buf_put_u8 (&b, strlen (hex) == 4 && strncmp (hex, "00", 2) == 0
                          ? (uint8_t)strtoul (hex, NULL, 16)
                          : '?');
      p += 1 + strlen (hex);
    }
    else if (p[0] == '\\' && p[1] != '\0')
      buf_put_u8 (&b, (uint8_t) * ++p);
    else
      buf_put_u8 (&b, (uint8_t)*p);
  }
  buf_put_u8 (&b, 0);
  if (*p != '"') {
    buf_reset (&b);
    return NULL;
  }
  return (char *)b.data;
}

/* A token goes into a header line: nothing that could end it may pass. */
static bool
token_valid (const char *token)
{
  size_t len = strlen (token);

  if (len == 0 || len > SESSION_TOKEN_MAX)
    return false;
  for (size_t i = 0; i < len; i++) {
    if (!isalnum ((unsigned char)token[i])
        && strchr ("-._~+/=", token[i]) == NULL)
      return false;
  }
  return true;
}

char *
login_parse_token (const char *json, char *error, size_t error_size)
{
  char *token = json_string (json, "access_token");
  CLEANUP_FREE char *text = NULL;

  if (token != NULL && token_valid (token))
    return token;
  login_token_free (token);
  text = json_string (json, "error_description");
  if (text == NULL)
    text = json_string (json, "error");
  if (text == NULL)
    text = json_string (json, "error_code");
  snprintf (error, error_size, "%s", text != NULL ? text : "");
  return NULL;
}

void
login_token_free (char *token)
{
  if (token != NULL)
    explicit_bzero (token, strlen (token));
  free (token);
}

static void
put_form (struct buf *b, const char *name, const char *value)
{
  buf_printf (b, "%s%s=", b->size > 0 ? "&" : "", name);
  for (const char *p = value; *p != '\0'; p++) {
    if (isalnum ((unsigned char)*p) || strchr ("-._~", *p) != NULL)
      buf_put_u8 (b, (uint8_t)*p);
    else
      buf_printf (b, "%%%02X", (unsigned char)*p);
  }
}

static int
post_form (struct engine *engine, const char *path, struct buf *form,
           unsigned timeout_s, struct http_answer *answer, struct fault *f)
{
  CLEANUP_FREE char *url = xasprintf ("%s%s", engine->base, path);
  struct http_request request = {
    .method = "POST",
    .url = url,
    .headers = { "Content-Type: application/x-www-form-urlencoded",
                 "Accept: application/json" },
    .body = (const char *)form->data,
    .body_size = form->size,
    .answer_max = LOGIN_ANSWER_MAX,
    .timeout_s = timeout_s,
  };
  int r = http_perform (engine->http, &request, answer, f);

  explicit_bzero (form->data, form->size);
  return r;
}

static int
refused (const struct engine *engine, const struct http_answer *answer,
         const char *error, struct fault *f)
{
  if (answer->status >= 500 || answer->status == 408 || answer->status == 429)
    return fault_set (f, FAULT_NET, 0,
                      "log in to %s: the engine answers %d, it may be "
                      "restarting",
                      engine->base, answer->status);
  if (answer->status >= 300 && answer->status < 400)
    return fault_set (f, FAULT_CONF, 0,
                      "log in to %s: redirected to %s; set engine.url to the "
                      "engine's own address",
                      engine->base, answer->location);
  if (answer->status == 404)
    return fault_set (f, FAULT_NET, 0,
                      "log in to %s: there is no engine at this address, or "
                      "it is starting; see engine.url",
                      engine->base);
  if (error[0] == '\0')
    return fault_set (f, FAULT_AUTH, 0,
                      "log in to %s as %s: refused with status %d; see "
                      "engine.user and engine.password_file",
                      engine->base, engine->user, answer->status);
  return fault_set (f, FAULT_AUTH, 0,
                    "log in to %s as %s: %s; see engine.user (with its "
                    "profile, as in backup@internal) and "
                    "engine.password_file",
                    engine->base, engine->user, error);
}

/* One attempt; *TOKEN on success. */
static int
log_in (struct engine *engine, char **token, struct fault *f)
{
  struct http_answer answer;
  char error[256] = "";
  struct buf form;
  int r;

  /* Large from the start, so that growing leaves no copy of the password. */
  buf_init (&form, 8192);
  buf_put (&form, (char[4096]){ 0 }, 4096);
  buf_clear (&form);
  put_form (&form, "grant_type", "password");
  put_form (&form, "scope", "ovirt-app-api");
  put_form (&form, "username", engine->user);
  put_form (&form, "password", engine->password);
  if (buf_bad (&form)) {
    explicit_bzero (form.data, form.size);
    buf_reset (&form);
    return fault_set (f, FAULT_CONF, 0,
                      "engine.user and the password are too long");
  }
  r = post_form (engine, "/sso/oauth/token", &form, LOGIN_TIMEOUT_S, &answer,
                 f);
  buf_reset (&form);
  if (r < 0)
    return -1;
  *token = NULL;
  if (answer.status == 200)
    *token = login_parse_token (answer.body, error, sizeof error);
  else
    login_token_free (login_parse_token (answer.body, error, sizeof error));
  if (*token != NULL)
    r = 0;
  else if (answer.status == 200)
    r = fault_set (f, FAULT_NET, 0,
                   "log in to %s: the answer holds no token%s%s", engine->base,
                   error[0] != '\0' ? ": " : "", error);
  else
    r = refused (engine, &answer, error, f);
  http_answer_reset (&answer);
  return r;
}

int
login_token (struct engine *engine, char **token, uint64_t *age,
             struct fault *f)
{
  char *fresh = NULL;
  int r;

  pthread_mutex_lock (&engine->lock);
  while (engine->token == NULL && engine->logging_in)
    pthread_cond_wait (&engine->changed, &engine->lock);
  if (engine->token != NULL) {
    *token = xstrdup (engine->token);
    *age = engine->token_age;
    pthread_mutex_unlock (&engine->lock);
    return 0;
  }
  engine->logging_in = true;
  pthread_mutex_unlock (&engine->lock);

  r = log_in (engine, &fresh, f);

  pthread_mutex_lock (&engine->lock);
  engine->logging_in = false;
  if (r == 0) {
    engine->token = fresh;
    engine->token_age++;
    *token = xstrdup (fresh);
    *age = engine->token_age;
  }
  pthread_cond_broadcast (&engine->changed);
  pthread_mutex_unlock (&engine->lock);
  return r;
}

void
login_token_refused (struct engine *engine, uint64_t age)
{
  SCOPED_LOCK (&engine->lock);

  if (engine->token == NULL || engine->token_age != age)
    return;
  log_debug ("the engine's token has ended, logging in again");
  login_token_free (engine->token);
  engine->token = NULL;
}

/* What the engine is: <api><product_info>. */
static int
read_about (struct engine *engine, struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  const struct doc_node *product;
  const struct doc_node *version;
  uint64_t major = 0;
  uint64_t minor = 0;
  uint64_t build = 0;

  if (call_get (engine, "", &doc, f) < 0)
    return -1;
  product = doc_child (doc_root (doc), "product_info");
  version = doc_child (product, "version");
  if (doc_u64 (version, "major", &major, f) < 0
      || doc_u64 (version, "minor", &minor, f) < 0
      || doc_u64 (version, "build", &build, f) < 0
      || doc_uuid_text (product, "instance_id", engine->about.instance_id, f)
             < 0)
    return fault_prefix (f, "%s", engine->base);
  if (!doc_is (doc_root (doc), "api") || major != 4)
    return fault_set (f, FAULT_CONF, 0,
                      "%s is not an oVirt engine of version 4 (major is %llu)",
                      engine->base, (unsigned long long)major);
  doc_word (version, "full_version", engine->about.full_version,
            sizeof engine->about.full_version);
  engine->about.major = (unsigned)major;
  engine->about.minor = minor > 999 ? 999 : (unsigned)minor;
  engine->about.build = build > 999 ? 999 : (unsigned)build;
  return 0;
}

static int
check_params (const struct login_params *params, struct fault *f)
{
  size_t len = strlen (params->run_id);

  if (params->user[0] == '\0' || strchr (params->user, '@') == NULL)
    return fault_set (f, FAULT_CONF, 0,
                      "engine.user \"%s\" has no profile; write it as "
                      "backup@internal",
                      params->user);
  if (len == 0 || len > SESSION_RUN_ID_MAX
      || strspn (params->run_id, "0123456789abcdefghijklmnopqrstuvwxyz") != len)
    return fault_set (f, FAULT_INTERNAL, 0, "run id \"%s\" is malformed",
                      params->run_id);
  return 0;
}

int
login_open (const struct login_params *params, struct engine **engine,
            struct fault *f)
{
  CLEANUP (login_close) struct engine *e = NULL;
  unsigned retry_s;

  *engine = NULL;
  if (check_params (params, f) < 0)
    return -1;
  e = xcalloc (1, sizeof *e);
  pthread_mutex_init (&e->lock, NULL);
  pthread_cond_init (&e->changed, NULL);
  e->user = xstrdup (params->user);
  e->password = xstrdup (params->password);
  memcpy (e->run_id, params->run_id, strlen (params->run_id) + 1);
  e->poll_ms = params->poll_ms > 0 ? params->poll_ms : 1000;
  e->retry_s = params->retry_s > 0 ? params->retry_s : LOGIN_RETRY_S;
  retry_s = e->retry_s;
  if (e->retry_s > LOGIN_FIRST_RETRY_S)
    e->retry_s = LOGIN_FIRST_RETRY_S;
  e->busy_s = params->busy_s > 0 ? params->busy_s : 180;
  if (login_parse_url (params->url, &e->base, f) < 0
      || http_new (params->ca_file, &e->http, f) < 0 || read_about (e, f) < 0)
    return -1;
  e->retry_s = retry_s;
  *engine = steal_ptr (&e);
  return 0;
}

/* Best effort: what fails here ends by itself after 30 minutes. */
static void
log_out (struct engine *engine)
{
  struct fault ignored = FAULT_INIT;
  struct http_answer answer;
  struct buf form;

  buf_init (&form, SESSION_TOKEN_MAX * 3 + 128);
  put_form (&form, "scope", "ovirt-app-api");
  put_form (&form, "token", engine->token);
  if (post_form (engine, "/services/sso-logout", &form, LOGOUT_TIMEOUT_S,
                 &answer, &ignored)
      == 0)
    http_answer_reset (&answer);
  buf_reset (&form);
}

void
login_close (struct engine *engine)
{
  if (engine == NULL)
    return;
  if (engine->token != NULL) {
    cancel_shield ();
    log_out (engine);
    cancel_unshield ();
  }
  login_token_free (engine->token);
  login_token_free (engine->password);
  http_free (engine->http);
  pthread_cond_destroy (&engine->changed);
  pthread_mutex_destroy (&engine->lock);
  free (engine->user);
  free (engine->base);
  free (engine);
}

const struct login_about *
login_about (const struct engine *engine)
{
  return &engine->about;
}

bool
login_at_least (const struct engine *engine, unsigned major, unsigned minor,
                unsigned build)
{
  const struct login_about *a = &engine->about;

  if (a->major != major)
    return a->major > major;
  if (a->minor != minor)
    return a->minor > minor;
  return a->build >= build;
}

int
login_time (struct engine *engine, int64_t *now, struct fault *f)
{
  CLEANUP (doc_free) struct doc *doc = NULL;
  CLEANUP_FREE char *time = NULL;

  if (call_get (engine, "", &doc, f) < 0)
    return -1;
  time = doc_string (doc_root (doc), "time");
  if (stamp_parse_iso (time, now, f) < 0)
    return fault_prefix (f, "%s: its time", engine->base);
  return 0;
}
