/* SPDX-License-Identifier: Apache-2.0 */
/* hosts: the hypervisors of the engine and how we would log in. */
#include <config.h>

#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/table.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/host.h"
#include "engine/login.h"

static const struct table_column columns[] = {
  { "NAME", TABLE_ELASTIC }, { "STATUS", TABLE_LEFT },
  { "ADDRESS", TABLE_LEFT }, { "PORT", TABLE_RIGHT },
  { "USER", TABLE_LEFT },    { "KEY", TABLE_LEFT },
  { "SPM", TABLE_LEFT },     { "CLUSTER", TABLE_ELASTIC },
};

static const char *
cluster_name (const struct cluster_list *clusters, const char *id)
{
  for (size_t i = 0; i < clusters->count; i++) {
    if (strcmp (clusters->items[i].id, id) == 0)
      return clusters->items[i].name;
  }
  return NULL;
}

static void
print_json (const struct host *host, const struct settings_login *login,
            const char *cluster)
{
  struct json j;

  json_begin (&j, "host");
  json_string (&j, "id", host->id);
  json_string (&j, "name", host->name);
  json_string (&j, "status", host->status);
  json_string (&j, "cluster_id", host->cluster_id);
  json_string (&j, "cluster", cluster);
  json_bool (&j, "spm", host->is_spm);
  json_string (&j, "address", login->address);
  json_u64 (&j, "port", login->port);
  json_string (&j, "user", login->user);
  json_bool (&j, "sudo", login->sudo);
  json_string (&j, "public_key",
               host->public_key[0] != '\0' ? host->public_key : NULL);
  json_string (&j, "fingerprint",
               host->fingerprint[0] != '\0' ? host->fingerprint : NULL);
  json_end (&j, stdout);
}

/* What the host's key is pinned by: its type, "SHA256", or "none". */
static void
put_key (struct table *t, const struct host *host)
{
  if (host->public_key[0] != '\0')
    table_cellf (t, "%.*s", (int)strcspn (host->public_key, " "),
                 host->public_key);
  else
    table_cell (t, host->fingerprint[0] != '\0' ? "fingerprint" : "none");
}

static void
add_row (struct table *t, const struct host *host,
         const struct settings_login *login, const char *cluster)
{
  table_cell (t, host->name);
  table_cell (t, host->status);
  table_cell (t, login->address);
  table_cellf (t, "%u", login->port);
  table_cellf (t, "%s%s", login->user, login->sudo ? " (sudo)" : "");
  put_key (t, host);
  table_cell (t, host->is_spm ? "yes" : NULL);
  table_cell (t, cluster);
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  CLEANUP (login_close) struct engine *engine = NULL;
  CLEANUP (host_list_free) struct host_list *hosts = NULL;
  CLEANUP (cluster_list_free) struct cluster_list *clusters = NULL;
  CLEANUP (table_free) struct table *t = NULL;

  (void)args;
  if (door_settings (options, &settings, f) != 0
      || door_engine (settings, &engine, f) != 0
      || host_list (engine, &hosts, f) != 0
      || cluster_list (engine, &clusters, f) != 0)
    return -1;
  t = table_new (columns, sizeof columns / sizeof columns[0]);
  for (size_t i = 0; i < hosts->count; i++) {
    const struct host *host = &hosts->items[i];
    const char *cluster = cluster_name (clusters, host->cluster_id);
    struct settings_login login;

    settings_host_login (settings, host->name, &login);
    if (login.address == NULL)
      login.address = host->address;
    if (login.port == 0)
      login.port = host->ssh_port;
    if (options->json)
      print_json (host, &login, cluster);
    else
      add_row (t, host, &login, cluster);
  }
  table_print (t, stdout, output_width (STDOUT_FILENO));
  return 0;
}

const struct command cmd_hosts = {
  .name = "hosts",
  .usage = "",
  .summary = "list the hypervisors and how they are logged into",
  .run = run,
};
