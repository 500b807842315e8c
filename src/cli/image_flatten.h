/* SPDX-License-Identifier: Apache-2.0 */
/* `chainlift image flatten`. */
#ifndef IMAGE_FLATTEN_H
#define IMAGE_FLATTEN_H

#include <stdbool.h>

struct fault;
struct image_open;

/* Write the disk that the complete chain of O shows as one stand-alone image:
   raw, or qcow2 of version 3 with clusters of 64 KiB.  OUT is a new file, a
   block device, or "-" for stdout.  A new file is removed when it fails. */
int image_flatten (struct image_open *o, const char *out, bool qcow2,
                   struct fault *f);

#endif /* IMAGE_FLATTEN_H */
