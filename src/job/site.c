/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "conf/secret.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/login.h"
#include "engine/vm.h"
#include "host/conn.h"
#include "host/pool.h"
#include "host/remote.h"
#include "job/journal.h"
#include "job/reap.h"
#include "job/site.h"
#include "repo/place.h"

/* One session that the helper of each stream has, and one to spare. */
#define SESSIONS_SPARE 1
#define LEAVE_MS 60000 /* a command of LVM may take so long */

int
site_login (const struct settings *s, const char *run_id,
            struct engine **engine, struct fault *f)
{
  CLEANUP (secret_free) char *password = NULL;
  struct login_params params = {
    .url = s->engine.url,
    .ca_file = s->engine.ca_file,
    .user = s->engine.user,
    .run_id = run_id,
    .poll_ms = s->engine.poll_ms,
    .retry_s = s->engine.retry_s,
    .busy_s = s->engine.busy_s,
  };

  if (settings_need_engine (s, f) < 0)
    return -1;
  password = secret_engine_password (s, f);
  if (password == NULL)
    return -1;
  params.password = password;
  return login_open (&params, engine, f);
}

static int
read_inventory (struct site *site, struct fault *f)
{
  if (cluster_list (site->engine, &site->clusters, f) < 0
      || host_list (site->engine, &site->hosts, f) < 0
      || domain_list (site->engine, &site->domains, f) < 0
      || vm_list (site->engine, &site->vms, f) < 0)
    return fault_prefix (f, "read the inventory of the engine");
  return 0;
}

/* Open the repository as MODE says; *PLACE stays NULL when it may be missing
   and is. */
static int
open_place (const struct settings *settings, enum site_mode mode,
            struct place **place, struct fault *f)
{
  struct fault own = FAULT_INIT;

  if (place_open (settings->repository, mode == SITE_CREATE, place, &own) == 0
      || (mode == SITE_MAYBE && own.code == FAULT_NOTFOUND))
    return 0;
  return fault_copy (f, &own);
}

int
site_open (const struct settings *settings, enum site_mode mode,
           struct site **out, struct fault *f)
{
  CLEANUP (site_close) struct site *site = xcalloc (1, sizeof *site);

  site->settings = settings;
  uuid_hex (site->run_id, TAG_RUN_SIZE - 1);
  if (settings_need_repository (settings, f) < 0)
    return -1;
  if (open_place (settings, mode, &site->place, f) < 0)
    return -1;
  if (site->place != NULL) {
    tag_format (site->tag, place_id (site->place), site->run_id);
    site->journal
        = journal_new (place_journal_dirfd (site->place), site->run_id);
  }
  site->pool
      = pool_new (settings->transfer.streams * settings->transfer.per_host
                  + SESSIONS_SPARE);
  if (site_login (settings, site->run_id, &site->engine, f) < 0
      || read_inventory (site, f) < 0)
    return -1;
  *out = steal_ptr (&site);
  return 0;
}

void
site_close (struct site *site)
{
  if (site == NULL)
    return;
  pool_free (site->pool);
  vm_list_free (site->vms);
  domain_list_free (site->domains);
  host_list_free (site->hosts);
  cluster_list_free (site->clusters);
  login_close (site->engine);
  journal_free (site->journal);
  place_close (site->place);
  free (site->lost);
  free (site);
}

/* Find KEY among COUNT items of SIZE bytes whose ids and names stand at the
   given offsets: an id wins over any name. */
static const void *
find (const void *items, size_t count, size_t size, size_t id_offset,
      size_t name_offset, const char *key, size_t *found)
{
  const void *first = NULL;

  *found = 0;
  for (size_t i = 0; i < count; i++) {
    const char *item = (const char *)items + i * size;

    if (strcmp (item + id_offset, key) == 0) {
      *found = 1;
      return item;
    }
    if (strcmp (*(char *const *)(item + name_offset), key) == 0
        && (*found)++ == 0)
      first = item;
  }
  return first;
}

const struct host *
site_host (const struct site *site, const char *id)
{
  for (size_t i = 0; i < site->hosts->count; i++) {
    if (strcmp (site->hosts->items[i].id, id) == 0)
      return &site->hosts->items[i];
  }
  return NULL;
}

