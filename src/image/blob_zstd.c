/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed clusters of type 1.  The only file that includes zstd.h. */
#include <config.h>

#include <zstd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "image/blob.h"

/* 8 MiB, what RFC 8878 recommends every decoder to support; QEMU's own frames
   are far below. */
#define BLOB_WINDOW_LOG_MAX 23

static inline void
context_cleanup (ZSTD_DCtx **p)
{
  ZSTD_freeDCtx (*p);
}

int
blob_zstd (const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
           struct fault *f)
{
  CLEANUP (context) ZSTD_DCtx *d = ZSTD_createDCtx ();
  ZSTD_inBuffer input = { in, in_size, 0 };
  ZSTD_outBuffer output = { out, out_size, 0 };
  size_t rc;

  if (d == NULL
      || ZSTD_isError (
          ZSTD_DCtx_setParameter (d, ZSTD_d_windowLogMax, BLOB_WINDOW_LOG_MAX)))
    return fault_set (f, FAULT_INTERNAL, 0, "zstd: no memory");
  while (output.pos < output.size) {
    size_t in_before = input.pos;
    size_t out_before = output.pos;

    rc = ZSTD_decompressStream (d, &output, &input);
    if (ZSTD_isError (rc))
      return fault_set (f, FAULT_CORRUPT, 0, "zstd stream is damaged: %s",
                        ZSTD_getErrorName (rc));
    if (input.pos == in_before && output.pos == out_before)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "zstd stream gives %zu bytes instead of %zu",
                        output.pos, out_size);
  }
  return 0;
}
