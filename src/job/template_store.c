/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "engine/domain.h"
#include "engine/login.h"
#include "engine/vm.h"
#include "host/remote.h"
#include "job/identity.h"
#include "job/layers.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/reap.h"
#include "job/site.h"
#include "job/stream.h"
#include "job/template_store.h"
#include "job/watch.h"
#include "repo/draft.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/reader.h"
#include "repo/template.h"
#include "repo/writer.h"

#define IDENTITY_MAX 4096
#define WAIT_STEP_MS 500
/* Longer than that a machine's snapshot does not wait for another run that
   stores the base. */
#define WAIT_MAX_MS (UINT64_C (2) * 3600 * 1000)

/* The work on one base. */
struct work {
  const struct template_store *t;
  const struct msg_layer *layer; /* of the template */
  struct msg_open_read open;     /* that one alone */
  struct msg_opened opened;
  char *identity;
  char *alias; /* for the progress */
};

/* --- identity --------------------------------------------------------- */

/* Not the inode, which a copy or another server may change, nor what the open
   volume was proven to be (id, type, legality). */
static bool
is_fact (const char *line, size_t size)
{
  static const char *const keys[]
      = { "image",    "parent", "format", "generation", "created",
          "capacity", "size",   "lv",     "head" };
  const char *blank = memchr (line, ' ', size);
  size_t key = blank == NULL ? size : (size_t)(blank - line);

  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    if (strlen (keys[i]) == key && memcmp (keys[i], line, key) == 0)
      return true;
  }
  return false;
}

char *
template_store_identity (const char *text, unsigned index)
{
  char prefix[32];
  size_t skip = (size_t)snprintf (prefix, sizeof prefix, "layer %u ", index);
  struct buf out;
  char *result;

  buf_init (&out, IDENTITY_MAX);
  while (*text != '\0') {
    size_t size = strcspn (text, "\n");

    if (strncmp (text, "domain ", 7) == 0)
      buf_put (&out, text, size);
    else if (strncmp (text, prefix, skip) == 0
             && is_fact (text + skip, size - skip)) {
      buf_put_u8 (&out, ' ');
      buf_put (&out, text + skip, size - skip);
    }
    text += size;
    text += *text == '\n';
  }
  result = xstrndup ((const char *)out.data, out.size);
  buf_reset (&out);
  return result;
}

/* The length of the "key value" at S, and of its key. */
static size_t
pair_size (const char *s, size_t *key)
{
  *key = strcspn (s, " ");
  return s[*key] == '\0' ? *key : *key + 1 + strcspn (s + *key + 1, " ");
}

void
template_store_differs (const char *stored, const char *now,
                        char out[static PLAN_REASON_MAX])
{
  size_t key;
  size_t was;
  size_t is;

  out[0] = '\0';
  while (*stored != '\0' || *now != '\0') {
    was = pair_size (stored, &key);
    is = pair_size (now, &key);
    if (was != is || memcmp (stored, now, is) != 0) {
      snprintf (out, PLAN_REASON_MAX,
                "its volume has %.*s, what is stored under that id has %.*s",
                is < 80 ? (int)is : 80, now, was < 80 ? (int)was : 80, stored);
      return;
    }
    stored += was + (stored[was] == ' ');
    now += is + (now[is] == ' ');
  }
}

int
template_store_check (const struct point *base, const struct msg_opened *opened,
                      struct fault *f)
{
  CLEANUP_FREE char *now
      = template_store_identity (opened->identity, opened->layer_count - 1);
  char why[PLAN_REASON_MAX];

  template_store_differs (template_disk (base)->identity, now, why);
  if (why[0] == '\0')
    return 0;
  return fault_set (f, FAULT_BUSY, 0,
                    "the template below it was changed meanwhile (%s): try "
                    "again",
                    why);
}

/* --- phases ----------------------------------------------------------- */

static void
enter (const struct work *w, enum phase phase)
{
  const struct observer *o = w->t->observer;

  if (o->phase != NULL)
    o->phase (o->opaque, w->t->vm->name, phase_name (phase), w->alias);
  log_debug ("vm %s: %s: %s", w->t->vm->name, phase_name (phase), w->alias);
  phase_stop (phase);
}

static int
open_volume (struct work *w, struct fault *f)
{
  const struct msg_open_read *all = &w->t->layers->open;
  struct site_lane *lane = &w->t->lanes[0];

  w->open = *all;
  w->open.flags = MSG_READ_SCAN_WRITERS;
  w->open.layer_count = 1;
  w->open.lower_count = 0;
  w->open.layers = &all->layers[all->layer_count - 1];
  w->layer = w->open.layers;
  w->alias = xasprintf ("%s (its template)", w->t->disk->disk->disk.alias);
  enter (w, PHASE_BASE);
  if (lane->remote == NULL
      && site_lane_open (w->t->site, *w->t->host, lane, f) < 0)
    return -1;
  if (reap_open_read (w->t->site, lane, w->t->vm->id, &w->open, &w->opened, f)
      < 0)
    return site_explain (w->t->site, *w->t->host, f);
  w->identity = template_store_identity (w->opened.identity, 0);
  return 0;
}

