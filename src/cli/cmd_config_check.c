/* SPDX-License-Identifier: Apache-2.0 */
/* config-check: everything that a backup needs, tried once, one line each,
   with what to do.  Nothing is changed: the repository's lease is taken and
   dropped, a helper is started on each host and stopped. */
#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "cli/cmd.h"
#include "cli/door.h"
#include "cli/json.h"
#include "cli/output.h"
#include "conf/guarded.h"
#include "conf/settings.h"
#include "engine/cluster.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/login.h"
#include "engine/vm.h"
#include "host/conn.h"
#include "host/pool.h"
#include "host/remote.h"
#include "job/guard.h"
#include "job/site.h"
#include "job/volgroup.h"
#include "repo/lease.h"
#include "repo/place.h"

#define KEY_FILE_MAX (64u << 10)
#define CA_FILE_MAX (4u << 20)
#define LITTLE_SPACE (UINT64_C (10) << 30)
#define VDSM_UID 36

enum state { STATE_OK, STATE_WARNING, STATE_FAILED, STATE_SKIPPED };

static const char *const state_names[] = {
  [STATE_OK] = "ok",
  [STATE_WARNING] = "warning",
  [STATE_FAILED] = "failed",
  [STATE_SKIPPED] = "skipped",
};

struct checker {
  const struct options *options;
  const struct settings *settings;
  unsigned failed;
  enum fault_code code; /* of the failures when all have one */
  bool mixed;
  bool has_key; /* one that can be used */
};

/* ---- lines ---- */

static void
tell (const struct checker *c, enum state state, const char *check,
      enum fault_code code, const char *text)
{
  CLEANUP_FREE char *clean = output_clean (text);
  struct json j;

  if (!c->options->json) {
    if (!c->options->quiet || state == STATE_FAILED)
      printf ("%-8s %-13s %s\n", state_names[state], check, clean);
    fflush (stdout);
    return;
  }
  json_begin (&j, "check");
  json_string (&j, "check", check);
  json_string (&j, "state", state_names[state]);
  json_string (&j, "code", code != FAULT_NONE ? fault_name (code) : NULL);
  json_string (&j, "message", text);
  json_end (&j, stdout);
}

__attribute__ ((format (printf, 4, 5))) static void
note (const struct checker *c, enum state state, const char *check,
      const char *format, ...)
{
  CLEANUP_FREE char *text = NULL;
  va_list ap;

  va_start (ap, format);
  if (vasprintf (&text, format, ap) < 0)
    abort ();
  va_end (ap);
  tell (c, state, check, FAULT_NONE, text);
}

/* Tells F and forgets it. */
static void
fail (struct checker *c, const char *check, struct fault *f)
{
  if (c->failed > 0 && c->code != f->code)
    c->mixed = true;
  c->failed++;
  c->code = f->code;
  tell (c, STATE_FAILED, check, f->code, f->text);
  fault_reset (f);
}

/* ---- files ---- */

/* True when it can be used. */
static bool
check_key (struct checker *c)
{
  const char *path = c->settings->ssh.key_file;
  struct fault f = FAULT_INIT;
  CLEANUP_FREE char *text = NULL;

  if (settings_need_ssh (c->settings, &f) == 0)
    text = guarded_read (path, KEY_FILE_MAX, 077, NULL, &f);
  if (text != NULL && strstr (text, "PRIVATE KEY-----") == NULL)
    fault_set (&f, FAULT_CONF, 0,
               "%s: holds no private key in OpenSSH or PEM form", path);
  if (text != NULL)
    explicit_bzero (text, strlen (text));
  if (f.code == FAULT_NONE) {
    note (c, STATE_OK, "ssh key", "%s", path);
    return true;
  }
  if (f.code == FAULT_NOTFOUND) {
    f.code = FAULT_CONF;
    fault_append (&f,
                  "; make one: ssh-keygen -t ed25519 -N '' -f %s, and bring it "
                  "to each host: ssh-copy-id -i %s %s@HOST",
                  path, path, c->settings->ssh.user);
  }
  fail (c, "ssh key", &f);
  return false;
}

