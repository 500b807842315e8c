/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of frames as the reader of either end takes it in.  Checks are
   computed but not obeyed, so that the decoder behind them is reached. */
#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "wire/frame.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
unpack (const struct frame *fr, const uint8_t *payload)
{
  size_t table = frame_table_size (fr->raw_len);
  uint8_t *raw = malloc (fr->raw_len);
  struct fault f = FAULT_INIT;

  assert (raw != NULL && fr->raw_len <= FRAME_RAW_MAX);
  if (frame_unpack (fr, payload, payload + table, raw, &f) < 0)
    assert (f.code == FAULT_PROTO || f.code == FAULT_CORRUPT);
  free (raw);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  while (size >= FRAME_HEADER) {
    struct fault f = FAULT_INIT;
    struct frame fr;
    uint8_t *payload;

    if (frame_decode (data, &fr, &f) < 0) {
      assert (f.code == FAULT_PROTO);
      return 0;
    }
    assert (fr.payload_len <= FRAME_PAYLOAD_MAX);
    assert (frame_checked_size (&fr) <= fr.payload_len);
    if (fr.payload_len > size - FRAME_HEADER)
      return 0;
    payload = malloc (fr.payload_len > 0 ? fr.payload_len : 1);
    assert (payload != NULL);
    memcpy (payload, data + FRAME_HEADER, fr.payload_len);
    frame_verify (data, &fr, payload, &f);
    if (fr.type == FRAME_DATA)
      unpack (&fr, payload);
    free (payload);
    data += FRAME_HEADER + fr.payload_len;
    size -= FRAME_HEADER + fr.payload_len;
  }
  return 0;
}
