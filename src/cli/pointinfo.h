/* SPDX-License-Identifier: Apache-2.0 */
/* A restore point in words and in JSON, for points, show and verify. */
#ifndef POINTINFO_H
#define POINTINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json;
struct manifest;
struct manifest_disk;
struct point;
struct point_list;

/* VM-NAME@POINT, or VM-ID@POINT when the name is not known.  The caller frees
   it. */
char *pointinfo_name (const struct point *p);
/* UNIX seconds of its date; 0 when its name is not one. */
int64_t pointinfo_time (const struct point *p);
/* In words: full, increment, or differential as the reason says. */
const char *pointinfo_kind (const struct manifest *m);
const char *pointinfo_disk_kind (const struct manifest_disk *d);
struct pointinfo_totals {
  uint64_t virtual_size; /* of all disks */
  uint64_t data;         /* guest bytes stored in this point */
  uint64_t stored;       /* size of its files */
};
void pointinfo_totals (const struct point *p, struct pointinfo_totals *out);
/* What "point" objects begin with. */
void pointinfo_json (struct json *j, const struct point *p);
/* By name of the VM, then as the list was (newest first). */
void pointinfo_sort (struct point_list *list);

#endif /* POINTINFO_H */