static bool
check_ca (struct checker *c)
{
  const char *path = c->settings->engine.ca_file;
  const char *url = c->settings->engine.url;
  struct fault f = FAULT_INIT;
  CLEANUP_FREE char *text = NULL;

  text = guarded_read (path, CA_FILE_MAX, 022, NULL, &f);
  if (text != NULL && strstr (text, "-----BEGIN CERTIFICATE-----") == NULL)
    fault_set (&f, FAULT_CONF, 0, "%s: holds no certificate in PEM form", path);
  if (f.code == FAULT_NONE) {
    note (c, STATE_OK, "ca file", "%s", path);
    return true;
  }
  if (f.code == FAULT_NOTFOUND || text != NULL) {
    f.code = FAULT_CONF;
    fault_append (&f,
                  "; fetch it: curl -ko %s '%s/services/pki-resource?"
                  "resource=ca-certificate&format=X509-PEM-CA' and compare its "
                  "fingerprint with the engine's own",
                  path, url != NULL ? url : "https://ENGINE/ovirt-engine");
  }
  fail (c, "ca file", &f);
  return false;
}

static bool
in_path (const char *program)
{
  const char *path = getenv ("PATH");

  while (path != NULL && *path != '\0') {
    size_t n = strcspn (path, ":");
    CLEANUP_FREE char *file = xasprintf ("%.*s/%s", (int)n, path, program);

    if (access (file, X_OK) == 0)
      return true;
    path += n + (path[n] == ':');
  }
  return false;
}

static void
check_programs (struct checker *c)
{
  if (in_path ("qemu-img"))
    note (c, STATE_OK, "qemu-img", "found");
  else
    note (c, STATE_WARNING, "qemu-img",
          "not found in PATH: verify can not decode increments; install "
          "qemu-utils");
}

/* Keys that are read, and what this version does not do with them. */
static void
check_use (struct checker *c)
{
  const struct settings *s = c->settings;
  const struct settings_retention *r = &s->retention;
  struct fault f = FAULT_INIT;

  if (s->snapshot.quiesce != SETTINGS_QUIESCE_AUTO) {
    fault_set (&f, FAULT_CONF, 0,
               "%s: snapshot.quiesce = \"require\" is not supported by this "
               "version; remove it",
               s->file);
    fail (c, "settings", &f);
  }
  if (r->last + r->daily + r->weekly + r->monthly + r->yearly > 0)
    note (c, STATE_WARNING, "settings",
          "retention: this version removes no points");
  if (s->transfer.lane_ports[0] != 0)
    note (c, STATE_WARNING, "settings",
          "transfer.lane_ports: this version uses SSH only");
}

/* ---- the repository ---- */

static void
check_absent (struct checker *c)
{
  struct fault f = FAULT_INIT;

  if (door_new_place (c->settings, &f) != 0)
    fail (c, "repository", &f);
  else
    note (c, STATE_WARNING, "repository",
          "%s: there is none yet; the first backup makes it",
          c->settings->repository);
}

static void
check_lock (struct checker *c, const struct place *place)
{
  CLEANUP (lease_drop) struct lease *lease = NULL;
  struct fault f = FAULT_INIT;

  if (lease_take (place, LEASE_REPOSITORY, "config-check", &lease, &f) == 0)
    note (c, STATE_OK, "locks", "work on %s", place_path (place));
  else if (f.code == FAULT_BUSY)
    note (c, STATE_OK, "locks", "work: %s", f.text);
  else
    fail (c, "locks", &f);
}

