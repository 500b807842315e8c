/* SPDX-License-Identifier: Apache-2.0 */
/* Which blocks of a volume were written.  A raw logical volume begins as
   somebody's old bytes: what nobody writes would be readable by the guest. */
#ifndef COVER_H
#define COVER_H

#include <stdbool.h>
#include <stdint.h>

struct fault;

struct cover {
  uint64_t size; /* bytes of the volume; 0: not kept */
  uint64_t *words;
};

/* Nothing of SIZE bytes is written. */
int cover_init (struct cover *c, uint64_t size, struct fault *f);
void cover_reset (struct cover *c);
/* [offset, offset + length), in whole blocks of DIGEST_BLOCK but at the end of
   the volume, is written.  Thread-safe. */
void cover_add (struct cover *c, uint64_t offset, uint64_t length);
/* Is there a block that is not?  Its offset. */
bool cover_hole (const struct cover *c, uint64_t *offset);

#endif /* COVER_H */
