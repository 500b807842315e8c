/* SPDX-License-Identifier: Apache-2.0 */
/* What the controller knows of a block domain beside its id: the part of
   OPEN_READ and OPEN_WRITE that stands there when their kind is MSG_BLOCK.  The
   volume group has the name of the domain, the last part of the directory. */
#ifndef GROUP_H
#define GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"

struct buf;
struct fault;

#define GROUP_LUNS_MAX 128
#define GROUP_LUN_SIZE 128 /* with the NUL */
#define GROUP_VERSION_MIN 3
#define GROUP_VERSION_MAX 5

/* The engine's logical_unit id, which multipath gives its device as name. */
struct group_lun {
  char id[GROUP_LUN_SIZE];
};

struct group_spec {
  uint8_t version;      /* of the domain's format: where metadata slots are */
  char pool[UUID_SIZE]; /* id of the data center; "" = do not compare */
  uint32_t lun_count;   /* 1 to GROUP_LUNS_MAX: all of the domain */
  struct group_lun *luns;
};

void group_encode (const struct group_spec *g, struct buf *b);
/* Read into G, which group_reset frees, also after a failure.  WRONG is set to
   the name of the first member that is out of its range; -1 when there is no
   memory. */
int group_decode (struct buf *b, struct group_spec *g, const char **wrong,
                  struct fault *f);
void group_reset (struct group_spec *g);
/* May ID be the name of a device in /dev/mapper that we put into a
   configuration of LVM: letters, digits and . _ : + = @ - alone, the first a
   letter or digit? */
bool group_lun_valid (const char *id);

#endif /* GROUP_H */
