/* SPDX-License-Identifier: Apache-2.0 */
/* libconfig knows syntax only; names, types and ranges are a table here, so
   that a new key is one line (and its words in chainlift.conf(5)).  A
   misspelt key that is silently ignored would be a backup that does not do
   what its administrator believes: everything unknown is refused. */
#include <config.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <libconfig.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "conf/keys.h"
#include "conf/settings.h"

#define KEY_TEXT_MAX 4096
#define KEY_NAME_MAX 128

enum kind {
  KIND_TEXT, /* char *, not empty, no control characters */
  KIND_PATH, /* char *, absolute */
  KIND_USER, /* char *, a login name */
  KIND_URL,  /* char *, https://NAME... */
  KIND_AT,   /* char *, NAME@PROFILE */
  KIND_BOOL,
  KIND_TRI,   /* int: -1 unset, 0, 1 */
  KIND_COUNT, /* unsigned between min and max */
  KIND_RATE,  /* uint64_t: bytes, or "100M" */
  KIND_WORD,  /* enum: index in words */
  KIND_PORTS, /* unsigned[2]: "FIRST-LAST" */
};

struct key {
  const char *name;
  enum kind kind;
  size_t offset;
  unsigned min;
  unsigned max;
  const char *const *words;
};

struct group_spec {
  const char *name;
  const struct key *keys;
  size_t count;
  size_t offset;
};

/* Where we are, for messages. */
struct place {
  const char *path;
  const char *group; /* NULL at the top */
};

static const char *const guard_words[] = { "none", "attach", NULL };
static const char *const quiesce_words[] = { "auto", "require", NULL };
static const char *const lock_words[] = { "auto", "none", "always", NULL };
static const char *const transport_words[] = { "ssh", "lane", NULL };

#define ENGINE(member) offsetof (struct settings_engine, member)
static const struct key engine_keys[] = {
  { "url", KIND_URL, ENGINE (url), 0, 0, NULL },
  { "ca_file", KIND_PATH, ENGINE (ca_file), 0, 0, NULL },
  { "user", KIND_AT, ENGINE (user), 0, 0, NULL },
  { "password_file", KIND_PATH, ENGINE (password_file), 0, 0, NULL },
  { "password_command", KIND_TEXT, ENGINE (password_command), 0, 0, NULL },
  { "retry", KIND_COUNT, ENGINE (retry_s), 1, 86400, NULL },
  { "busy", KIND_COUNT, ENGINE (busy_s), 1, 86400, NULL },
  { "poll_ms", KIND_COUNT, ENGINE (poll_ms), 100, 60000, NULL },
};

#define SSH(member) offsetof (struct settings_ssh, member)
static const struct key ssh_keys[] = {
  { "user", KIND_USER, SSH (user), 0, 0, NULL },
  { "port", KIND_COUNT, SSH (port), 1, 65535, NULL },
  { "key_file", KIND_PATH, SSH (key_file), 0, 0, NULL },
  { "sudo", KIND_BOOL, SSH (sudo), 0, 0, NULL },
  { "helper_path", KIND_PATH, SSH (helper_path), 0, 0, NULL },
  { "connect_timeout", KIND_COUNT, SSH (connect_timeout_s), 1, 600, NULL },
  { "stall_timeout", KIND_COUNT, SSH (stall_timeout_s), 5, 86400, NULL },
  { "answer_timeout", KIND_COUNT, SSH (answer_timeout_s), 5, 86400, NULL },
  { "heartbeat", KIND_COUNT, SSH (heartbeat_s), 5, 600, NULL },
};

#define HOST(member) offsetof (struct settings_host, member)
static const struct key host_keys[] = {
  { "name", KIND_TEXT, HOST (name), 0, 0, NULL },
  { "address", KIND_TEXT, HOST (address), 0, 0, NULL },
  { "port", KIND_COUNT, HOST (port), 1, 65535, NULL },
  { "user", KIND_USER, HOST (user), 0, 0, NULL },
  { "sudo", KIND_TRI, HOST (sudo), 0, 0, NULL },
};

