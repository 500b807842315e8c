/* SPDX-License-Identifier: Apache-2.0 */
/* The only file that knows libcurl.

   Easy handles are kept in a stack of idle ones.  A thread takes one (or
   makes one) and owns it for one request, so no lock is held over the
   network, and each handle keeps its connection alive for the next.  The
   handle is reset before it goes back: a token must not stay in its
   options. */
#include <config.h>

#include <ctype.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "engine/http.h"

#define HTTP_IDLE_MAX 16
#define HTTP_CONNECT_S 20

struct http {
  pthread_mutex_t lock; /* guards idle and idle_count */
  CURL *idle[HTTP_IDLE_MAX];
  size_t idle_count;
  char *ca_file;
};

/* What the callbacks of one request write to. */
struct exchange {
  struct buf body;
  bool too_large;
};

int
http_new (const char *ca_file, struct http **http, struct fault *f)
{
  struct http *h;

  if (access (ca_file, R_OK) < 0)
    return fault_set (f, FAULT_CONF, 0,
                      "engine.ca_file %s cannot be read; fetch it from "
                      "https://ENGINE/ovirt-engine/services/pki-resource?"
                      "resource=ca-certificate&format=X509-PEM-CA and compare "
                      "its fingerprint with the engine's own",
                      ca_file);
  if (curl_global_init (CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return fault_set (f, FAULT_INTERNAL, 0, "libcurl cannot start");
  h = xcalloc (1, sizeof *h);
  pthread_mutex_init (&h->lock, NULL);
  h->ca_file = xstrdup (ca_file);
  *http = h;
  return 0;
}

void
http_free (struct http *http)
{
  if (http == NULL)
    return;
  for (size_t i = 0; i < http->idle_count; i++)
    curl_easy_cleanup (http->idle[i]);
  pthread_mutex_destroy (&http->lock);
  free (http->ca_file);
  free (http);
  curl_global_cleanup ();
}

static CURL *
take_handle (struct http *http)
{
  SCOPED_LOCK (&http->lock);
  if (http->idle_count > 0)
    return http->idle[--http->idle_count];
  return curl_easy_init ();
}

static void
give_handle (struct http *http, CURL *curl)
{
  curl_easy_reset (curl);
  {
    SCOPED_LOCK (&http->lock);
    if (http->idle_count < HTTP_IDLE_MAX) {
      http->idle[http->idle_count++] = curl;
      return;
    }
  }
  curl_easy_cleanup (curl);
}

static size_t
on_body (char *data, size_t size, size_t count, void *opaque)
{
  struct exchange *x = opaque;

  buf_put (&x->body, data, size * count);
  if (buf_bad (&x->body)) {
    x->too_large = true;
    return 0;
  }
  return size * count;
}

/* Called at least once a second; not 0 ends the request. */
static int
on_progress (void *opaque, curl_off_t a, curl_off_t b, curl_off_t c,
             curl_off_t d)
{
  (void)opaque;
  (void)a;
  (void)b;
  (void)c;
  (void)d;
  return cancel_wanted ();
}

/* One of them carries the token. */
static void
free_headers (struct curl_slist *list)
{
  for (struct curl_slist *i = list; i != NULL; i = i->next)
    explicit_bzero (i->data, strlen (i->data));
  curl_slist_free_all (list);
}

static struct curl_slist *
make_headers (const struct http_request *request)
{
  struct curl_slist *list = NULL;
  struct curl_slist *more;

  /* An Expect: 100-continue of libcurl's own is refused by some proxies. */
  list = curl_slist_append (NULL, "Expect:");
  for (int i = 0; list != NULL && i < HTTP_HEADERS_MAX; i++) {
    if (request->headers[i] == NULL)
      break;
    more = curl_slist_append (list, request->headers[i]);
    if (more == NULL) {
      free_headers (list);
      return NULL;
    }
    list = more;
  }
  return list;
}

static void
set_options (struct http *http, CURL *curl, const struct http_request *request,
             struct exchange *x)
{
  curl_easy_setopt (curl, CURLOPT_URL, request->url);
  curl_easy_setopt (curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt (curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt (curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt (curl, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt (curl, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt (curl, CURLOPT_CAINFO, http->ca_file);
  curl_easy_setopt (curl, CURLOPT_CAPATH, NULL);
  curl_easy_setopt (curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt (curl, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt (curl, CURLOPT_CONNECTTIMEOUT, (long)HTTP_CONNECT_S);
  curl_easy_setopt (curl, CURLOPT_TIMEOUT, (long)request->timeout_s);
  curl_easy_setopt (curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt (curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt (curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt (curl, CURLOPT_WRITEDATA, x);
  if (request->body != NULL) {
    curl_easy_setopt (curl, CURLOPT_POST, 1L);
    curl_easy_setopt (curl, CURLOPT_POSTFIELDSIZE_LARGE,
                      (curl_off_t)request->body_size);
    curl_easy_setopt (curl, CURLOPT_POSTFIELDS, request->body);
  }
  if (strcmp (request->method, "GET") == 0)
    return;
  /* After CURLOPT_POST, which sets a method of its own. */
  curl_easy_setopt (curl, CURLOPT_CUSTOMREQUEST, request->method);
  /* When a kept connection ends without an answer libcurl sends the request
     again by itself, a POST too; on a fresh one it does not. */
  curl_easy_setopt (curl, CURLOPT_FRESH_CONNECT, 1L);
}

/* Everything of the URL that may stand in a message: scheme and host. */
static int
host_len (const char *url)
{
  const char *p = strstr (url, "://");

  return (int)(p == NULL ? strlen (url)
                         : (size_t)(p + 3 - url) + strcspn (p + 3, "/"));
}

static int
report (const struct http *http, const struct http_request *request,
        const struct exchange *x, CURLcode code, const char *text,
        struct fault *f)
{
  const char *why = text[0] != '\0' ? text : curl_easy_strerror (code);
  int len = host_len (request->url);

  if (x->too_large)
    return fault_set (f, FAULT_PROTO, 0,
                      "%.*s answered with more than %zu bytes", len,
                      request->url, x->body.limit - 1);
  switch (code) {
  case CURLE_ABORTED_BY_CALLBACK:
    return fault_set (f, FAULT_CANCELLED, 0, "stopped on request");
  case CURLE_PEER_FAILED_VERIFICATION:
    return fault_set (f, FAULT_CONF, 0,
                      "the certificate of %.*s is not accepted: %s; engine.url "
                      "must use the name in the certificate and "
                      "engine.ca_file (%s) must hold the CA that signed it: "
                      "get it from the engine's /etc/pki/ovirt-engine/ca.pem "
                      "or the page /ovirt-engine/services/pki-resource?"
                      "resource=ca-certificate&format=X509-PEM-CA",
                      len, request->url, why, http->ca_file);
  case CURLE_SSL_CACERT_BADFILE:
    return fault_set (f, FAULT_CONF, 0,
                      "engine.ca_file %s is not a PEM certificate: %s",
                      http->ca_file, why);
  case CURLE_URL_MALFORMAT:
  case CURLE_UNSUPPORTED_PROTOCOL:
    return fault_set (f, FAULT_CONF, 0, "engine.url %.*s: %s", len,
                      request->url, why);
  default:
    return fault_set (f, FAULT_NET, 0, "%.*s: %s", len, request->url, why);
  }
}

/* Failures in which not one byte of the request can have left. */
static bool
was_sent (CURLcode code)
{
  switch (code) {
  case CURLE_COULDNT_RESOLVE_PROXY:
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_CONNECT:
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_URL_MALFORMAT:
  case CURLE_UNSUPPORTED_PROTOCOL:
    return false;
  default:
    return true;
  }
}

static void
fill_answer (CURL *curl, struct exchange *x, struct http_answer *answer)
{
  const char *text = NULL;
  long status = 0;
  size_t n = 0;

  curl_easy_getinfo (curl, CURLINFO_RESPONSE_CODE, &status);
  answer->status = (int)status;
  curl_easy_getinfo (curl, CURLINFO_CONTENT_TYPE, &text);
  for (; text != NULL && *text != '\0' && *text != ';' && *text != ' '
         && n < sizeof answer->type - 1;
       text++)
    answer->type[n++] = (char)tolower ((unsigned char)*text);
  answer->type[n] = '\0';
  text = NULL;
  curl_easy_getinfo (curl, CURLINFO_REDIRECT_URL, &text);
  if (text != NULL) {
    n = strnlen (text, sizeof answer->location - 1);
    memcpy (answer->location, text, n);
    answer->location[n] = '\0';
  }
  answer->size = x->body.size;
  buf_put_u8 (&x->body, 0);
  answer->body = (char *)x->body.data;
  x->body.capacity = 0; /* handed over */
}

int
http_perform (struct http *http, const struct http_request *request,
              struct http_answer *answer, struct fault *f)
{
  size_t max = request->answer_max > 0 ? request->answer_max : HTTP_BODY_MAX;
  char text[CURL_ERROR_SIZE] = "";
  uint64_t start = stamp_mono_ms ();
  struct curl_slist *headers;
  struct exchange x = { .too_large = false };
  CURLcode code;
  CURL *curl;
  int r = 0;

  *answer = (struct http_answer){ .sent = false };
  if (cancel_check (f) < 0)
    return -1;
  curl = take_handle (http);
  headers = make_headers (request);
  if (curl == NULL || headers == NULL) {
    curl_easy_cleanup (curl);
    free_headers (headers);
    return fault_set (f, FAULT_INTERNAL, 0, "libcurl has no memory");
  }
  buf_init (&x.body, max + 1); /* and the NUL */
  set_options (http, curl, request, &x);
  curl_easy_setopt (curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt (curl, CURLOPT_ERRORBUFFER, text);
  code = curl_easy_perform (curl);
  if (code == CURLE_OK && x.body.size > max) {
    x.too_large = true;
    code = CURLE_WRITE_ERROR;
  }
  answer->sent = was_sent (code);
  if (code == CURLE_OK)
    fill_answer (curl, &x, answer);
  else
    r = report (http, request, &x, code, text, f);
  log_debug ("%s %s -> %d, %zu bytes, %llu ms%s%s", request->method,
             request->url, answer->status, answer->size,
             (unsigned long long)(stamp_mono_ms () - start),
             code == CURLE_OK ? "" : ": ",
             code == CURLE_OK ? "" : curl_easy_strerror (code));
  give_handle (http, curl);
  free_headers (headers);
  buf_reset (&x.body);
  return r;
}

void
http_answer_reset (struct http_answer *answer)
{
  if (answer->body != NULL)
    explicit_bzero (answer->body, answer->size);
  free (answer->body);
  *answer = (struct http_answer){ .sent = false };
}
