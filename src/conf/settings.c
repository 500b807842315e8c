/* SPDX-License-Identifier: Apache-2.0 */
/* One file, then conf.d: read in order into one struct that began with the
   defaults.  What spans several keys is checked at the end. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "conf/guarded.h"
#include "conf/keys.h"
#include "conf/settings.h"

#define FILE_MAX (1u << 20)
#define FILES_MAX 1024

static struct settings *
settings_new (const char *path)
{
  struct settings *s = xcalloc (1, sizeof *s);

  s->file = xstrdup (path);
  s->engine.ca_file = xstrdup (SETTINGS_SYSTEM_CA);
  s->engine.retry_s = 300;
  s->engine.busy_s = 180;
  s->engine.poll_ms = 1000;
  s->ssh.user = xstrdup ("root");
  s->ssh.connect_timeout_s = 20;
  s->ssh.stall_timeout_s = 120;
  s->ssh.answer_timeout_s = 600;
  s->ssh.heartbeat_s = 30;
  s->snapshot.keep = true;
  s->snapshot.kept_days = 8;
  s->snapshot.merges_per_domain = 2;
  s->transfer.streams = 2;
  s->transfer.per_host = 2;
  return s;
}

void
settings_free (struct settings *s)
{
  if (s == NULL)
    return;
  for (size_t i = 0; i < s->host_count; i++) {
    free (s->hosts[i].name);
    free (s->hosts[i].address);
    free (s->hosts[i].user);
  }
  free (s->hosts);
  free (s->file);
  free (s->repository);
  free (s->engine.url);
  free (s->engine.ca_file);
  free (s->engine.user);
  free (s->engine.password_file);
  free (s->engine.password_command);
  free (s->snapshot.guard_vm);
  free (s->ssh.user);
  free (s->ssh.key_file);
  free (s->ssh.helper_path);
  free (s);
}

static int
read_file (const char *path, struct settings *s, struct fault *f)
{
  CLEANUP_FREE char *text = NULL;
  size_t size = 0;

  text = guarded_read (path, FILE_MAX, 022, &size, f);
  if (text == NULL)
    return -1;
  if (strlen (text) != size)
    return fault_set (f, FAULT_CONF, 0, "%s: holds a NUL byte", path);
  return keys_read (text, path, s, f);
}

static int
is_part (const struct dirent *entry)
{
  size_t n = strlen (entry->d_name);

  return entry->d_name[0] != '.' && n > 5
         && strcmp (entry->d_name + n - 5, ".conf") == 0;
}

/* Not alphasort: the order must not hang on the locale. */
static int
by_name (const struct dirent **a, const struct dirent **b)
{
  return strcmp ((*a)->d_name, (*b)->d_name);
}

static int
read_parts (const char *path, struct settings *s, struct fault *f)
{
  const char *slash = strrchr (path, '/');
  CLEANUP_FREE char *dir = NULL;
  struct dirent **entries = NULL;
  int count;
  int rc = 0;

  dir = slash == NULL ? xstrdup ("conf.d")
                      : xasprintf ("%.*s/conf.d", (int)(slash - path), path);
  count = scandir (dir, &entries, is_part, by_name);
  if (count < 0 && errno == ENOENT)
    return 0;
  if (count < 0)
    return fault_set (f, FAULT_CONF, errno, "read %s", dir);
  if (count > FILES_MAX)
    rc = fault_set (f, FAULT_CONF, 0, "%s: more than %d files", dir, FILES_MAX);
  for (int i = 0; i < count; i++) {
    CLEANUP_FREE char *part = xasprintf ("%s/%s", dir, entries[i]->d_name);

    if (rc == 0)
      rc = read_file (part, s, f);
    free (entries[i]);
  }
  free (entries);
  return rc;
}

/* What keys.c found to be https://HOST[:PORT][/PATH]: "/api" and slashes at
   the end go, no path becomes /ovirt-engine. */