/* 1: *BASE is what is stored, or WHY says why that is of no use; 0: nothing is
   stored. */
static int
find (const struct work *w, struct point **base,
      char why[static PLAN_REASON_MAX], struct fault *f)
{
  const struct place *place = w->t->site->place;
  CLEANUP (point_free) struct point *found = NULL;
  CLEANUP (reader_close) struct reader *reader = NULL;
  struct fault now = FAULT_INIT;

  if (template_open (place, w->layer->volume, &found, &now) < 0
      && now.code == FAULT_NOTFOUND)
    return 0;
  if (now.code == FAULT_NONE
      && reader_open (place, found, template_disk (found)->id, &reader, &now)
             == 0) {
    template_store_differs (template_disk (found)->identity, w->identity, why);
    if (why[0] == '\0')
      *base = steal_ptr (&found);
    return 1;
  }
  if (now.code != FAULT_CORRUPT)
    return fault_copy (f, &now);
  snprintf (why, PLAN_REASON_MAX, "it is damaged: %.200s", now.text);
  return 1;
}

/* For another run, since when, and the last look at the host; stamp_mono_ms. */
struct waiting {
  uint64_t begin;
  uint64_t looked;
};

/* The lease of the base: 1; 0: another run stores it meanwhile, or (WHY is
   filled) cannot be waited for. */
static int
take_lease (const struct work *w, struct waiting *wait, struct lease **lease,
            char why[static PLAN_REASON_MAX], struct fault *f)
{
  const struct site *site = w->t->site;
  CLEANUP_FREE char *text = NULL;
  struct fault now = FAULT_INIT;
  uint64_t now_ms = stamp_mono_ms ();
  bool locked = false;

  if (lease_take (site->place, w->layer->volume, site->run_id, lease, &now)
      == 0)
    return 1;
  if (now.code != FAULT_BUSY)
    return fault_copy (f, &now);
  if (lease_holder (site->place, w->layer->volume, &text, &locked, f) < 0)
    return -1;
  /* Given back between the two looks: no text, and nobody has it. */
  if ((text != NULL && !locked) || now_ms - wait->begin > WAIT_MAX_MS) {
    snprintf (why, PLAN_REASON_MAX, "%.200s", now.text);
    return 0;
  }
  log_debug ("disk %s: another run stores the base of its template", w->alias);
  /* Its volume is open meanwhile. */
  if (now_ms - wait->looked > watch_pause_ms (site)) {
    wait->looked = now_ms;
    if (watch_look (w->t->site, *w->t->host, w->t->disk->domain, f) < 0)
      return -1;
  }
  for (unsigned i = 0; i < STREAM_LANES_MAX; i++) {
    if (w->t->lanes[i].remote != NULL
        && remote_ping (w->t->lanes[i].remote, f) < 0)
      return -1;
  }
  return cancel_sleep_ms (WAIT_STEP_MS, f);
}

static int
fill_manifest (const struct work *w, struct manifest *m, struct fault *f)
{
  const struct site *site = w->t->site;
  const struct domain *domain = w->t->disk->domain;
  const struct login_about *about = login_about (site->engine);
  struct manifest_disk *d = manifest_add_disk (m, f);

  if (d == NULL)
    return -1;
  memcpy (m->vm_id, w->layer->volume, UUID_SIZE);
  m->vm_name = xasprintf ("template %s", w->t->vm->template_id);
  manifest_set (&m->reason, "base of a template");
  m->consistency = MANIFEST_STOPPED;
  manifest_set (&m->engine_url, site->settings->engine.url);
  if (about->instance_id[0] != '\0')
    manifest_set (&m->engine_id, about->instance_id);
  memcpy (d->id, w->layer->owner, UUID_SIZE);
  d->format = w->layer->format == MSG_RAW ? MANIFEST_RAW : MANIFEST_COW;
  d->sparse = w->layer->format == MSG_COW;
  d->virtual_size = w->opened.virtual_size;
  d->provisioned_size = w->t->layers->sizes[w->t->layers->open.layer_count - 1];
  memcpy (d->storage_domain_id, domain->id, UUID_SIZE);
  manifest_set (&d->storage_domain_name, domain->name);
  memcpy (d->volume_id, w->layer->volume, UUID_SIZE);
  manifest_set (&d->identity, w->identity);
  return 0;
}

