/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdlib.h>

#include "base/xmem.h"
#include "remote/cover.h"
#include "wire/digest.h"

#define BITS 64

int
cover_init (struct cover *c, uint64_t size, struct fault *f)
{
  c->words = try_calloc (DIGEST_BLOCKS (size) / BITS + 1, sizeof *c->words,
                         "map of written blocks", f);
  c->size = c->words == NULL ? 0 : size;
  return c->words == NULL ? -1 : 0;
}

void
cover_reset (struct cover *c)
{
  free (c->words);
  *c = (struct cover){ .size = 0 };
}

void
cover_add (struct cover *c, uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length;

  if (c->size == 0)
    return;
  for (uint64_t b = offset / DIGEST_BLOCK; b < DIGEST_BLOCKS (end); b++)
    __atomic_fetch_or (&c->words[b / BITS], UINT64_C (1) << (b % BITS),
                       __ATOMIC_RELAXED);
}

bool
cover_hole (const struct cover *c, uint64_t *offset)
{
  for (uint64_t b = 0; b < DIGEST_BLOCKS (c->size); b++) {
    if ((__atomic_load_n (&c->words[b / BITS], __ATOMIC_RELAXED)
         & UINT64_C (1) << (b % BITS))
        != 0)
      continue;
    *offset = b * DIGEST_BLOCK;
    return true;
  }
  return false;
}
