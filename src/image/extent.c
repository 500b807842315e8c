/* SPDX-License-Identifier: Apache-2.0 */
/* Joining of adjacent extents. */
#include <config.h>

#include <stdbool.h>

#include "image/extent.h"

static bool
continues (const struct extent *a, const struct extent *b)
{
  if (a->kind != b->kind || a->start + a->length != b->start)
    return false;
  switch (a->kind) {
  case EXTENT_DATA:
    return a->layer == b->layer && a->host + a->length == b->host;
  case EXTENT_ZERO:
  case EXTENT_ABSENT:
    return a->layer == b->layer
           && (a->host == 0 ? b->host == 0 : a->host + a->length == b->host);
  case EXTENT_MIXED:
    return true;
  case EXTENT_PACKED:
    break;
  }
  return false;
}

int
extent_join (struct extent_joiner *j, const struct extent *e, struct fault *f)
{
  if (j->last.length != 0 && continues (&j->last, e)) {
    j->last.length += e->length;
    return 0;
  }
  if (extent_join_end (j, f) < 0)
    return -1;
  j->last = *e;
  return 0;
}

int
extent_join_end (struct extent_joiner *j, struct fault *f)
{
  struct extent e = j->last;

  if (e.length == 0)
    return 0;
  j->last.length = 0;
  return j->fn (&e, j->opaque, f);
}
