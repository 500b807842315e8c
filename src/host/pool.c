/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "host/conn.h"
#include "host/pool.h"

enum {
  SLICE_MS = 200,
};

/* A connection that nobody uses now. */
struct idle {
  struct conn *conn;
  struct idle *next;
};

struct slot {
  char *name;
  unsigned taken; /* open or being opened, and not idle */
  struct idle *idle;
  bool opening; /* one at a time */
  struct slot *next;
};

struct pool {
  unsigned per_host;
  pthread_mutex_t lock; /* of all below */
  pthread_cond_t changed;
  struct slot *slots;
};

struct pool *
pool_new (unsigned per_host)
{
  struct pool *p = xcalloc (1, sizeof *p);

  p->per_host = per_host > 0 ? per_host : 1;
  pthread_mutex_init (&p->lock, NULL);
  pthread_cond_init (&p->changed, NULL);
  return p;
}

/* The idle connections of S as a list of its own. */
static struct idle *
empty_locked (struct slot *s)
{
  struct idle *list = s->idle;

  s->idle = NULL;
  return list;
}

static void
close_all (struct idle *list)
{
  while (list != NULL) {
    struct idle *next = list->next;

    conn_close (list->conn);
    free (list);
    list = next;
  }
}

void
pool_free (struct pool *p)
{
  if (p == NULL)
    return;
  while (p->slots != NULL) {
    struct slot *s = p->slots;

    p->slots = s->next;
    close_all (empty_locked (s));
    free (s->name);
    free (s);
  }
  pthread_cond_destroy (&p->changed);
  pthread_mutex_destroy (&p->lock);
  free (p);
}

static struct slot *
find_locked (struct pool *p, const char *name)
{
  struct slot *s = p->slots;

  while (s != NULL && strcmp (s->name, name) != 0)
    s = s->next;
  if (s == NULL) {
    s = xcalloc (1, sizeof *s);
    s->name = xstrdup (name);
    s->next = p->slots;
    p->slots = s;
  }
  return s;
}

static void
wait_locked (struct pool *p)
{
  struct timespec end;

  clock_gettime (CLOCK_REALTIME, &end);
  end.tv_nsec += SLICE_MS * 1000000L;
  if (end.tv_nsec >= 1000000000L) {
    end.tv_nsec -= 1000000000L;
    end.tv_sec++;
  }
  pthread_cond_timedwait (&p->changed, &p->lock, &end);
}

/* An idle connection of S, or NULL once the caller may open one. */
static int
reserve_locked (struct pool *p, struct slot *s, struct conn **conn,
                struct fault *f)
{
  for (;;) {
    struct idle *i = s->idle;

    if (cancel_check (f) < 0)
      return -1;
    if (i != NULL) {
      s->idle = i->next;
      s->taken++;
      *conn = i->conn;
      free (i);
      return 0;
    }
    if (s->taken < p->per_host && !s->opening) {
      s->taken++;
      s->opening = true;
      *conn = NULL;
      return 0;
    }
    wait_locked (p);
  }
}

int
pool_get (struct pool *p, const struct conn_params *params, struct conn **conn,
          struct fault *f)
{
  struct slot *s;
  int ret;

  for (;;) {
    struct conn *c = NULL;

    {
      SCOPED_LOCK (&p->lock);

      s = find_locked (p, params->name);
      if (reserve_locked (p, s, &c, f) < 0)
        return -1;
    }
    if (c == NULL)
      break;
    if (conn_idle_alive (c)) {
      *conn = c;
      return 0;
    }
    conn_kill (c);
    pool_put (p, c);
  }
  ret = conn_open (params, conn, f);
  {
    SCOPED_LOCK (&p->lock);

    s->opening = false;
    if (ret < 0)
      s->taken--;
    pthread_cond_broadcast (&p->changed);
  }
  return ret;
}

void
pool_put (struct pool *p, struct conn *conn)
{
  bool keep;

  if (conn == NULL)
    return;
  keep = conn_alive (conn);
  {
    SCOPED_LOCK (&p->lock);
    struct slot *s = find_locked (p, conn_name (conn));

    s->taken--;
    if (keep) {
      struct idle *i = xcalloc (1, sizeof *i);

      i->conn = conn;
      i->next = s->idle;
      s->idle = i;
    }
    pthread_cond_broadcast (&p->changed);
  }
  if (!keep)
    conn_close (conn);
}

void
pool_forget (struct pool *p, const char *name)
{
  struct idle *list;

  {
    SCOPED_LOCK (&p->lock);

    list = empty_locked (find_locked (p, name));
  }
  close_all (list);
}