static void
check_space (struct checker *c, const struct place *place)
{
  struct fault f = FAULT_INIT;
  uint64_t bytes;
  char size[OUTPUT_WORD_SIZE];

  if (place_free_bytes (place, &bytes, &f) != 0) {
    fail (c, "free space", &f);
    return;
  }
  output_size (bytes, size);
  note (c, bytes < LITTLE_SPACE ? STATE_WARNING : STATE_OK, "free space",
        "%s on %s", size, place_path (place));
}

static void
check_repository (struct checker *c)
{
  CLEANUP (place_close) struct place *place = NULL;
  struct fault f = FAULT_INIT;
  struct stat st;

  if (door_place (c->settings, &place, &f) != 0) {
    if (f.code == FAULT_NOTFOUND)
      check_absent (c);
    else
      fail (c, "repository", &f);
    return;
  }
  if (fstat (place_dirfd (place), &st) == 0 && (st.st_mode & 077) != 0)
    note (c, STATE_WARNING, "repository",
          "%s: mode %04o; who can read it can read all disks: use chmod 0700",
          place_path (place), (unsigned)(st.st_mode & 07777));
  else
    note (c, STATE_OK, "repository", "%s, id %s", place_path (place),
          place_id (place));
  check_lock (c, place);
  check_space (c, place);
}

/* ---- the cluster ---- */

static void
check_domains (struct checker *c, const struct domain_list *domains)
{
  for (size_t i = 0; i < domains->count; i++) {
    const struct domain *d = &domains->items[i];

    if (strcmp (d->type, "data") != 0)
      continue;
    if (!domain_is_active (d))
      note (c, STATE_SKIPPED, "domain", "%s: its status is %s", d->name,
            d->status[0] != '\0' ? d->status : "unattached");
    else if (volgroup_refusal (d) != NULL)
      note (c, STATE_WARNING, "domain", "%s: %s: %s; its disks are left out",
            d->name, domain_kind_name (d->kind), volgroup_refusal (d));
    else
      note (c, STATE_OK, "domain", "%s: %s", d->name,
            domain_kind_name (d->kind));
  }
}

static void
check_vms (struct checker *c, const struct vm_list *vms)
{
  size_t disks = 0;

  for (size_t i = 0; i < vms->count; i++)
    disks += vms->items[i].disk_count;
  if (vms->count == 0)
    note (c, STATE_WARNING, "vms",
          "the engine shows none; does %s have a role on them?",
          c->settings->engine.user);
  else
    note (c, STATE_OK, "vms", "%zu with %zu disk%s", vms->count, disks,
          disks == 1 ? "" : "s");
}

static size_t
vms_elsewhere (const struct vm_list *vms, const struct cluster_list *clusters,
               const struct vm *guard)
{
  const char *center = cluster_center (clusters, guard->cluster_id);
  size_t count = 0;

  for (size_t i = 0; i < vms->count; i++)
    count
        += strcmp (cluster_center (clusters, vms->items[i].cluster_id), center)
           != 0;
  return count;
}

/* The VM that holds snapshots, and whom it can not serve. */
static void
check_guard (struct checker *c, const struct vm_list *vms,
             const struct cluster_list *clusters)
{
  struct fault f = FAULT_INIT;
  const struct vm *guard;
  size_t count;

  if (c->settings->snapshot.guard == SETTINGS_GUARD_NONE)
    return;
  guard = guard_find (c->settings, vms, &f);
  if (guard == NULL) {
    fail (c, "guard vm", &f);
    return;
  }
  count = vms_elsewhere (vms, clusters, guard);
  if (count > 0)
    note (c, STATE_WARNING, "guard vm",
          "%s: %zu VMs are in other data centers: their backup fails with "
          "this configuration",
          guard->name, count);
  else
    note (c, STATE_OK, "guard vm", "%s: down, without a disk of its own",
          guard->name);
}

/* Is D a block domain that HOST has to reach? */
static bool
is_block_of (const struct site *site, const struct domain *d,
             const struct host *host)
{
  return domain_is_block (d) && domain_is_active (d)
         && strcmp (d->type, "data") == 0 && volgroup_refusal (d) == NULL
         && strcmp (d->center_id,
                    cluster_center (site->clusters, host->cluster_id))
                == 0;
}

