/* SPDX-License-Identifier: Apache-2.0 */
/* libssh runs non-blocking here: waits are cut into slices, between which a
   stop of the user is looked at.

   The order of a connection: TCP by dial.c, key exchange with only those host
   key types that are pinned, comparison, then one public key.  libssh would
   read known_hosts for its preferred host key types and ~/.ssh/config; both
   are turned off. */
#include <config.h>

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libssh/callbacks.h>
#include <libssh/libssh.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "host/conn.h"
#include "host/dial.h"
#include "host/gulp.h"
#include "host/hostkey.h"

#define CIPHERS                                                                \
  "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr,"       \
  "chacha20-poly1305@openssh.com"

enum {
  SLICE_MS = 200,         /* longest wait between two looks at cancel */
  WRITE_MAX = 256 * 1024, /* handed to libssh at once */
};

struct conn {
  char *name;
  char *address;
  unsigned port;
  char *user;
  char *key_file;
  uint64_t stall_ms;
  uint64_t answer_ms;
  ssh_session session;
  ssh_event event;
  struct gulp *gulp; /* once authenticated */
  bool alive;
  char *cipher;
};

struct conn_raw {
  struct conn *c;
  ssh_channel channel;
  struct ssh_channel_callbacks_struct callbacks;
  conn_stderr_fn fn;
  void *opaque;
  int status; /* exit status, -1 = not known */
};

const char *
conn_name (const struct conn *c)
{
  return c->name;
}

const char *
conn_user (const struct conn *c)
{
  return c->user;
}

uint64_t
conn_stall_ms (const struct conn *c)
{
  return c->stall_ms;
}

uint64_t
conn_answer_ms (const struct conn *c)
{
  return c->answer_ms;
}

const char *
conn_cipher (const struct conn *c)
{
  return c->cipher;
}

bool
conn_alive (const struct conn *c)
{
  return c->alive && ssh_is_connected (c->session);
}

bool
conn_idle_alive (struct conn *c)
{
  struct pollfd p = { .events = POLLRDHUP };

  if (!conn_alive (c))
    return false;
  p.fd = ssh_get_fd (c->session);
  return poll (&p, 1, 0) == 0;
}

void
conn_kill (struct conn *c)
{
  c->alive = false;
}

/* The connection is of no more use; WHAT was going on. */
static int
broken (struct conn *c, const char *what, struct fault *f)
{
  const char *why = ssh_get_error (c->session);

  c->alive = false;
  return fault_set (f, FAULT_NET, 0, "host %s: %s: %s", c->name, what,
                    why[0] != '\0' ? why : "the connection was lost");
}

/* --- connect ---------------------------------------------------------- */

/* Wait until the socket has something for libssh. */
static int
wait_socket (struct conn *c, uint64_t deadline_ms, const char *what,
             struct fault *f)
{
  struct pollfd p[2] = {
    { .fd = ssh_get_fd (c->session), .events = POLLIN },
    { .fd = cancel_fd (), .events = POLLIN },
  };
  uint64_t now = stamp_mono_ms ();
  int left = SLICE_MS;
  int rc;

  if (cancel_check (f) < 0)
    return -1;
  if (now >= deadline_ms) {
    c->alive = false;
    return fault_set (f, FAULT_NET, 0,
                      "host %s: %s: no answer from %s port %u in time", c->name,
                      what, c->address, c->port);
  }
  if (deadline_ms - now < SLICE_MS)
    left = (int)(deadline_ms - now);
  if (ssh_get_poll_flags (c->session) & SSH_WRITE_PENDING)
    p[0].events |= POLLOUT;
  gulp_enter (c->gulp);
  rc = poll (p, 2, left);
  gulp_leave ();
  if (rc < 0 && errno != EINTR)
    return fault_set (f, FAULT_INTERNAL, errno, "poll");
  return cancel_check (f);
}

static int
set_options (struct conn *c, const struct conn_params *params,
             const char *hostkey_types, int fd, struct fault *f)
{
  const bool off = false;
  const int on = 1;
  const char *ciphers = params->ciphers != NULL ? params->ciphers : CIPHERS;
  const struct {
    enum ssh_options_e option;
    const void *value;
  } options[] = {
    { SSH_OPTIONS_PROCESS_CONFIG, &off },
    { SSH_OPTIONS_SSH_DIR, "/nonexistent" },
    { SSH_OPTIONS_KNOWNHOSTS, "/dev/null" },
    { SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null" },
    { SSH_OPTIONS_HOST, c->address },
    { SSH_OPTIONS_PORT, &c->port },
    { SSH_OPTIONS_USER, c->user },
    { SSH_OPTIONS_FD, &fd },
    { SSH_OPTIONS_NODELAY, &on },
    { SSH_OPTIONS_HOSTKEYS, hostkey_types },
    { SSH_OPTIONS_CIPHERS_C_S, ciphers },
    { SSH_OPTIONS_CIPHERS_S_C, ciphers },
    { SSH_OPTIONS_COMPRESSION, "no" },
  };

  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    if (ssh_options_set (c->session, options[i].option, options[i].value) < 0)
      return fault_set (f, FAULT_CONF, 0, "host %s: SSH option %zu: %s",
                        c->name, i, ssh_get_error (c->session));
  }
  return 0;
}