const struct cluster *
site_cluster (const struct site *site, const char *key, size_t *count)
{
  return find (site->clusters->items, site->clusters->count,
               sizeof (struct cluster), offsetof (struct cluster, id),
               offsetof (struct cluster, name), key, count);
}

const struct domain *
site_domain (const struct site *site, const char *key, size_t *count)
{
  return find (site->domains->items, site->domains->count,
               sizeof (struct domain), offsetof (struct domain, id),
               offsetof (struct domain, name), key, count);
}

const struct vm *
site_vm (const struct site *site, const char *key, size_t *count)
{
  return find (site->vms->items, site->vms->count, sizeof (struct vm),
               offsetof (struct vm, id), offsetof (struct vm, name), key,
               count);
}

int
site_connect (struct site *site, const struct host *host, struct conn **conn,
              struct fault *f)
{
  const struct settings *s = site->settings;
  const char *keys[2];
  struct settings_login login;
  struct conn_params params = { .name = host->name, .hostkeys = keys };

  if (settings_need_ssh (s, f) < 0)
    return -1;
  settings_host_login (s, host->name, &login);
  if (host->public_key[0] != '\0')
    keys[params.hostkey_count++] = host->public_key;
  else if (host->fingerprint[0] != '\0')
    keys[params.hostkey_count++] = host->fingerprint;
  params.address = login.address != NULL ? login.address : host->address;
  params.port = login.port != 0 ? login.port : host->ssh_port;
  params.user = login.user;
  params.key_file = s->ssh.key_file;
  params.connect_s = s->ssh.connect_timeout_s;
  params.stall_s = s->ssh.stall_timeout_s;
  params.answer_s = s->ssh.answer_timeout_s;
  return pool_get (site->pool, &params, conn, f);
}

int
site_lane_open (struct site *site, const struct host *host,
                struct site_lane *lane, struct fault *f)
{
  const struct settings *s = site->settings;
  const char *local = getenv ("CHAINLIFT_HELPER");
  struct settings_login login;
  struct remote_options options = {
    .helper_local = local != NULL ? local : PKGLIBEXECDIR "/chainlift-remote",
    .helper_path = s->ssh.helper_path,
    .heartbeat_s = s->ssh.heartbeat_s,
    .run_id = site->run_id,
  };

#ifdef ENABLE_TEST_HOOKS
  options.stop_phase = getenv ("CHAINLIFT_STOP_REMOTE");
#endif
  *lane = (struct site_lane){ .host = host };
  settings_host_login (s, host->name, &login);
  options.sudo = login.sudo;
  if (site_connect (site, host, &lane->conn, f) < 0)
    return -1;
  if (remote_start (lane->conn, &options, &lane->remote, f) < 0
      || reap_hello (lane, f) < 0) {
    site_lane_drop (site, lane);
    return -1;
  }
  return 0;
}

int
site_explain (const struct site *site, const struct host *host, struct fault *f)
{
  struct settings_login login;

  settings_host_login (site->settings, host->name, &login);
  if ((f->err == EACCES || f->err == EPERM) && !login.sudo
      && strcmp (login.user, "root") != 0)
    return fault_append (f, "; user %s has no right to: set ssh.sudo",
                         login.user);
  return -1;
}

static void
end_lane (struct site *site, struct site_lane *lane, bool orderly)
{
  remote_free (lane->remote);
  if (lane->conn != NULL)
    pool_put (site->pool, lane->conn);
  reap_lane_end (site, lane, orderly);
  *lane = (struct site_lane){ .conn = NULL };
}

int
site_lane_stop (struct site *site, struct site_lane *lane, struct fault *f)
{
  bool alive = lane->remote != NULL && remote_alive (lane->remote);
  int rc = alive ? remote_stop (lane->remote, f) : 0;

  end_lane (site, lane, alive && rc == 0);
  return rc;
}

int
site_lane_leave (struct site *site, struct site_lane *lane, struct fault *f)
{
  int rc;

  cancel_within (LEAVE_MS);
  rc = site_lane_stop (site, lane, f);
  cancel_within (0);
  return rc;
}

void
site_lane_drop (struct site *site, struct site_lane *lane)
{
  end_lane (site, lane, false);
}
