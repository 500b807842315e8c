/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a duty: logical volumes that a helper activated, or that vdsm
   could not deactivate because of a helper, become inactive again, unless
   vdsm or somebody else has begun to use them meanwhile. */
#ifndef LVRELEASE_H
#define LVRELEASE_H

#include <stdbool.h>
#include <stddef.h>

#include "remote/lvm.h"
#include "remote/lvstate.h"

struct buf;

/* Is VOLUME of SD prepared on this host: does vdsm have a link to it in
   /run/vdsm/storage?  PATH is that link. */
bool lvrelease_linked (const char *sd, const char *volume, char *path,
                       size_t size);
/* Release the COUNT volumes V of SD, which nobody of us has open any more.
   What is settled becomes done, in V and in FILE; REPORT gets a line for each
   as chainlift-wire(7) has it.  True when all are done. */
bool lvrelease (struct lvm *l, const char *sd, const struct group_spec *g,
                struct lvstate_volume *v, size_t count,
                struct lvstate_file *file, struct buf *report);
/* Release what killed helpers left on this host. */
void lvrelease_reap (struct lvm *l, struct buf *report);

#endif /* LVRELEASE_H */