static void
drop_session (struct conn *c)
{
  if (c->session == NULL)
    return;
  if (c->event != NULL) {
    ssh_event_remove_session (c->event, c->session);
    ssh_event_free (c->event);
    c->event = NULL;
  }
  ssh_disconnect (c->session);
  ssh_free (c->session);
  gulp_free (c->gulp);
  c->gulp = NULL;
  c->session = NULL;
  c->alive = false;
}

/* Key exchange with HOSTKEY_TYPES.  1 = done, 0 = the host has no key of these
   types, -1. */
static int
handshake (struct conn *c, const struct conn_params *params,
           const char *hostkey_types, uint64_t deadline_ms, struct fault *f)
{
  int fd
      = dial_tcp (c->address, c->port, deadline_ms, (unsigned)c->stall_ms, f);
  int rc;

  if (fd < 0)
    return fault_prefix (f, "host %s", c->name);
  c->session = ssh_new ();
  if (c->session == NULL) {
    close (fd);
    return fault_set (f, FAULT_INTERNAL, ENOMEM, "SSH session");
  }
  if (set_options (c, params, hostkey_types, fd, f) < 0) {
    close (fd);
    return -1;
  }
  ssh_set_blocking (c->session, 0);
  for (;;) {
    rc = ssh_connect (c->session);
    if (rc != SSH_AGAIN)
      break;
    if (wait_socket (c, deadline_ms, "SSH handshake", f) < 0)
      return -1;
  }
  if (rc == SSH_OK) {
    c->alive = true;
    return 1;
  }
  if (strstr (ssh_get_error (c->session), "host key algo") != NULL)
    return 0;
  fault_set (f, FAULT_NET, 0,
             "host %s: SSH handshake with %s port %u: %s; is this an sshd, and "
             "do its MaxStartups and Ciphers let us in?",
             c->name, c->address, c->port,
             ssh_get_error (c->session)[0] != '\0'
                 ? ssh_get_error (c->session)
                 : "the connection was closed");
  return -1;
}

/* --- host key ---------------------------------------------------------- */

/* 1 = pinned, 0 = another key (described in TEXT), -1. */
static int
compare_hostkey (struct conn *c, const struct conn_params *params, char *text,
                 size_t text_size, struct fault *f)
{
  ssh_key key = NULL;
  unsigned char *hash = NULL;
  char *fingerprint = NULL;
  char *base64 = NULL;
  size_t hash_len = 0;
  int ret = 0;

  if (ssh_get_server_publickey (c->session, &key) != SSH_OK
      || ssh_get_publickey_hash (key, SSH_PUBLICKEY_HASH_SHA256, &hash,
                                 &hash_len)
             != 0
      || ssh_pki_export_pubkey_base64 (key, &base64) != SSH_OK) {
    ret = fault_set (f, FAULT_HOSTKEY, 0, "host %s: cannot read its host key",
                     c->name);
    goto out;
  }
  fingerprint
      = ssh_get_fingerprint_hash (SSH_PUBLICKEY_HASH_SHA256, hash, hash_len);
  if (fingerprint == NULL) {
    ret = fault_set (f, FAULT_INTERNAL, ENOMEM, "fingerprint");
    goto out;
  }
  snprintf (text, text_size, "%s %s", ssh_key_type_to_char (ssh_key_type (key)),
            fingerprint);
  ret = hostkey_pinned (params->hostkeys, params->hostkey_count, base64,
                        fingerprint);

out:
  ssh_string_free_char (fingerprint);
  ssh_string_free_char (base64);
  if (hash != NULL)
    ssh_clean_pubkey_hash (&hash);
  ssh_key_free (key);
  return ret;
}

