/* SPDX-License-Identifier: Apache-2.0 */
/* `chainlift image map`. */
#ifndef IMAGE_MAP_H
#define IMAGE_MAP_H

#include <stdbool.h>

struct chain;
struct fault;

/* Print the map of the chain (an incomplete one: of its layers alone) on
   stdout, as a table or as the array of `qemu-img map --output=json`. */
int image_map (struct chain *c, bool json, struct fault *f);

#endif /* IMAGE_MAP_H */