static void
tidy_url (struct settings *s)
{
  char *url = s->engine.url;
  size_t n = url == NULL ? 0 : strlen (url);

  if (url == NULL)
    return;
  while (n > 0 && url[n - 1] == '/')
    url[--n] = '\0';
  if (n > 4 && strcmp (url + n - 4, "/api") == 0)
    url[n - 4] = '\0';
  if (strchr (url + strlen ("https://"), '/') == NULL) {
    s->engine.url = xasprintf ("%s/ovirt-engine", url);
    free (url);
  }
}

static int
check_whole (struct settings *s, struct fault *f)
{
  tidy_url (s);
  if (s->transfer.transport != SETTINGS_TRANSPORT_SSH)
    return fault_set (f, FAULT_CONF, 0,
                      "%s: transfer.transport: this version knows \"ssh\" "
                      "only",
                      s->file);
  if (s->snapshot.differential && !s->snapshot.keep)
    return fault_set (f, FAULT_CONF, 0,
                      "%s: snapshot.differential: needs snapshot.keep = true",
                      s->file);
  if (s->snapshot.guard != SETTINGS_GUARD_NONE && s->snapshot.guard_vm == NULL)
    return fault_set (f, FAULT_CONF, 0,
                      "%s: snapshot.guard: needs snapshot.guard_vm, the name "
                      "of a VM without disks that stays down",
                      s->file);
  if (s->ssh.stall_timeout_s < s->ssh.heartbeat_s)
    return fault_set (f, FAULT_CONF, 0,
                      "%s: ssh.stall_timeout: must not be below "
                      "ssh.heartbeat (%u)",
                      s->file, s->ssh.heartbeat_s);
  return 0;
}

int
settings_load (const char *path, struct settings **out, struct fault *f)
{
  CLEANUP (settings_free) struct settings *s = NULL;
  bool given = path != NULL;

  *out = NULL;
  if (!given)
    path = SETTINGS_DEFAULT_FILE;
  s = settings_new (path);
  if (read_file (path, s, f) != 0) {
    if (f != NULL && f->code == FAULT_NOTFOUND) {
      f->code = FAULT_CONF;
      if (!given)
        fault_append (f, "; write it (an example is " DOCDIR
                         "/chainlift.conf.example) or name another with "
                         "--config");
    }
    return -1;
  }
  if (read_parts (path, s, f) != 0 || check_whole (s, f) != 0)
    return -1;
  *out = steal_ptr (&s);
  return 0;
}

static int
missing (const struct settings *s, const char *key, struct fault *f)
{
  return fault_set (f, FAULT_CONF, 0,
                    "%s: %s is missing; see chainlift.conf(5)", s->file, key);
}

int
settings_need_repository (const struct settings *s, struct fault *f)
{
  return s->repository == NULL ? missing (s, "repository", f) : 0;
}

int
settings_need_engine (const struct settings *s, struct fault *f)
{
  if (s->engine.url == NULL)
    return missing (s, "engine.url", f);
  if (s->engine.user == NULL)
    return missing (s, "engine.user", f);
  if (s->engine.password_file == NULL && s->engine.password_command == NULL)
    return missing (s, "engine.password_file (or engine.password_command)", f);
  return 0;
}

int
settings_need_ssh (const struct settings *s, struct fault *f)
{
  return s->ssh.key_file == NULL ? missing (s, "ssh.key_file", f) : 0;
}

void
settings_host_login (const struct settings *s, const char *name,
                     struct settings_login *out)
{
  out->address = NULL;
  out->user = s->ssh.user;
  out->port = s->ssh.port;
  out->sudo = s->ssh.sudo;
  for (size_t i = 0; i < s->host_count; i++) {
    const struct settings_host *host = &s->hosts[i];

    if (strcmp (host->name, name) != 0)
      continue;
    out->address = host->address;
    out->user = host->user != NULL ? host->user : out->user;
    out->port = host->port != 0 ? host->port : out->port;
    out->sudo = host->sudo >= 0 ? host->sudo == 1 : out->sudo;
    return;
  }
}