/* Key exchange and comparison, one connection for each set of algorithms. */
static int
connect_pinned (struct conn *c, const struct conn_params *params,
                uint64_t deadline_ms, struct fault *f)
{
  struct hostkey_plan plan;
  char shown[512] = "";

  if (hostkey_plan (c->name, params->hostkeys, params->hostkey_count, &plan, f)
      < 0)
    return -1;
  for (unsigned i = 0; i < plan.count; i++) {
    size_t used = strlen (shown);
    char text[128];
    int rc = handshake (c, params, plan.algorithms[i], deadline_ms, f);

    if (rc < 0)
      return -1;
    if (rc > 0) {
      rc = compare_hostkey (c, params, text, sizeof text, f);
      if (rc != 0)
        return rc < 0 ? -1 : 0;
      snprintf (shown + used, sizeof shown - used, "%s%s", used > 0 ? ", " : "",
                text);
    }
    drop_session (c);
  }
  if (shown[0] == '\0')
    return fault_set (f, FAULT_HOSTKEY, 0,
                      "host %s (%s port %u) has no SSH host key of the type "
                      "that the engine knows (%s); if the host was "
                      "reinstalled, fetch its key again in the engine (Hosts, "
                      "Edit)",
                      c->name, c->address, c->port,
                      plan.count == 1 ? plan.algorithms[0] : "any");
  return fault_set (f, FAULT_HOSTKEY, 0,
                    "host %s (%s port %u) shows the SSH host key %s, which is "
                    "not the one that the engine knows: somebody may be in "
                    "between; if the host was reinstalled, fetch its key again "
                    "in the engine (Hosts, Edit)",
                    c->name, c->address, c->port, shown);
}

/* --- user ------------------------------------------------------------- */

static ssh_key
load_key (const char *path, struct fault *f)
{
  char *text;
  ssh_key key = NULL;
  int rc;

  if (path == NULL) {
    fault_set (f, FAULT_CONF, 0, "ssh.key_file is not set");
    return NULL;
  }
  text = dial_key_read (path, f);
  if (text == NULL)
    return NULL;
  /* An empty passphrase, not none: OpenSSL would ask on the terminal. */
  rc = ssh_pki_import_privkey_base64 (text, "", NULL, NULL, &key);
  dial_key_free (text);
  if (rc != SSH_OK) {
    fault_set (f, FAULT_CONF, 0,
               "ssh.key_file %s is not a private key without a passphrase in "
               "OpenSSH or PEM form; make one with ssh-keygen -t ed25519 -N ''",
               path);
    return NULL;
  }
  return key;
}

static void
describe_methods (struct conn *c, char *out, size_t size)
{
  int methods = ssh_userauth_list (c->session, NULL);

  snprintf (out, size, "%s%s%s%s",
            methods & SSH_AUTH_METHOD_PUBLICKEY ? " publickey" : "",
            methods & SSH_AUTH_METHOD_PASSWORD ? " password" : "",
            methods & SSH_AUTH_METHOD_INTERACTIVE ? " keyboard-interactive"
                                                  : "",
            methods & SSH_AUTH_METHOD_GSSAPI_MIC ? " gssapi" : "");
}

static int
authenticate (struct conn *c, ssh_key key, uint64_t deadline_ms,
              struct fault *f)
{
  char methods[128];
  int rc;

  for (;;) {
    rc = ssh_userauth_publickey (c->session, NULL, key);
    if (rc != SSH_AUTH_AGAIN)
      break;
    if (wait_socket (c, deadline_ms, "authentication", f) < 0)
      return -1;
  }
  if (rc == SSH_AUTH_SUCCESS)
    return 0;
  if (rc == SSH_AUTH_ERROR)
    return broken (c, "authentication", f);
  c->alive = false;
  if (rc == SSH_AUTH_PARTIAL)
    return fault_set (f, FAULT_AUTH, 0,
                      "host %s: sshd wants more than the key from user %s "
                      "(AuthenticationMethods); let publickey alone suffice "
                      "for it",
                      c->name, c->user);
  describe_methods (c, methods, sizeof methods);
  return fault_set (
      f, FAULT_AUTH, 0,
      "host %s: sshd at %s port %u does not let user %s in with the key %s (it "
      "allows:%s); put the public key into that user's authorized_keys on the "
      "host, or set ssh.user or ssh.key_file",
      c->name, c->address, c->port, c->user, c->key_file, methods);
}

int
conn_open (const struct conn_params *params, struct conn **conn,
           struct fault *f)
{
  unsigned connect_s
      = params->connect_s > 0 ? params->connect_s : CONN_CONNECT_S;
  unsigned stall_s = params->stall_s > 0 ? params->stall_s : CONN_STALL_S;
  unsigned answer_s = params->answer_s > 0 ? params->answer_s : CONN_ANSWER_S;
  uint64_t deadline = stamp_mono_ms () + (uint64_t)connect_s * 1000;
  struct conn *c;
  ssh_key key;