#define SNAPSHOT(member) offsetof (struct settings_snapshot, member)
static const struct key snapshot_keys[] = {
  { "keep", KIND_BOOL, SNAPSHOT (keep), 0, 0, NULL },
  { "differential", KIND_BOOL, SNAPSHOT (differential), 0, 0, NULL },
  { "kept_days", KIND_COUNT, SNAPSHOT (kept_days), 1, 3650, NULL },
  { "guard", KIND_WORD, SNAPSHOT (guard), 0, 0, guard_words },
  { "guard_vm", KIND_TEXT, SNAPSHOT (guard_vm), 0, 0, NULL },
  { "merges_per_domain", KIND_COUNT, SNAPSHOT (merges_per_domain), 1, 64,
    NULL },
  { "quiesce", KIND_WORD, SNAPSHOT (quiesce), 0, 0, quiesce_words },
};

#define RETENTION(member) offsetof (struct settings_retention, member)
static const struct key retention_keys[] = {
  { "last", KIND_COUNT, RETENTION (last), 0, 10000, NULL },
  { "daily", KIND_COUNT, RETENTION (daily), 0, 10000, NULL },
  { "weekly", KIND_COUNT, RETENTION (weekly), 0, 10000, NULL },
  { "monthly", KIND_COUNT, RETENTION (monthly), 0, 10000, NULL },
  { "yearly", KIND_COUNT, RETENTION (yearly), 0, 10000, NULL },
};

#define TRANSFER(member) offsetof (struct settings_transfer, member)
static const struct key transfer_keys[] = {
  { "transport", KIND_WORD, TRANSFER (transport), 0, 0, transport_words },
  { "streams", KIND_COUNT, TRANSFER (streams), 1, 16, NULL },
  { "per_host", KIND_COUNT, TRANSFER (per_host), 1, 16, NULL },
  { "bandwidth", KIND_RATE, TRANSFER (bandwidth), 0, 0, NULL },
  { "lane_ports", KIND_PORTS, TRANSFER (lane_ports), 0, 0, NULL },
};

#define TOP(member) offsetof (struct settings, member)
static const struct key top_keys[] = {
  { "repository", KIND_PATH, TOP (repository), 0, 0, NULL },
  { "restore_lock", KIND_WORD, TOP (restore_lock), 0, 0, lock_words },
};

#define COUNT(array) (sizeof (array) / sizeof (array)[0])
static const struct group_spec groups[] = {
  { "engine", engine_keys, COUNT (engine_keys), TOP (engine) },
  { "ssh", ssh_keys, COUNT (ssh_keys), TOP (ssh) },
  { "snapshot", snapshot_keys, COUNT (snapshot_keys), TOP (snapshot) },
  { "retention", retention_keys, COUNT (retention_keys), TOP (retention) },
  { "transfer", transfer_keys, COUNT (transfer_keys), TOP (transfer) },
};

/* "FILE:LINE: GROUP.KEY: " in front of the reason. */
static int
refuse (const struct place *at, const config_setting_t *item, const char *why,
        struct fault *f)
{
  return fault_set (
      f, FAULT_CONF, 0, "%s:%u: %s%s%s: %s", at->path,
      config_setting_source_line (item), at->group != NULL ? at->group : "",
      at->group != NULL ? "." : "",
      config_setting_name (item) != NULL ? config_setting_name (item) : "entry",
      why);
}

static int
refuse_range (const struct place *at, const config_setting_t *item,
              unsigned min, unsigned max, struct fault *f)
{
  char why[64];

  snprintf (why, sizeof why, "must be a number from %u to %u", min, max);
  return refuse (at, item, why, f);
}

static bool
clean_text (const char *s)
{
  size_t n = strnlen (s, KEY_TEXT_MAX + 1);

  if (n == 0 || n > KEY_TEXT_MAX)
    return false;
  for (; *s != '\0'; s++) {
    if ((unsigned char)*s < 0x20 || *s == 0x7f)
      return false;
  }
  return true;
}