static bool
has_blocks (const struct site *site, const struct host *host)
{
  for (size_t i = 0; site->domains != NULL && i < site->domains->count; i++) {
    if (is_block_of (site, &site->domains->items[i], host))
      return true;
  }
  return false;
}

static int
look_at_domain (const struct site_lane *lane, const struct domain *d,
                struct fault *f)
{
  struct msg_look m = { .dir = "" };
  int rc = domain_dir (d, m.dir, f);

  if (rc == 0) {
    volgroup_fill (d, &m.group);
    rc = remote_look (lane->remote, &m, f);
    msg_look_reset (&m);
  }
  return rc < 0 ? fault_prefix (f, "domain %s", d->name) : 0;
}

/* Whether the host's LVM finds the block domains, whatever its configuration
   hides. */
static void
check_blocks (struct checker *c, const struct site *site,
              const struct host *host, const struct site_lane *lane)
{
  struct fault f = FAULT_INIT;
  unsigned good = 0;

  for (size_t i = 0; site->domains != NULL && i < site->domains->count; i++) {
    const struct domain *d = &site->domains->items[i];

    if (!is_block_of (site, d, host) || !remote_alive (lane->remote))
      continue;
    if (look_at_domain (lane, d, &f) == 0)
      good++;
    else
      fail (c, "lvm", &f);
  }
  if (good > 0)
    note (c, STATE_OK, "lvm", "%s: finds %u block domain%s", host->name, good,
          good == 1 ? "" : "s");
}

/* Only vdsm and who may become it read the volumes; only root activates the
   logical ones. */
static void
tell_host (struct checker *c, const struct site *site, const struct host *host,
           const struct site_lane *lane)
{
  const struct msg_welcome *w = remote_welcome (lane->remote);
  struct fault f = FAULT_INIT;

  if ((w->flags & MSG_WELCOME_ROOT) == 0 && has_blocks (site, host)) {
    fault_set (&f, FAULT_CONF, 0,
               "%s: the helper runs as uid %u and not as root, so it can not "
               "activate the volumes of iSCSI and FC domains; set ssh.sudo = "
               "true with sudoers.example, or ssh.user = \"root\"",
               host->name, w->uid);
    fail (c, "host", &f);
    return;
  }
  if ((w->flags & MSG_WELCOME_ROOT) != 0 || w->uid == VDSM_UID) {
    note (c, STATE_OK, "host", "%s: %s, helper runs as uid %u on Linux %s",
          host->name, conn_cipher (lane->conn), w->uid, w->kernel);
    check_blocks (c, site, host, lane);
    return;
  }
  fault_set (&f, FAULT_CONF, 0,
             "%s: the helper runs as uid %u and can not become vdsm, so no "
             "backup can read a disk; set ssh.sudo = true with the line for "
             "sudoers of chainlift-remote(8), or ssh.user = \"root\"",
             host->name, w->uid);
  fail (c, "host", &f);
}

static void
check_host (struct checker *c, struct site *site, const struct host *host)
{
  struct fault f = FAULT_INIT;
  struct site_lane lane;

  if (!host_is_up (host)) {
    note (c, STATE_SKIPPED, "host", "%s: its status is %s", host->name,
          host->status);
    return;
  }
  if (site_lane_open (site, host, &lane, &f) != 0) {
    fail (c, "host", &f);
    return;
  }
  tell_host (c, site, host, &lane);
  if (site_lane_stop (site, &lane, &f) != 0)
    fail (c, "host", &f);
}

static bool
knows_host (const struct host_list *hosts, const char *name)
{
  for (size_t i = 0; i < hosts->count; i++) {
    if (strcmp (hosts->items[i].name, name) == 0)
      return true;
  }
  return false;
}

