/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's view of the logical volumes that the guard keeps active: their
   descriptors, what LVM says of them, and vdsm's metadata in their slots. */
#ifndef HOLD_H
#define HOLD_H

#include <stddef.h>
#include <stdint.h>

#include "remote/lv.h"

struct buf;
struct fault;
struct guard;
struct hold;

#define HOLD_SLOT_SIZE 512

/* What a controller asks for, as the guard wants it; the volumes are added by
   the caller.  -1 when DIR is not /rhev/data-center/mnt/blockSD/SD. */
int hold_want (const char *dir, const struct group_spec *g, enum lv_mode mode,
               struct lv_want *out, struct fault *f);
/* Let the guard prove that the volumes of WANT (borrowed) are there. */
struct hold *hold_open (struct guard *g, const struct lv_want *want,
                        struct fault *f);
/* Let it activate and open all of them. */
int hold_activate (struct hold *h, struct fault *f);
/* The descriptor of volume INDEX, for the caller to close; once.  INDEX =
   count: one of the domain's metadata. */
int hold_take (struct hold *h, uint32_t index, struct fault *f);
/* Let LVM be asked again. */
int hold_list (struct hold *h, struct fault *f);
int hold_facts (struct hold *h, uint32_t index, struct lv_facts *out,
                struct fault *f);
/* The metadata of volume INDEX, as they are in their slot now. */
int hold_slot (struct hold *h, uint32_t index, char out[static HOLD_SLOT_SIZE],
               struct fault *f);
const char *hold_domain (const struct hold *h);
/* Let LVM be asked again (hold_list), and append the lines of the group. */
int hold_identify (struct hold *h, struct buf *out, struct fault *f);
/* Everything that was taken is closed: let the guard put it back.  *REPORT
   (may be NULL) is the caller's.  Frees H. */
int hold_close (struct hold *h, char **report, struct fault *f);
/* Let the guard put back what killed helpers left. */
int hold_reap (struct guard *g, char **report, struct fault *f);

/* Pure: where slot N of a domain begins. */
uint64_t hold_offset (unsigned version, uint64_t slot);

#endif /* HOLD_H */