  key = load_key (params->key_file, f);
  if (key == NULL)
    return -1;
  c = xcalloc (1, sizeof *c);
  c->name = xstrdup (params->name);
  c->address = xstrdup (params->address);
  c->port = params->port > 0 ? params->port : 22;
  c->user = xstrdup (params->user != NULL ? params->user : "root");
  c->key_file = xstrdup (params->key_file);
  c->stall_ms = (uint64_t)stall_s * 1000;
  c->answer_ms = (uint64_t)answer_s * 1000;
  if (connect_pinned (c, params, deadline, f) < 0
      || authenticate (c, key, deadline, f) < 0)
    goto err0;
  ssh_key_free (key);
  key = NULL;
  c->event = ssh_event_new ();
  if (c->event == NULL
      || ssh_event_add_session (c->event, c->session) != SSH_OK) {
    fault_set (f, FAULT_INTERNAL, ENOMEM, "SSH event");
    goto err0;
  }
  c->gulp = gulp_new (ssh_get_fd (c->session));
  c->cipher = xstrdup (ssh_get_cipher_in (c->session));
  *conn = c;
  return 0;

err0:
  ssh_key_free (key);
  conn_close (c);
  return -1;
}

void
conn_close (struct conn *c)
{
  if (c == NULL)
    return;
  drop_session (c);
  free (c->name);
  free (c->address);
  free (c->user);
  free (c->key_file);
  free (c->cipher);
  free (c);
}

/* --- commands --------------------------------------------------------- */

static int
check_alive (struct conn *c, struct fault *f)
{
  if (cancel_check (f) < 0)
    return -1;
  if (!c->alive)
    return fault_set (f, FAULT_NET, 0, "host %s: the connection is broken",
                      c->name);
  return 0;
}

/* stdout stays in libssh's buffer until it is read. */
static int
on_data (ssh_session session, ssh_channel channel, void *data, uint32_t len,
         int is_stderr, void *userdata)
{
  struct conn_raw *r = userdata;

  (void)session;
  (void)channel;
  if (!is_stderr)
    return 0;
  r->fn (r->opaque, data, len);
  return (int)len;
}

static void
on_exit_status (ssh_session session, ssh_channel channel, int exit_status,
                void *userdata)
{
  struct conn_raw *r = userdata;

  (void)session;
  (void)channel;
  r->status = exit_status;
}

static void
on_exit_signal (ssh_session session, ssh_channel channel, const char *name,
                int core, const char *errmsg, const char *lang, void *userdata)
{
  static const struct {
    const char *name;
    int number;
  } signals[] = {
    { "HUP", 1 },   { "INT", 2 },   { "QUIT", 3 },  { "ILL", 4 },
    { "ABRT", 6 },  { "FPE", 8 },   { "KILL", 9 },  { "SEGV", 11 },
    { "PIPE", 13 }, { "ALRM", 14 }, { "TERM", 15 },
  };
  struct conn_raw *r = userdata;

  (void)session;
  (void)channel;
  (void)core;
  (void)errmsg;
  (void)lang;
  r->status = 255;
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
    if (strcmp (name, signals[i].name) == 0)
      r->status = 128 + signals[i].number;
  }
}

static int
request (struct conn_raw *r, const char *command, struct fault *f)
{
  struct conn *c = r->c;
  uint64_t deadline = stamp_mono_ms () + c->stall_ms;
  int rc;

  for (;;) {
    gulp_enter (c->gulp);
    rc = ssh_channel_open_session (r->channel);
    gulp_leave ();
    if (rc != SSH_AGAIN)
      break;
    if (wait_socket (c, deadline, "open a channel", f) < 0)
      return -1;
  }
  if (rc != SSH_OK) {
    if (!ssh_is_connected (c->session))
      return broken (c, "open a channel", f);
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: sshd refuses another channel: %s (is its "
                      "MaxSessions too low?)",
                      c->name, ssh_get_error (c->session));
  }
  for (;;) {
    gulp_enter (c->gulp);
    rc = ssh_channel_request_exec (r->channel, command);
    gulp_leave ();
    if (rc != SSH_AGAIN)
      break;
    if (wait_socket (c, deadline, "start a command", f) < 0)
      return -1;
  }
  if (rc == SSH_OK)
    return 0;
  if (!ssh_is_connected (c->session))
    return broken (c, "start a command", f);
  return fault_set (f, FAULT_REMOTE, 0,
                    "host %s: sshd refuses to run a command for user %s: %s",
                    c->name, c->user, ssh_get_error (c->session));
}