/* A site without repository and journal: enough to talk to hosts. */
static int
check_hosts (struct checker *c, const struct host_list *hosts,
             struct cluster_list *clusters, struct domain_list *domains,
             struct fault *f)
{
  struct site site = { .settings = c->settings,
                       .clusters = clusters,
                       .domains = clusters != NULL ? domains : NULL,
                       .pool = pool_new (1) };
  int rc = 0;

  uuid_hex (site.run_id, sizeof site.run_id - 1);
  for (size_t i = 0; i < c->settings->host_count; i++) {
    if (!knows_host (hosts, c->settings->hosts[i].name))
      note (c, STATE_WARNING, "host",
            "%s: stands in hosts but the engine does not know it",
            c->settings->hosts[i].name);
  }
  for (size_t i = 0; rc == 0 && i < hosts->count; i++) {
    check_host (c, &site, &hosts->items[i]);
    rc = cancel_check (f);
  }
  pool_free (site.pool);
  return rc;
}

static int
check_inventory (struct checker *c, struct engine *engine, struct fault *f)
{
  CLEANUP (host_list_free) struct host_list *hosts = NULL;
  CLEANUP (domain_list_free) struct domain_list *domains = NULL;
  CLEANUP (vm_list_free) struct vm_list *vms = NULL;
  CLEANUP (cluster_list_free) struct cluster_list *clusters = NULL;
  struct fault own = FAULT_INIT;

  if (vm_list (engine, &vms, &own) != 0)
    fail (c, "vms", &own);
  else if (cluster_list (engine, &clusters, &own) != 0)
    fail (c, "vms", &own);
  else {
    check_vms (c, vms);
    check_guard (c, vms, clusters);
  }
  if (domain_list (engine, &domains, &own) != 0)
    fail (c, "domain", &own);
  else
    check_domains (c, domains);
  if (host_list (engine, &hosts, &own) != 0)
    fail (c, "host", &own);
  else if (!c->has_key)
    note (c, STATE_SKIPPED, "host", "needs the SSH key");
  else
    return check_hosts (c, hosts, clusters, domains, f);
  return cancel_check (f);
}

/* What a fault that was told already would only repeat is not tried. */
static int
check_engine (struct checker *c, bool ca, struct fault *f)
{
  CLEANUP (login_close) struct engine *engine = NULL;
  struct fault own = FAULT_INIT;

  if (!ca) {
    note (c, STATE_SKIPPED, "engine", "needs the CA file");
    return 0;
  }
  if (door_engine (c->settings, &engine, &own) != 0) {
    fail (c, "engine", &own);
    return cancel_check (f);
  }
  note (c, login_at_least (engine, 4, 2, 0) ? STATE_OK : STATE_WARNING,
        "engine", "%s: version %s%s", c->settings->engine.url,
        login_about (engine)->full_version,
        login_at_least (engine, 4, 2, 0) ? "" : "; at least 4.2 is expected");
  return check_inventory (c, engine, f);
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  CLEANUP (settings_free) struct settings *settings = NULL;
  struct checker c = { .options = options };
  bool ca;

  (void)args;
  if (door_settings (options, &settings, f) != 0)
    return -1;
  c.settings = settings;
  note (&c, STATE_OK, "settings", "%s", settings->file);
  check_use (&c);
  c.has_key = check_key (&c);
  ca = check_ca (&c);
  check_programs (&c);
  check_repository (&c);
  if (check_engine (&c, ca, f) != 0)
    return -1;
  if (c.failed == 0)
    return 0;
  return c.mixed ? 1 : (int)c.code;
}

const struct command cmd_config_check = {
  .name = "config-check",
  .usage = "",
  .summary = "try everything that a backup needs, with advice",
  .help = "Logs into the engine and into each host that is up, and starts the "
          "helper there.\nNothing is changed.  Exit status: 0, the status of "
          "the failures when all are of\none kind, else 1.\n",
  .run = run,
};
