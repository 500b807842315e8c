/* SPDX-License-Identifier: Apache-2.0 */
/* Restore points: their names, which there are, and how a user names one. */
#ifndef POINT_H
#define POINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/uuid.h"

/* 20261120T010000Z, or with -2 to -99 for another one in the same second; and
   the NUL. */
#define POINT_NAME_SIZE 20
#define POINT_SAME_SECOND_MAX 99
/* Points of one VM, and VMs, that a listing takes. */
#define POINT_COUNT_MAX 100000

struct fault;
struct manifest;
struct place;

/* A point whose manifest stands at its place. */
struct point {
  char vm_id[UUID_SIZE]; /* of a template's base: the volume's id */
  char name[POINT_NAME_SIZE];
  bool is_base;              /* a template's base: see template.h */
  struct manifest *manifest; /* NULL: it cannot be read, see damage */
  char *damage;              /* why, or NULL */
};

struct point_list {
  struct point *points;
  size_t count;
};

/* The only form of a point's name that is ever put into a path. */
bool point_name_valid (const char *name);
/* Like strcmp, in the order of time. */
int point_name_compare (const char *a, const char *b);

/* The published points, newest first within each VM, of one VM or (VM_ID NULL)
   of all, VMs in the order of their ids.  A VM without points is an empty
   list.  A point whose manifest is damaged is listed with its damage.  The
   caller frees with point_list_reset. */
int point_list (const struct place *p, const char *vm_id,
                struct point_list *out, struct fault *f);
void point_list_reset (struct point_list *list);

/* Find VM@WHEN.  VM: the id, or the exact name (the newest point of a VM that
   can be read says the name; when none matches, older points are asked).
   WHEN: "latest", "-N" (N points before the latest, -0 is the latest, -1 the
   one before), or a point's name.  FAULT_USAGE: malformed, or several VMs have
   this name (the text lists their ids); FAULT_NOTFOUND; FAULT_CORRUPT: that
   point is damaged, never an older one instead.  The caller frees *OUT. */
int point_find (const struct place *p, const char *text, struct point **out,
                struct fault *f);
/* F is why a file that a manifest names could not be opened: when it is not
   there, or a link or a folder is in its place, the point is damaged.  Makes
   that of F and returns -1. */
int point_damaged (struct fault *f);
/* The VMs that VM (id or exact name) means, as in point_find: its id. */
int point_find_vm (const struct place *p, const char *vm,
                   char vm_id[static UUID_SIZE], struct fault *f);
/* The point NAME of VM_ID. */
int point_open (const struct place *p, const char *vm_id, const char *name,
                struct point **out, struct fault *f);
/* The folder of a point, or of a template's base: a descriptor that the caller
   closes; FAULT_NOTFOUND when it is absent. */
int point_dir (const struct place *p, const struct point *point,
               struct fault *f);
void point_free (struct point *point);
CLEANUP_DEFINE (point_free, struct point);

#endif /* POINT_H */
