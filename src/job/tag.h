/* SPDX-License-Identifier: Apache-2.0 */
/* The mark at the beginning of the description of every object that we make in
   the engine: chainlift:REPOSITORY-ID:RUN-ID, then a blank and words for the
   reader. */
#ifndef TAG_H
#define TAG_H

#include <stdbool.h>

#include "base/uuid.h"

#define TAG_PREFIX "chainlift:"
#define TAG_RUN_SIZE 13 /* twelve hexadecimal digits and the NUL */
#define TAG_SIZE 80     /* the mark and the NUL */

void tag_format (char out[static TAG_SIZE], const char *repository,
                 const char *run);
/* False when DESCRIPTION does not begin with a mark. */
bool tag_parse (const char *description, char repository[static UUID_SIZE],
                char run[static TAG_RUN_SIZE]);

#endif /* TAG_H */