/* What was proven at the first look holds to the end. */
static int
check_again (const struct work *w, struct fault *f)
{
  CLEANUP_FREE char *now = NULL;
  char words[IDENTITY_WORDS_MAX];

  enter (w, PHASE_T1);
  if (remote_identify (w->t->lanes[0].remote, &now, f) < 0)
    return -1;
  if (strcmp (now, w->opened.identity) == 0)
    return 0;
  identity_differs (w->opened.identity, now, words);
  return fault_set (f, FAULT_BUSY, 0,
                    "its template was changed while it was read (%s): what was "
                    "read is discarded, try again",
                    words);
}

static int
read_volume (const struct work *w, struct draft *draft, struct fault *f)
{
  const struct template_store *t = w->t;
  struct observer_progress progress = {
    .vm_name = t->vm->name,
    .disk_id = w->layer->owner,
    .alias = w->alias,
    .virtual_size = w->opened.virtual_size,
  };
  struct remote_map map = { .span_count = 0 };
  struct stream stream = {
    .site = t->site,
    .host = *t->host,
    .domain = t->disk->domain,
    .vm_id = t->vm->id,
    .open = &w->open,
    .identity = w->opened.identity,
    .map = &map,
    .virtual_size = w->opened.virtual_size,
    .quota = t->quota,
    .observer = t->observer,
    .progress = &progress,
    .lanes = t->lanes,
    .lane_count = t->site->settings->transfer.streams,
  };
  struct writer_totals totals;
  int rc = -1;

  if (stream.lane_count > STREAM_LANES_MAX)
    stream.lane_count = STREAM_LANES_MAX;
  enter (w, PHASE_MAP);
  if (remote_map (t->lanes[0].remote, &map, f) == 0
      && place_check_room (t->site->place, map.data_bytes, f) == 0
      && draft_add_disk (draft, w->layer->owner, w->opened.virtual_size, NULL,
                         &stream.writer, f)
             == 0) {
    enter (w, PHASE_STREAM);
    rc = stream_run (&stream, f);
    *t->host = stream.host;
  }
  remote_map_reset (&map);
  if (rc < 0 || check_again (w, f) < 0
      || writer_finish (stream.writer, &totals, f) < 0)
    return -1;
  t->result->bytes_data += totals.data;
  t->result->bytes_wire += progress.bytes_wire;
  return 0;
}

static int
store (const struct work *w, const struct lease *lease, struct fault *f)
{
  const struct site *site = w->t->site;
  CLEANUP (manifest_free) struct manifest *m = manifest_new ();
  struct draft *draft = NULL;
  int rc = draft_begin_base (site->place, lease, site->run_id, &draft, f);

  if (rc == 0)
    rc = fill_manifest (w, m, f);
  if (rc == 0)
    rc = read_volume (w, draft, f);
  if (rc == 0) {
    phase_stop (PHASE_BASE);
    rc = draft_publish (draft, m, f);
    phase_stop (PHASE_BASE);
  }
  if (rc < 0 && draft != NULL)
    draft_abort (draft);
  draft_free (draft);
  return rc < 0 ? fault_prefix (f, "base of its template (volume %s)",
                                w->layer->volume)
                : 0;
}

/* Under its lease nobody else stores or removes it. */
static int
store_if_missing (const struct work *w, const struct lease *lease,
                  struct point **base, char why[static PLAN_REASON_MAX],
                  struct fault *f)
{
  int rc;

  if (template_recover (w->t->site->place, w->layer->volume, f) < 0)
    return -1;
  rc = find (w, base, why, f);
  if (rc != 0)
    return rc;
  if (store (w, lease, f) < 0)
    return -1;
  return find (w, base, why, f);
}

static int
find_or_store (const struct work *w, struct point **base,
               char why[static PLAN_REASON_MAX], struct fault *f)
{
  uint64_t now = stamp_mono_ms ();
  struct waiting wait = { .begin = now, .looked = now };

  for (;;) {
    CLEANUP (lease_drop) struct lease *lease = NULL;
    int rc = find (w, base, why, f);

    if (rc == 0)
      rc = take_lease (w, &wait, &lease, why, f);
    if (rc == 1 && lease != NULL)
      rc = store_if_missing (w, lease, base, why, f);
    if (rc < 0)
      return -1;
    if (*base != NULL || why[0] != '\0')
      return 0;
  }
}

int
template_store_get (const struct template_store *t, struct point **base,
                    char why[static PLAN_REASON_MAX], struct fault *f)
{
  struct work w = { .t = t };
  int rc;

  *base = NULL;
  why[0] = '\0';
  rc = open_volume (&w, f);
  if (rc == 0)
    rc = find_or_store (&w, base, why, f);
  if (rc == 0)
    rc = stream_close (t->site, t->lanes, STREAM_LANES_MAX, f);
  msg_opened_reset (&w.opened);
  free (w.identity);
  free (w.alias);
  if (rc < 0) {
    point_free (*base);
    *base = NULL;
  }
  return rc;
}
