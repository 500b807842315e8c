/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "wire/frame.h"
#include "wire/pack.h"

static const char *const names[256] = {
  [FRAME_HELLO] = "HELLO",
  [FRAME_PING] = "PING",
  [FRAME_BYE] = "BYE",
  [FRAME_REAP] = "REAP",
  [FRAME_LOOK] = "LOOK",
  [FRAME_OPEN_READ] = "OPEN_READ",
  [FRAME_MAP] = "MAP",
  [FRAME_READ] = "READ",
  [FRAME_IDENTIFY] = "IDENTIFY",
  [FRAME_CLOSE] = "CLOSE",
  [FRAME_OPEN_WRITE] = "OPEN_WRITE",
  [FRAME_TRUNCATE] = "TRUNCATE",
  [FRAME_FLUSH] = "FLUSH",
  [FRAME_CHECK] = "CHECK",
  [FRAME_SEAL] = "SEAL",
  [FRAME_DATA] = "DATA",
  [FRAME_ZERO] = "ZERO",
  [FRAME_WELCOME] = "WELCOME",
  [FRAME_PONG] = "PONG",
  [FRAME_FAULT] = "FAULT",
  [FRAME_REAPED] = "REAPED",
  [FRAME_LOOKED] = "LOOKED",
  [FRAME_OPENED] = "OPENED",
  [FRAME_MAPPED] = "MAPPED",
  [FRAME_READ_DONE] = "READ_DONE",
  [FRAME_IDENTITY] = "IDENTITY",
  [FRAME_CLOSED] = "CLOSED",
  [FRAME_WOPENED] = "WOPENED",
  [FRAME_WRITTEN] = "WRITTEN",
  [FRAME_TRUNCATED] = "TRUNCATED",
  [FRAME_FLUSHED] = "FLUSHED",
  [FRAME_DIGESTS] = "DIGESTS",
  [FRAME_SEALED] = "SEALED",
};

/* Where the fields stand. */
enum {
  AT_TYPE = 4,
  AT_CODING = 5,
  AT_ZERO = 6,
  AT_ID = 8,
  AT_RAW_LEN = 12,
  AT_PAYLOAD_LEN = 16,
  AT_OFFSET = 20,
  AT_CHECK = 28,
};

const char *
frame_name (unsigned type)
{
  return type < 256 && names[type] != NULL ? names[type] : "?";
}

size_t
frame_table_size (uint32_t raw_len)
{
  return (size_t)DIGEST_BLOCKS (raw_len) * DIGEST_SIZE;
}

size_t
frame_checked_size (const struct frame *fr)
{
  if (fr->type == FRAME_DATA)
    return frame_table_size (fr->raw_len);
  return fr->payload_len;
}

void
frame_encode (const struct frame *fr, const void *checked,
              uint8_t out[static FRAME_HEADER])
{
  put_le32 (out, FRAME_MAGIC);
  out[AT_TYPE] = fr->type;
  out[AT_CODING] = fr->coding;
  put_le16 (out + AT_ZERO, 0);
  put_le32 (out + AT_ID, fr->id);
  put_le32 (out + AT_RAW_LEN, fr->raw_len);
  put_le32 (out + AT_PAYLOAD_LEN, fr->payload_len);
  put_le64 (out + AT_OFFSET, fr->offset);
  put_le32 (out + AT_CHECK,
            digest_check (out, AT_CHECK, checked, frame_checked_size (fr)));
}

/* DATA and ZERO name a range of a disk that no arithmetic can overflow. */
static bool
range_is_sane (const struct frame *fr, uint32_t max)
{
  return fr->raw_len > 0 && fr->raw_len <= max && fr->offset % DIGEST_BLOCK == 0
         && fr->offset <= FRAME_OFFSET_MAX
         && fr->raw_len <= FRAME_OFFSET_MAX - fr->offset;
}

static bool
data_is_sane (const struct frame *fr)
{
  uint32_t coded;
  size_t table;

  if (!range_is_sane (fr, FRAME_RAW_MAX))
    return false;
  table = frame_table_size (fr->raw_len);
  if (fr->payload_len <= table)
    return false;
  coded = fr->payload_len - (uint32_t)table;
  if (fr->coding == FRAME_PLAIN)
    return coded == fr->raw_len;
  return fr->coding == FRAME_LZ4 && coded < fr->raw_len;
}

static bool
lengths_are_sane (const struct frame *fr)
{
  if (fr->type == FRAME_DATA)
    return data_is_sane (fr);
  if (fr->coding != FRAME_PLAIN)
    return false;
  if (fr->type == FRAME_ZERO)
    return range_is_sane (fr, FRAME_ZERO_MAX) && fr->payload_len == 0;
  return fr->raw_len == 0 && fr->offset == 0
         && fr->payload_len <= FRAME_CONTROL_MAX;
}

