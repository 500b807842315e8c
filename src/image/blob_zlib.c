/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed clusters of type 0.  The only file that includes zlib.h. */
#include <config.h>

#include <string.h>

#include <zlib.h>

#include "base/fault.h"
#include "image/blob.h"

#define BLOB_WINDOW_BITS 12

int
blob_zlib (const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size,
           struct fault *f)
{
  z_stream z;
  int rc;

  memset (&z, 0, sizeof z);
  if (inflateInit2 (&z, -BLOB_WINDOW_BITS) != Z_OK)
    return fault_set (f, FAULT_INTERNAL, 0, "inflate: no memory");
  z.next_in = (Bytef *)(uintptr_t)in;
  z.avail_in = (uInt)in_size;
  z.next_out = out;
  z.avail_out = (uInt)out_size;
  rc = inflate (&z, Z_FINISH);
  inflateEnd (&z);
  /* Z_BUF_ERROR with a full output: the end marker lies in bytes that were
     not asked for. */
  if ((rc == Z_STREAM_END || rc == Z_BUF_ERROR) && z.avail_out == 0)
    return 0;
  if (rc == Z_STREAM_END || rc == Z_BUF_ERROR)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "deflate stream gives %zu bytes instead of %zu",
                      out_size - (size_t)z.avail_out, out_size);
  return fault_set (f, FAULT_CORRUPT, 0, "deflate stream is damaged");
}
