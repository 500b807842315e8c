/* SPDX-License-Identifier: Apache-2.0 */
/* Objects in the engine that carry the mark of a repository that is lost.
   There is no lease and no journal to ask any more, so nothing is removed
   unless the administrator names each object, and nothing at all as long as
   one of them is locked, in use or young: then that repository may live. */
#ifndef ADOPT_H
#define ADOPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "job/verdict.h"

struct fault;
struct settings;

struct adopt_object {
  enum verdict_kind kind; /* snapshot, vm or disk */
  char *id;
  char *name;  /* description, VM name, alias */
  char *vm_id; /* of a snapshot, or NULL */
  char *vm_name;
  char *run_id;
  struct verdict_adopt facts;
  uint64_t size; /* bytes on storage as the engine says; 0: not known */
  bool named;    /* by the administrator */
  bool removed;
  const char *reason; /* why it may not be removed; "": it may */
};

typedef void (*adopt_fn) (const struct adopt_object *object, void *opaque);

struct adopt_options {
  const struct settings *settings;
  const char *repository_id;
  const char *const *ids; /* to be removed; each must be an object of it */
  size_t id_count;        /* 0: only list */
  adopt_fn fn;            /* told of each, in the end or when it is removed */
  void *opaque;
};

/* *COUNT: objects of that repository that are still there in the end.
   FAULT_USAGE: it is the present repository; FAULT_NOTFOUND: an id is none of
   its objects; FAULT_BUSY: ids were given and something forbids removing
   anything: which object and why was told to FN. */
int adopt_run (const struct adopt_options *options, unsigned *count,
               struct fault *f);

#endif /* ADOPT_H */
