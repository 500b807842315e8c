/* SPDX-License-Identifier: Apache-2.0 */
/* A frame: 32 bytes of header, then payload_len bytes.  All numbers are
   little-endian.  chainlift-wire(7) shows each byte.

      0 u32 magic       0x31464c43, the bytes "CLF1"
      4 u8  type        enum frame_type
      5 u8  coding      enum frame_coding, of DATA; else 0
      6 u16 zero
      8 u32 id          the request that this belongs to; 0 = the session
     12 u32 raw_len     DATA: bytes after decoding; ZERO: length; else 0
     16 u32 payload_len bytes that follow the header
     20 u64 offset      DATA and ZERO: where; else 0
     28 u32 check       low 32 bits of XXH3-64 over the checked part of the
                        payload, seeded with XXH3-64 over bytes 0-27

   The payload of DATA is a table of DIGEST_SIZE bytes for each DIGEST_BLOCK
   of raw bytes, then the coded bytes; the checked part is the table alone (the
   digests prove the rest).  The payload of every other frame is one message
   (msg.h) and wholly checked.  An offset of DATA is a multiple of
   DIGEST_BLOCK, and so is raw_len except at the end of a disk. */
#ifndef FRAME_H
#define FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "wire/digest.h"

struct buf;
struct fault;

#define FRAME_MAGIC 0x31464c43u
#define FRAME_HEADER 32u
#define FRAME_RAW_MAX (1024u * 1024) /* raw bytes of a DATA frame */
#define FRAME_TABLE_MAX (FRAME_RAW_MAX / DIGEST_BLOCK * DIGEST_SIZE)
#define FRAME_ZERO_MAX (64u * 1024 * 1024)    /* length of a ZERO frame */
#define FRAME_CONTROL_MAX (256u * 1024)       /* payload of a message */
#define FRAME_OFFSET_MAX (UINT64_C (1) << 60) /* end of any range */
#define FRAME_PAYLOAD_MAX (FRAME_TABLE_MAX + FRAME_RAW_MAX)

enum frame_type {
  /* controller to helper */
  FRAME_HELLO = 1,
  FRAME_PING = 2,
  FRAME_BYE = 3,
  FRAME_REAP = 4,
  FRAME_LOOK = 5,
  FRAME_OPEN_READ = 16,
  FRAME_MAP = 17,
  FRAME_READ = 18,
  FRAME_IDENTIFY = 19,
  FRAME_CLOSE = 20,
  FRAME_OPEN_WRITE = 32,
  FRAME_TRUNCATE = 33,
  FRAME_FLUSH = 34,
  FRAME_CHECK = 35,
  FRAME_SEAL = 36,
  /* both ways */
  FRAME_DATA = 64,
  FRAME_ZERO = 65,
  /* helper to controller */
  FRAME_WELCOME = 129,
  FRAME_PONG = 130,
  FRAME_FAULT = 131,
  FRAME_REAPED = 132,
  FRAME_LOOKED = 133,
  FRAME_OPENED = 144,
  FRAME_MAPPED = 145,
  FRAME_READ_DONE = 146,
  FRAME_IDENTITY = 147,
  FRAME_CLOSED = 148,
  FRAME_WOPENED = 160,
  FRAME_WRITTEN = 161,
  FRAME_TRUNCATED = 162,
  FRAME_FLUSHED = 163,
  FRAME_DIGESTS = 164,
  FRAME_SEALED = 165,
};

enum frame_coding {
  FRAME_PLAIN = 0,
  FRAME_LZ4 = 1, /* one LZ4 block, shorter than raw_len */
};

struct frame {
  uint8_t type;
  uint8_t coding;
  uint32_t id;
  uint32_t raw_len;
  uint32_t payload_len;
  uint64_t offset;
  uint32_t check;
};

/* "READ_DONE" for messages; "?" for an unknown type. */
const char *frame_name (unsigned type);

/* Write the header of F, whose other members are set, to OUT.  CHECKED is the
   part of the payload that the check covers (frame_checked_size bytes). */
void frame_encode (const struct frame *fr, const void *checked,
                   uint8_t out[static FRAME_HEADER]);

/* Read a header.  -1 with FAULT_PROTO on wrong magic, unknown type or coding,
   a number over its maximum, lengths that do not belong together, an offset
   that overflows.  After 0 payload_len may be read into a buffer of
   FRAME_PAYLOAD_MAX bytes.  Who may send what is the reader's to decide. */
int frame_decode (const uint8_t in[static FRAME_HEADER], struct frame *fr,
                  struct fault *f);

/* Compare the check of the header IN with the checked part of its payload. */
int frame_verify (const uint8_t in[static FRAME_HEADER], const struct frame *fr,
                  const void *checked, struct fault *f);

/* Bytes of the digest table of a DATA frame with RAW_LEN bytes. */
size_t frame_table_size (uint32_t raw_len);
/* Bytes at the front of the payload that the check covers. */
size_t frame_checked_size (const struct frame *fr);

/* Append a whole control frame, header and PAYLOAD (NULL: none), to OUT; a
   payload over FRAME_CONTROL_MAX or a buffer that went bad makes OUT bad. */
void frame_put (struct buf *out, enum frame_type type, uint32_t id,
                const struct buf *payload);
/* Append a ZERO frame. */
void frame_put_zero (struct buf *out, uint32_t id, uint64_t offset,
                     uint32_t length);
/* Header and table of a DATA frame, to be followed on the wire by CODED_LEN
   coded bytes: writes FRAME_HEADER + frame_table_size (RAW_LEN) bytes to OUT
   and returns that count.  The table is computed from RAW unless TABLE is
   given. */
size_t frame_put_data (uint8_t out[static FRAME_HEADER + FRAME_TABLE_MAX],
                       uint32_t id, uint64_t offset, const void *raw,
                       uint32_t raw_len, const uint8_t *table,
                       enum frame_coding coding, uint32_t coded_len);

/* Decode the coded bytes of the DATA frame FR into RAW (raw_len bytes; may be
   CODED itself when the coding is plain: then nothing is copied) and compare
   every digest of TABLE.  -1 with FAULT_PROTO or FAULT_CORRUPT. */
int frame_unpack (const struct frame *fr, const uint8_t *table,
                  const void *coded, void *raw, struct fault *f);

#endif /* FRAME_H */
