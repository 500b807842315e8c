/* SPDX-License-Identifier: Apache-2.0 */
/* vdsm's metadata of a volume: what the parser takes holds what the rest of
   the helper relies on. */
#include <config.h>

#include <assert.h>
#include <string.h>

#include "base/fault.h"
#include "base/uuid.h"
#include "remote/meta.h"
#include "remote/volume.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct msg_layer want = { .parent = UUID_BLANK,
                            .format = MSG_RAW,
                            .voltype = MSG_INTERNAL | MSG_SHARED,
                            .legality = MSG_LEGAL };
  struct fault f = FAULT_INIT;
  struct meta m;

  if (meta_parse ((const char *)data, size, &m, &f) < 0) {
    assert (f.code == FAULT_CORRUPT);
    return 0;
  }
  assert (size <= META_SIZE_MAX && m.capacity <= META_CAPACITY_MAX);
  assert (uuid_valid (m.domain) && uuid_valid (m.image)
          && uuid_valid (m.parent));
  assert (strlen (m.disktype) < META_DISKTYPE_SIZE);
  assert (strcmp (meta_voltype_name (m.voltype), "unknown") != 0);
  assert (strcmp (meta_legality_name (m.legality), "unknown") != 0);
  memcpy (want.image, m.image, UUID_SIZE);
  if (volume_check (&m, m.domain, &want, &f) == 0)
    assert (m.legality == META_LEGAL && m.voltype != META_LEAF && !m.cow
            && meta_is_data (&m));
  return 0;
}
