/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "wire/group.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

bool
group_lun_valid (const char *id)
{
  size_t len = strlen (id);

  return len > 0 && len < GROUP_LUN_SIZE
         && strchr (LETTERS DIGITS, id[0]) != NULL
         && strspn (id, LETTERS DIGITS "._:+=@-") == len;
}

void
group_encode (const struct group_spec *g, struct buf *b)
{
  if (g->lun_count > GROUP_LUNS_MAX)
    b->bad = true;
  buf_put_u8 (b, g->version);
  buf_put_str (b, g->pool);
  buf_put_le32 (b, g->lun_count);
  for (uint32_t i = 0; !buf_bad (b) && i < g->lun_count; i++)
    buf_put_str (b, g->luns[i].id);
}

int
group_decode (struct buf *b, struct group_spec *g, const char **wrong,
              struct fault *f)
{
  *g = (struct group_spec){ .version = buf_get_u8 (b) };
  buf_get_str (b, g->pool, sizeof g->pool);
  g->lun_count = buf_get_le32 (b);
  if (g->version < GROUP_VERSION_MIN || g->version > GROUP_VERSION_MAX)
    *wrong = "version of the domain";
  else if (g->pool[0] != '\0' && !uuid_valid (g->pool))
    *wrong = "pool id";
  else if (g->lun_count == 0 || g->lun_count > GROUP_LUNS_MAX)
    *wrong = "LUN count";
  if (*wrong != NULL || buf_bad (b)) {
    g->lun_count = 0;
    return 0;
  }
  g->luns = try_calloc (g->lun_count, sizeof *g->luns, "LUNs of a message", f);
  if (g->luns == NULL)
    return -1;
  for (uint32_t i = 0; i < g->lun_count; i++) {
    buf_get_str (b, g->luns[i].id, sizeof g->luns[i].id);
    if (!group_lun_valid (g->luns[i].id))
      *wrong = "LUN id";
  }
  return 0;
}

void
group_reset (struct group_spec *g)
{
  free (g->luns);
  *g = (struct group_spec){ 0 };
}
