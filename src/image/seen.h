/* SPDX-License-Identifier: Apache-2.0 */
/* Which clusters of a container an active tree has used: each cluster once,
   compressed clusters may share theirs with each other, but begin at different
   bytes and are together not longer than the container.  This is what bounds
   the output of a hostile image by the size of its container. */
#ifndef SEEN_H
#define SEEN_H

#include <stdint.h>

struct fault;
struct seen;

/* Pages of marks: 128 MiB, 512 Mi referenced clusters in the worst case. */
#define SEEN_PAGES_MAX 32768
/* Starts of compressed clusters that are remembered exactly (64 MiB). */
#define SEEN_STARTS_MAX (UINT64_C (1) << 22)

/* For a container of CLUSTERS clusters (at most QCOW2_CLUSTERS_MAX). */
struct seen *seen_new (uint64_t clusters, struct fault *f);
void seen_free (struct seen *s);

/* Mark COUNT clusters.  0, 1 when one of them was marked before, -1 with F
   when there is no room for the mark. */
int seen_plain (struct seen *s, uint64_t cluster, uint64_t count,
                struct fault *f);
/* Mark the clusters FIRST..LAST of a blob that begins at byte START.  0; 1: a
   plain cluster is among them; 2: another blob begins there; -1. */
int seen_packed (struct seen *s, uint64_t start, uint64_t first, uint64_t last,
                 struct fault *f);

#endif /* SEEN_H */