int
frame_decode (const uint8_t in[static FRAME_HEADER], struct frame *fr,
              struct fault *f)
{
  if (get_le32 (in) != FRAME_MAGIC)
    return fault_set (f, FAULT_PROTO, 0,
                      "frame begins with 0x%08" PRIx32 " instead of its magic",
                      get_le32 (in));
  fr->type = in[AT_TYPE];
  fr->coding = in[AT_CODING];
  fr->id = get_le32 (in + AT_ID);
  fr->raw_len = get_le32 (in + AT_RAW_LEN);
  fr->payload_len = get_le32 (in + AT_PAYLOAD_LEN);
  fr->offset = get_le64 (in + AT_OFFSET);
  fr->check = get_le32 (in + AT_CHECK);
  if (names[fr->type] == NULL)
    return fault_set (f, FAULT_PROTO, 0, "frame of unknown type %u", fr->type);
  if (get_le16 (in + AT_ZERO) != 0 || !lengths_are_sane (fr))
    return fault_set (f, FAULT_PROTO, 0,
                      "%s frame with coding %u, raw length %" PRIu32
                      ", payload length %" PRIu32 ", offset %" PRIu64
                      ": over a maximum or not matching",
                      names[fr->type], fr->coding, fr->raw_len, fr->payload_len,
                      fr->offset);
  return 0;
}

int
frame_verify (const uint8_t in[static FRAME_HEADER], const struct frame *fr,
              const void *checked, struct fault *f)
{
  uint32_t check
      = digest_check (in, AT_CHECK, checked, frame_checked_size (fr));

  if (check != fr->check)
    return fault_set (f, FAULT_PROTO, 0,
                      "%s frame %" PRIu32 " has the check 0x%08" PRIx32
                      ", its bytes give 0x%08" PRIx32,
                      frame_name (fr->type), fr->id, fr->check, check);
  return 0;
}

void
frame_put (struct buf *out, enum frame_type type, uint32_t id,
           const struct buf *payload)
{
  uint8_t head[FRAME_HEADER];
  struct frame fr = { .type = (uint8_t)type, .id = id };
  const void *data = NULL;

  if (payload != NULL) {
    if (buf_bad (payload) || payload->size > FRAME_CONTROL_MAX) {
      out->bad = true;
      return;
    }
    data = payload->data;
    fr.payload_len = (uint32_t)payload->size;
  }
  frame_encode (&fr, data, head);
  buf_put (out, head, sizeof head);
  if (fr.payload_len > 0)
    buf_put (out, data, fr.payload_len);
}

void
frame_put_zero (struct buf *out, uint32_t id, uint64_t offset, uint32_t length)
{
  uint8_t head[FRAME_HEADER];
  struct frame fr
      = { .type = FRAME_ZERO, .id = id, .raw_len = length, .offset = offset };

  frame_encode (&fr, NULL, head);
  buf_put (out, head, sizeof head);
}

size_t
frame_put_data (uint8_t out[static FRAME_HEADER + FRAME_TABLE_MAX], uint32_t id,
                uint64_t offset, const void *raw, uint32_t raw_len,
                const uint8_t *table, enum frame_coding coding,
                uint32_t coded_len)
{
  size_t table_size = frame_table_size (raw_len);
  struct frame fr = {
    .type = FRAME_DATA,
    .coding = (uint8_t)coding,
    .id = id,
    .raw_len = raw_len,
    .payload_len = (uint32_t)table_size + coded_len,
    .offset = offset,
  };

  assert (raw_len > 0 && raw_len <= FRAME_RAW_MAX);
  if (table != NULL)
    memcpy (out + FRAME_HEADER, table, table_size);
  else
    digest_table (raw, raw_len, out + FRAME_HEADER);
  frame_encode (&fr, out + FRAME_HEADER, out);
  return FRAME_HEADER + table_size;
}

int
frame_unpack (const struct frame *fr, const uint8_t *table, const void *coded,
              void *raw, struct fault *f)
{
  uint32_t coded_len
      = fr->payload_len - (uint32_t)frame_table_size (fr->raw_len);
  const uint8_t *p = raw;

  if (fr->coding == FRAME_LZ4) {
    if (pack_expand (coded, coded_len, raw, fr->raw_len, f) < 0)
      return fault_prefix (f, "DATA at %" PRIu64, fr->offset);
  }
  else if (coded != raw) {
    memcpy (raw, coded, fr->raw_len);
  }
  for (uint32_t at = 0; at < fr->raw_len; at += DIGEST_BLOCK) {
    uint32_t part = fr->raw_len - at;
    uint8_t digest[DIGEST_SIZE];

    if (part > DIGEST_BLOCK)
      part = DIGEST_BLOCK;
    digest_of (p + at, part, digest);
    if (!digest_equal (digest, table + at / DIGEST_BLOCK * DIGEST_SIZE))
      return fault_set (f, FAULT_CORRUPT, 0,
                        "DATA at %" PRIu64
                        ": the digest differs from that of the sender",
                        fr->offset + at);
  }
  return 0;
}
