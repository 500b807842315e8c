/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: the first byte is the frame type, the rest the payload.  What is
   accepted must be said again in the very same bytes. */
#include <config.h>

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "wire/msg.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
nothing (void *m)
{
  (void)m;
}

#define AGAIN(type, name, reset)                                               \
  case type: {                                                                 \
    struct msg_##name m;                                                       \
                                                                               \
    ret = msg_##name##_decode (&in, &m, &f);                                   \
    if (ret == 0)                                                              \
      msg_##name##_encode (&m, &out);                                          \
    reset (&m);                                                                \
    break;                                                                     \
  }

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct fault f = FAULT_INIT;
  struct buf in;
  struct buf out;
  int ret = -1;

  if (size == 0 || size - 1 > FRAME_CONTROL_MAX)
    return 0;
  buf_view (&in, data + 1, size - 1);
  buf_init (&out, FRAME_CONTROL_MAX);
  switch (data[0]) {
    AGAIN (FRAME_HELLO, hello, nothing)
    AGAIN (FRAME_WELCOME, welcome, nothing)
    AGAIN (FRAME_FAULT, fault, nothing)
    AGAIN (FRAME_OPEN_READ, open_read, msg_open_read_reset)
    AGAIN (FRAME_OPENED, opened, msg_opened_reset)
    AGAIN (FRAME_MAP, map, nothing)
    AGAIN (FRAME_MAPPED, mapped, msg_mapped_reset)
    AGAIN (FRAME_READ, read, nothing)
    AGAIN (FRAME_READ_DONE, read_done, nothing)
    AGAIN (FRAME_IDENTITY, identity, msg_identity_reset)
    AGAIN (FRAME_OPEN_WRITE, open_write, msg_open_write_reset)
    AGAIN (FRAME_WOPENED, wopened, msg_wopened_reset)
    AGAIN (FRAME_WRITTEN, written, nothing)
    AGAIN (FRAME_TRUNCATE, truncate, nothing)
    AGAIN (FRAME_FLUSHED, flushed, nothing)
    AGAIN (FRAME_CHECK, check, nothing)
    AGAIN (FRAME_DIGESTS, digests, msg_digests_reset)
    AGAIN (FRAME_SEAL, seal, nothing)
    AGAIN (FRAME_SEALED, sealed, msg_sealed_reset)
    AGAIN (FRAME_LOOK, look, msg_look_reset)
    AGAIN (FRAME_CLOSED, report, msg_report_reset)
  default:
    break;
  }
  if (ret == 0) {
    assert (!buf_bad (&out) && out.size == size - 1);
    assert (out.size == 0 || memcmp (out.data, data + 1, out.size) == 0);
  }
  else if (in.bad || f.code != FAULT_NONE) {
    assert (f.code == FAULT_PROTO);
  }
  buf_reset (&out);
  return 0;
}
