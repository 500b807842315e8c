/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's device mapper, asked directly (linux/dm-ioctl.h): what is
   active, who has it open, and the one removal that LVM cannot do.  Devices
   are named by their UUID alone, which is that of the logical volume and never
   used again.  Needs root. */
#ifndef DM_H
#define DM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fault;

#define DM_ID_SIZE 129 /* of the kernel: 128 bytes and NUL */

struct dm {
  bool active; /* there is such a device; else the rest is 0 */
  bool suspended;
  bool read_only;
  int32_t open_count;
  dev_t dev;
  uint64_t size; /* bytes */
};

/* "LVM-" and both ids of LVM without their dashes. */
void dm_id (const char *vg_uuid, const char *lv_uuid,
            char out[static DM_ID_SIZE]);
int dm_status (const char *id, struct dm *out, struct fault *f);
/* Remove the mapping; FAULT_BUSY while it is open. */
int dm_remove (const char *id, struct fault *f);
/* Open the device for reading or, with WRITE, for both and with O_EXCL; always
   O_DIRECT.  It has that id, before and after the opening.  FAULT_NOTFOUND
   when it is not active any more. */
int dm_open (const char *id, bool write, struct fault *f);

#endif /* DM_H */
