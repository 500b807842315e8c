/* SPDX-License-Identifier: Apache-2.0 */
/* `chainlift image check`. */
#ifndef IMAGE_CHECK_H
#define IMAGE_CHECK_H

#include <stdbool.h>

struct fault;

/* Check the qcow2 image PATH and print what it is, with the problems.  0 when
   it is sound (leaked clusters are only told), else -1. */
int image_check (const char *path, bool json, struct fault *f);

#endif /* IMAGE_CHECK_H */
