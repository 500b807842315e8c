/* SPDX-License-Identifier: Apache-2.0 */
/* The files stay: to remove one that another process has just opened would let
   two have the same slot. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fdio.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "repo/place.h"
#include "repo/slot.h"

struct slot {
  int fd;
};

int
slot_take (const struct place *p, const char *kind, const char *id,
           unsigned limit, struct slot **out, struct fault *f)
{
  *out = NULL;
  if (!uuid_valid (id))
    return fault_set (f, FAULT_INTERNAL, 0, "\"%s\" is no id of a slot", id);
  for (unsigned i = 1; i <= limit; i++) {
    CLEANUP_FREE char *name = xasprintf ("%s.%s.%u", kind, id, i);
    CLEANUP_CLOSE int fd
        = openat (place_folder_fd (p, PLACE_LEASES), name,
                  O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    int rc = fd < 0 ? -1 : fdio_lock (fd, 0, 0);

    if (rc < 0)
      return fault_set (f, FAULT_IO, errno, "repository %s: lock leases/%s",
                        place_path (p), name);
    if (rc == 0)
      continue;
    *out = xmalloc (sizeof **out);
    (*out)->fd = steal_fd (&fd);
    return 1;
  }
  return 0;
}

void
slot_drop (struct slot *s)
{
  if (s == NULL)
    return;
  close (s->fd);
  free (s);
}