int
conn_raw_open (struct conn *c, const char *command, conn_stderr_fn fn,
               void *opaque, struct conn_raw **raw, struct fault *f)
{
  struct conn_raw *r;

  if (check_alive (c, f) < 0)
    return -1;
  r = xcalloc (1, sizeof *r);
  r->c = c;
  r->fn = fn;
  r->opaque = opaque;
  r->status = -1;
  r->channel = ssh_channel_new (c->session);
  if (r->channel == NULL) {
    free (r);
    return fault_set (f, FAULT_INTERNAL, ENOMEM, "SSH channel");
  }
  r->callbacks.userdata = r;
  r->callbacks.channel_data_function = on_data;
  r->callbacks.channel_exit_status_function = on_exit_status;
  r->callbacks.channel_exit_signal_function = on_exit_signal;
  ssh_callbacks_init (&r->callbacks);
  ssh_set_channel_callbacks (r->channel, &r->callbacks);
  if (request (r, command, f) < 0) {
    conn_raw_free (r);
    return -1;
  }
  *raw = r;
  return 0;
}

void
conn_raw_free (struct conn_raw *r)
{
  if (r == NULL)
    return;
  gulp_enter (r->c->gulp);
  ssh_remove_channel_callbacks (r->channel, &r->callbacks);
  ssh_channel_free (r->channel);
  gulp_leave ();
  free (r);
}

struct conn *
conn_raw_conn (const struct conn_raw *r)
{
  return r->c;
}

bool
conn_raw_ended (const struct conn_raw *r)
{
  return ssh_channel_is_eof (r->channel) || ssh_channel_is_closed (r->channel);
}

ssize_t
conn_raw_read (struct conn_raw *r, void *data, size_t size, unsigned wait_ms,
               struct fault *f)
{
  int n;

  if (check_alive (r->c, f) < 0)
    return -1;
  if (wait_ms > SLICE_MS)
    wait_ms = SLICE_MS;
  gulp_enter (r->c->gulp);
  n = ssh_channel_read_timeout (r->channel, data, (uint32_t)size, 0,
                                (int)wait_ms);
  gulp_leave ();
  if (n > 0)
    return n;
  if (n == SSH_ERROR && !ssh_is_connected (r->c->session))
    return broken (r->c, "read", f);
  if (n == SSH_ERROR && !conn_raw_ended (r))
    return broken (r->c, "read", f);
  return 0;
}

ssize_t
conn_raw_write (struct conn_raw *r, const void *data, size_t size,
                struct fault *f)
{
  int n;

  if (check_alive (r->c, f) < 0)
    return -1;
  if (!ssh_channel_is_open (r->channel) || ssh_channel_is_eof (r->channel))
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: the program on the host has ended", r->c->name);
  gulp_enter (r->c->gulp);
  n = ssh_channel_write (r->channel, data,
                         size < WRITE_MAX ? (uint32_t)size : WRITE_MAX);
  gulp_leave ();
  return n == SSH_ERROR ? broken (r->c, "write", f) : n;
}

int
conn_raw_send_eof (struct conn_raw *r, struct fault *f)
{
  int rc;

  if (check_alive (r->c, f) < 0)
    return -1;
  gulp_enter (r->c->gulp);
  rc = ssh_channel_send_eof (r->channel);
  gulp_leave ();
  return rc == SSH_ERROR ? broken (r->c, "close stdin", f) : 0;
}

bool
conn_raw_unsent (const struct conn_raw *r)
{
  return (ssh_get_poll_flags (r->c->session) & SSH_WRITE_PENDING) != 0;
}

int
conn_raw_pump (struct conn_raw *r, unsigned wait_ms, struct fault *f)
{
  int rc;

  if (check_alive (r->c, f) < 0)
    return -1;
  gulp_enter (r->c->gulp);
  rc = ssh_event_dopoll (r->c->event,
                         wait_ms < SLICE_MS ? (int)wait_ms : SLICE_MS);
  gulp_leave ();
  if (rc == SSH_ERROR || !ssh_is_connected (r->c->session))
    return broken (r->c, "wait for the host", f);
  return 0;
}

unsigned
conn_rtt_us (const struct conn *c)
{
  return dial_rtt_us (ssh_get_fd (c->session));
}

int
conn_raw_status (const struct conn_raw *r, bool *gone)
{
  *gone = ssh_channel_is_closed (r->channel);
  return r->status;
}
