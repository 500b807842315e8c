/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a point.  The first byte chooses: 's' the header of a sum file,
   'r' a manifest as it is, else the lines of a manifest, to which first line
   and end line with the right digest are added, so that the parser behind them
   is reached.  What is accepted must come back the same. */
#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "repo/lines.h"
#include "repo/manifest.h"
#include "repo/sum.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
one_sum (const uint8_t *data, size_t size)
{
  uint8_t header[SUM_HEADER_SIZE] = { 0 };
  uint8_t again[SUM_HEADER_SIZE];
  struct sum_header h;

  memcpy (header, data, size < 48 ? size : 48);
  digest_bytes (header, 48, header + 48);
  if (sum_header_decode (header, &h, NULL) < 0)
    return;
  sum_header_encode (&h, again);
  assert (memcmp (header, again, sizeof again) == 0);
}

static void
one_manifest (const void *text, size_t size)
{
  struct manifest *m = NULL;
  struct manifest *back = NULL;
  char *first;
  char *second;
  size_t first_size;
  size_t second_size;

  if (manifest_parse (text, size, &m, NULL) < 0)
    return;
  first = manifest_format (m, &first_size, NULL);
  assert (first != NULL);
  assert (manifest_parse (first, first_size, &back, NULL) == 0);
  second = manifest_format (back, &second_size, NULL);
  assert (second != NULL && first_size == second_size
          && memcmp (first, second, first_size) == 0);
  free (first);
  free (second);
  manifest_free (m);
  manifest_free (back);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct buf b;

  if (size == 0)
    return 0;
  switch (data[0]) {
  case 's':
    one_sum (data + 1, size - 1);
    break;
  case 'r':
    one_manifest (data + 1, size - 1);
    break;
  default:
    buf_init (&b, MANIFEST_MAX);
    lines_begin (&b, "chainlift-manifest 1");
    buf_put (&b, data + 1, size - 1);
    lines_end (&b);
    if (!buf_bad (&b))
      one_manifest (b.data, b.size);
    buf_reset (&b);
  }
  return 0;
}
