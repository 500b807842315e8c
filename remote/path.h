/* SPDX-License-Identifier: Apache-2.0 */
/* From ids to descriptors: the only way to a volume of a file domain.  A path
   is never taken from an image or a metadata file; the domain's directory
   comes from the controller in one of vdsm's forms, and below it everything is
   a UUID. */
#ifndef PATH_H
#define PATH_H

#include "base/uuid.h"

struct fault;

#define PATH_TOP "/rhev/data-center"
#define PATH_PARTS_MAX 4
#define PATH_SIZE_MAX 4096

/* A domain's directory, taken apart below PATH_TOP:
     mnt/<escaped>/SD   mnt/glusterSD/<escaped>/SD   SP/SD */
struct path_domain {
  const char *parts[PATH_PARTS_MAX]; /* point into copy */
  int count;
  char copy[PATH_SIZE_MAX];
};

/* Take PATH apart; anything but the three forms is FAULT_PROTO. */
int path_parse (const char *path, struct path_domain *out, struct fault *f);
/* The domain's UUID. */
const char *path_domain_id (const struct path_domain *d);
/* Open the domain's directory (O_PATH).  Links are crossed only where vdsm
   makes them (the mount of a local domain, SP/SD) and only when they belong to
   root or vdsm. */
int path_open_domain (const struct path_domain *d, struct fault *f);
/* Open images/IMAGE below DOMAIN_FD; no link is followed. */
int path_open_image (int domain_fd, const char *image, struct fault *f);

#endif /* PATH_H */
