/* SPDX-License-Identifier: Apache-2.0 */
/* Connections by host: no host gets more than a number at once, they are
   opened one after another (sshd's MaxStartups), and reused.  Thread-safe. */
#ifndef POOL_H
#define POOL_H

#include <stdbool.h>

struct conn;
struct conn_params;
struct fault;
struct pool;

/* PER_HOST: most connections to one host (by params.name), at least 1. */
struct pool *pool_new (unsigned per_host);
/* Closes idle connections; all must have been put back.  NULL is a no-op. */
void pool_free (struct pool *p);
/* Take an idle connection to params->name, or open one, or wait until another
   thread puts one back.  It is the caller's until pool_put. */
int pool_get (struct pool *p, const struct conn_params *params,
              struct conn **conn, struct fault *f);
/* Give it back; one that is not alive any more is closed. */
void pool_put (struct pool *p, struct conn *conn);
/* Close the idle connections to NAME. */
void pool_forget (struct pool *p, const char *name);

#endif /* POOL_H */
