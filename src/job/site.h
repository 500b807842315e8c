/* SPDX-License-Identifier: Apache-2.0 */
/* All that a job works on: the settings, the repository, the engine with its
   inventory, the connections to hosts, the journal of this run. */
#ifndef SITE_H
#define SITE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "job/tag.h"

struct cluster;
struct cluster_list;
struct conn;
struct domain;
struct domain_list;
struct engine;
struct fault;
struct host;
struct host_list;
struct journal;
struct place;
struct pool;
struct remote;
struct settings;
struct vm;
struct vm_list;

struct site {
  const struct settings *settings; /* borrowed */
  char run_id[TAG_RUN_SIZE];
  char tag[TAG_SIZE]; /* how descriptions of our objects begin */
  struct place *place;
  struct engine *engine;
  struct cluster_list *clusters;
  struct host_list *hosts;
  struct domain_list *domains;
  struct vm_list *vms;
  struct pool *pool;
  struct journal *journal;
  pthread_mutex_t lost_lock;
  struct site_lost {
    const struct host *host;
    unsigned intention;
    bool own; /* not just strays of other helpers */
  } * lost; /* under lost_lock: of lanes that did not end in order, see reap.h */
  size_t lost_count;
};

enum site_mode {
  SITE_MUST,   /* the repository is there */
  SITE_CREATE, /* it is made when it is not */
  SITE_MAYBE,  /* PLACE and JOURNAL are NULL when it is not: for looking only */
};

/* Open the repository, log into the engine and read its inventory. */
int site_open (const struct settings *settings, enum site_mode mode,
               struct site **site, struct fault *f);
/* Only log in; the caller closes *ENGINE with login_close. */
int site_login (const struct settings *settings, const char *run_id,
                struct engine **engine, struct fault *f);
/* Log out, close everything; a journal without open intentions is removed. */
void site_close (struct site *site);
CLEANUP_DEFINE (site_close, struct site);

/* A host of the inventory; NULL when the engine does not have it any more. */
const struct host *site_host (const struct site *site, const char *id);
/* Objects of the inventory, by id; or by id or exact name (the first, *COUNT
   says how many there are).  NULL when there is none. */
const struct cluster *site_cluster (const struct site *site, const char *key,
                                    size_t *count);
const struct domain *site_domain (const struct site *site, const char *key,
                                  size_t *count);
const struct vm *site_vm (const struct site *site, const char *key,
                          size_t *count);

/* A connection to HOST from the pool (give it back with pool_put), its key
   pinned to what the engine says. */
int site_connect (struct site *site, const struct host *host,
                  struct conn **conn, struct fault *f);

/* A connection to HOST with a helper that has said hello, and has put back the
   logical volumes that killed ones left there.  Takes the connection from the
   pool; PHASE_STOP of the helper as the test hook says. */
struct site_lane {
  struct conn *conn;
  struct remote *remote;
  const struct host *host;
  unsigned intention; /* of the journal: it activates logical volumes; 0: not */
  bool left;          /* one of its own is still active */
  bool stray;         /* one of another, killed helper is */
};
int site_lane_open (struct site *site, const struct host *host,
                    struct site_lane *lane, struct fault *f);
/* Add the next step to F, with which a helper on HOST has refused to open a
   volume; -1. */
int site_explain (const struct site *site, const struct host *host,
                  struct fault *f);
/* End the helper in an orderly way and give the connection back. */
int site_lane_stop (struct site *site, struct site_lane *lane, struct fault *f);
/* The same on a host that is left, which may hang: not for longer than a minute. */
int site_lane_leave (struct site *site, struct site_lane *lane,
                     struct fault *f);
/* Let it go, whatever state it is in. */
void site_lane_drop (struct site *site, struct site_lane *lane);

#endif /* SITE_H */