/* What goes to ssh as a user: never an option, never two words. */
static bool
clean_user (const char *s)
{
  size_t n = strlen (s);

  return n <= 64 && s[0] != '-'
         && strspn (s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789_.-@")
                == n;
}

/* What is wrong with the address of an engine, or NULL. */
static const char *
url_fault (const char *url)
{
  static const char scheme[] = "https://";
  const char *host = url + sizeof scheme - 1;

  if (strncmp (url, scheme, sizeof scheme - 1) != 0)
    return "must begin with https://";
  if (host[0] == '\0' || host[0] == '/' || strpbrk (host, "@?# ") != NULL)
    return "must be https://NAME/ovirt-engine";
  return NULL;
}

static int
read_text (const struct place *at, const config_setting_t *item,
           const struct key *key, char **out, struct fault *f)
{
  const char *value = config_setting_get_string (item);

  if (value == NULL)
    return refuse (at, item, "must be a string in double quotes", f);
  if (!clean_text (value))
    return refuse (at, item,
                   "must not be empty and must not hold control characters", f);
  if (key->kind == KIND_PATH && value[0] != '/')
    return refuse (at, item, "must be an absolute path", f);
  if (key->kind == KIND_USER && !clean_user (value))
    return refuse (at, item, "is no user name", f);
  if (key->kind == KIND_URL && url_fault (value) != NULL)
    return refuse (at, item, url_fault (value), f);
  if (key->kind == KIND_AT && strchr (value, '@') == NULL)
    return refuse (at, item, "needs its profile, as \"backup@internal\"", f);
  free (*out);
  *out = xstrdup (value);
  return 0;
}

static int
read_word (const struct place *at, const config_setting_t *item,
           const struct key *key, unsigned *out, struct fault *f)
{
  const char *value = config_setting_get_string (item);
  char why[KEY_NAME_MAX] = "must be one of";

  for (unsigned i = 0; key->words[i] != NULL; i++) {
    if (value != NULL && strcmp (value, key->words[i]) == 0) {
      *out = i;
      return 0;
    }
    snprintf (why + strlen (why), sizeof why - strlen (why), "%s \"%s\"",
              i == 0 ? "" : ",", key->words[i]);
  }
  return refuse (at, item, why, f);
}

/* Plain bytes, or a string with K, M, G (of 1024). */
static bool
parse_rate (const char *s, uint64_t *out)
{
  char *end;
  uint64_t value;
  unsigned shift;

  if (!isdigit ((unsigned char)s[0]) || strlen (s) > 15)
    return false;
  value = strtoull (s, &end, 10);
  switch (*end) {
  case '\0':
    shift = 0;
    break;
  case 'K':
    shift = 10;
    break;
  case 'M':
    shift = 20;
    break;
  case 'G':
    shift = 30;
    break;
  default:
    return false;
  }
  if (*end != '\0' && end[1] != '\0')
    return false;
  if (value > UINT64_MAX >> shift)
    return false;
  *out = value << shift;
  return true;
}

static int
read_rate (const struct place *at, const config_setting_t *item, uint64_t *out,
           struct fault *f)
{
  const char *text = config_setting_get_string (item);
  uint64_t value;

  if (text != NULL && parse_rate (text, &value))
    ;
  else if (config_setting_is_number (item)
           && config_setting_type (item) != CONFIG_TYPE_FLOAT
           && config_setting_get_int64 (item) >= 0)
    value = (uint64_t)config_setting_get_int64 (item);
  else
    return refuse (at, item,
                   "must be a number of bytes, or a string as \"100M\"", f);
  if (value != 0 && value < 65536)
    return refuse (at, item, "must be 0 (no limit) or at least \"64K\"", f);
  *out = value;
  return 0;
}

static int
read_ports (const struct place *at, const config_setting_t *item,
            unsigned out[2], struct fault *f)
{
  const char *value = config_setting_get_string (item);
  unsigned first;
  unsigned last;
  int used = 0;

  if (value == NULL || !isdigit ((unsigned char)value[0])
      || sscanf (value, "%5u-%5u%n", &first, &last, &used) != 2
      || value[used] != '\0' || first < 1024 || last > 65535 || last < first)
    return refuse (at, item,
                   "must be \"FIRST-LAST\" with ports from 1024 to 65535", f);
  out[0] = first;
  out[1] = last;
  return 0;
}

static int
read_count (const struct place *at, const config_setting_t *item,
            const struct key *key, unsigned *out, struct fault *f)
{
  int type = config_setting_type (item);
  long long value;

  if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
    return refuse_range (at, item, key->min, key->max, f);
  value = type == CONFIG_TYPE_INT ? config_setting_get_int (item)
                                  : config_setting_get_int64 (item);
  if (value < key->min || value > key->max)
    return refuse_range (at, item, key->min, key->max, f);
  *out = (unsigned)value;
  return 0;
}

static int
read_value (const struct place *at, const config_setting_t *item,
            const struct key *key, void *base, struct fault *f)
{
  void *out = (char *)base + key->offset;

  switch (key->kind) {
  case KIND_TEXT:
  case KIND_PATH:
  case KIND_USER:
  case KIND_URL:
  case KIND_AT:
    return read_text (at, item, key, out, f);
  case KIND_BOOL:
  case KIND_TRI:
    if (config_setting_type (item) != CONFIG_TYPE_BOOL)
      return refuse (at, item, "must be true or false", f);
    if (key->kind == KIND_BOOL)
      *(bool *)out = config_setting_get_bool (item) != 0;
    else
      *(int *)out = config_setting_get_bool (item) != 0;
    return 0;
  case KIND_COUNT:
    return read_count (at, item, key, out, f);
  case KIND_RATE:
    return read_rate (at, item, out, f);
  case KIND_WORD:
    return read_word (at, item, key, out, f);
  case KIND_PORTS:
    return read_ports (at, item, out, f);
  }
  return refuse (at, item, "has no reader", f);
}

/* Edits between two short words, for "did you mean". */
static unsigned
distance (const char *a, const char *b)
{
  unsigned row[KEY_NAME_MAX + 1];
  size_t n = strlen (b);

  if (n > KEY_NAME_MAX || strlen (a) > KEY_NAME_MAX)
    return KEY_NAME_MAX;
  for (unsigned j = 0; j <= n; j++)
    row[j] = j;
  for (unsigned i = 1; a[i - 1] != '\0'; i++) {
    unsigned diagonal = row[0];

    row[0] = i;
    for (unsigned j = 1; j <= n; j++) {
      unsigned old = row[j];
      unsigned best = diagonal + (a[i - 1] != b[j - 1]);

      best = old + 1 < best ? old + 1 : best;
      best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
      row[j] = best;
      diagonal = old;
    }
  }
  return row[n];
}

static int
refuse_unknown (const struct place *at, const config_setting_t *item,
                const struct key *keys, size_t count, bool top, struct fault *f)
{
  const char *name = config_setting_name (item);
  const char *near = NULL;
  unsigned best = 3;
  char why[KEY_NAME_MAX + 64];

  for (size_t i = 0; i < count; i++) {
    if (distance (name, keys[i].name) < best) {
      best = distance (name, keys[i].name);
      near = keys[i].name;
    }
  }
  for (size_t i = 0; top && i < COUNT (groups); i++) {
    if (distance (name, groups[i].name) < best) {
      best = distance (name, groups[i].name);
      near = groups[i].name;
    }
  }
  if (strcmp (name, "password") == 0)
    snprintf (why, sizeof why,
              "a password is not kept here; use password_file or "
              "password_command");
  else if (near != NULL)
    snprintf (why, sizeof why, "unknown key; did you mean %s?", near);
  else
    snprintf (why, sizeof why, "unknown key; see chainlift.conf(5)");
  return refuse (at, item, why, f);
}

static int
read_group (const struct place *at, config_setting_t *group,
            const struct key *keys, size_t count, void *base, struct fault *f)
{
  int length = config_setting_length (group);

  for (int i = 0; i < length; i++) {
    config_setting_t *item = config_setting_get_elem (group, (unsigned)i);
    size_t k = 0;

    while (k < count && strcmp (keys[k].name, config_setting_name (item)) != 0)
      k++;
    if (k == count)
      return refuse_unknown (at, item, keys, count, false, f);
    if (read_value (at, item, &keys[k], base, f) != 0)
      return -1;
  }
  return 0;
}

/* The entry for NAME, or a new one. */
static struct settings_host *
host_entry (struct settings *s, const char *name)
{
  struct settings_host *host;

  for (size_t i = 0; i < s->host_count; i++) {
    if (strcmp (s->hosts[i].name, name) == 0)
      return &s->hosts[i];
  }
  s->hosts = xreallocarray (s->hosts, s->host_count + 1, sizeof *s->hosts);
  host = &s->hosts[s->host_count++];
  *host = (struct settings_host){ .name = xstrdup (name), .sudo = -1 };
  return host;
}

static const char *
host_name (config_setting_t *list, int index)
{
  config_setting_t *entry = config_setting_get_elem (list, (unsigned)index);
  const char *name = NULL;

  if (config_setting_is_group (entry))
    config_setting_lookup_string (entry, "name", &name);
  return name;
}

static int
read_hosts (const struct place *at, config_setting_t *list, struct settings *s,
            struct fault *f)
{
  struct place in = { at->path, "hosts" };
  int length = config_setting_length (list);

  if (!config_setting_is_list (list))
    return refuse (at, list, "must be a list as ( { name = \"node1\"; } )", f);
  if (length > SETTINGS_HOSTS_MAX)
    return refuse (at, list, "has too many entries", f);
  for (int i = 0; i < length; i++) {
    config_setting_t *entry = config_setting_get_elem (list, (unsigned)i);
    const char *name = host_name (list, i);

    if (!config_setting_is_group (entry))
      return refuse (&in, entry, "must be a group as { name = \"node1\"; }", f);
    if (name == NULL)
      return refuse (&in, entry, "has no name", f);
    for (int j = 0; j < i; j++) {
      if (strcmp (host_name (list, j), name) == 0)
        return refuse (&in, entry, "names a host that was named before", f);
    }
    if (s->host_count == SETTINGS_HOSTS_MAX)
      return refuse (&in, entry, "is one host too many", f);
    if (read_group (&in, entry, host_keys, COUNT (host_keys),
                    host_entry (s, name), f)
        != 0)
      return -1;
  }
  return 0;
}

/* The password comes from one place; a later file may choose the other. */
static int
choose_password (const struct place *at, config_setting_t *engine,
                 struct settings *s, struct fault *f)
{
  config_setting_t *file = config_setting_get_member (engine, "password_file");
  config_setting_t *command
      = config_setting_get_member (engine, "password_command");

  if (file != NULL && command != NULL)
    return refuse (at, command, "not together with password_file", f);
  if (file != NULL) {
    free (s->engine.password_command);
    s->engine.password_command = NULL;
  }
  if (command != NULL) {
    free (s->engine.password_file);
    s->engine.password_file = NULL;
  }
  return 0;
}

static int
read_top_item (const char *path, config_setting_t *item, struct settings *s,
               struct fault *f)
{
  struct place at = { path, NULL };
  const char *name = config_setting_name (item);

  for (size_t i = 0; i < COUNT (top_keys); i++) {
    if (strcmp (name, top_keys[i].name) == 0)
      return read_value (&at, item, &top_keys[i], s, f);
  }
  if (strcmp (name, "hosts") == 0)
    return read_hosts (&at, item, s, f);
  for (size_t i = 0; i < COUNT (groups); i++) {
    struct place in = { path, groups[i].name };

    if (strcmp (name, groups[i].name) != 0)
      continue;
    if (!config_setting_is_group (item))
      return refuse (&at, item, "must be a group in braces", f);
    if (read_group (&in, item, groups[i].keys, groups[i].count,
                    (char *)s + groups[i].offset, f)
        != 0)
      return -1;
    return strcmp (name, "engine") == 0 ? choose_password (&in, item, s, f) : 0;
  }
  return refuse_unknown (&at, item, top_keys, COUNT (top_keys), true, f);
}

/* libconfig 1.5 cannot be told to refuse @include, which would read files
   past our checks of owner and mode. */
static int
refuse_include (const char *text, const char *path, struct fault *f)
{
  unsigned line = 1;

  for (const char *p = text; p != NULL && *p != '\0'; line++) {
    p += strspn (p, " \t");
    if (strncmp (p, "@include", 8) == 0)
      return fault_set (f, FAULT_CONF, 0,
                        "%s:%u: @include is not allowed; put the file into "
                        "conf.d",
                        path, line);
    p = strchr (p, '\n');
    if (p != NULL)
      p++;
  }
  return 0;
}

int
keys_read (const char *text, const char *path, struct settings *s,
           struct fault *f)
{
  config_t parsed;
  config_setting_t *root;
  int rc = 0;

  if (refuse_include (text, path, f) != 0)
    return -1;
  config_init (&parsed);
  if (config_read_string (&parsed, text) == CONFIG_FALSE) {
    rc = fault_set (f, FAULT_CONF, 0, "%s:%d: %s", path,
                    config_error_line (&parsed), config_error_text (&parsed));
  }
  root = config_root_setting (&parsed);
  for (int i = 0; rc == 0 && i < config_setting_length (root); i++)
    rc = read_top_item (path, config_setting_get_elem (root, (unsigned)i), s,
                        f);
  config_destroy (&parsed);
  return rc;
}
