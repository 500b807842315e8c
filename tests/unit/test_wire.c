/* SPDX-License-Identifier: Apache-2.0 */
/* Digest, compression and frames.  The expected digests come from xxhsum
   -H2 over the same bytes. */
#include <config.h>

#include <stdlib.h>

#include "base/buf.h"
#include "base/fault.h"
#include "tests/unit/unit.h"
#include "wire/digest.h"
#include "wire/frame.h"
#include "wire/pack.h"

static uint8_t block[FRAME_RAW_MAX];
static uint8_t other[FRAME_RAW_MAX];

/* A repeatable stream of bytes that no compressor shrinks. */
static void
fill_random (uint8_t *p, size_t size)
{
  uint64_t x = 88172645463325252u;

  for (size_t i = 0; i < size; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    p[i] = (uint8_t)(x >> 32);
  }
}

static void
fill_text (uint8_t *p, size_t size)
{
  for (size_t i = 0; i < size; i++)
    p[i] = (uint8_t) "the quick brown fox "[i % 20 ^ (i >> 14 & 3)];
}

static void
test_digest_known (void **state)
{
  uint8_t d[DIGEST_SIZE];
  char text[2 * DIGEST_SIZE + 1];

  (void)state;
  digest_bytes ("", 0, d);
  digest_format (d, text);
  assert_string_equal (text, "99aa06d3014798d86001c324468d497f");
  digest_bytes ("chainlift", 9, d);
  digest_format (d, text);
  assert_string_equal (text, "5ce7e2850b2f7e359585760915678a11");
  digest_format (digest_zero (), text);
  assert_string_equal (text, "fd5ee061c8433a0f33b202d302b65caa");
}

static void
test_digest_short_block_is_padded (void **state)
{
  static const size_t sizes[] = { 0, 1, 511, 512, 4096, 65535, 65536 };
  uint8_t a[DIGEST_SIZE];
  uint8_t b[DIGEST_SIZE];

  (void)state;
  for (size_t i = 0; i < COUNT_OF (sizes); i++) {
    fill_random (block, sizes[i]);
    memset (block + sizes[i], 0, DIGEST_BLOCK - sizes[i]);
    digest_of (block, sizes[i], a);
    digest_bytes (block, DIGEST_BLOCK, b);
    assert_true (digest_equal (a, b));
  }
}

static void
test_digest_table_and_stream (void **state)
{
  uint8_t table[3 * DIGEST_SIZE];
  uint8_t d[DIGEST_SIZE];
  struct digest_stream *s = digest_stream_new ();

  (void)state;
  fill_random (block, 3 * DIGEST_BLOCK);
  digest_table (block, 2 * DIGEST_BLOCK + 1000, table);
  digest_of (block + DIGEST_BLOCK, DIGEST_BLOCK, d);
  assert_true (digest_equal (d, table + DIGEST_SIZE));
  digest_of (block + 2 * DIGEST_BLOCK, 1000, d);
  assert_true (digest_equal (d, table + 2 * DIGEST_SIZE));
  digest_stream_add (s, block, 100);
  digest_stream_add (s, block + 100, 9900);
  digest_stream_get (s, d);
  digest_bytes (block, 10000, table);
  assert_true (digest_equal (d, table));
  digest_stream_free (s);
  assert_int_equal (DIGEST_BLOCKS (0), 0);
  assert_int_equal (DIGEST_BLOCKS (65537), 2);
}

static void
test_pack_round_trip (void **state)
{
  static const size_t sizes[] = { 512, 4096, 65536, 262144, FRAME_RAW_MAX };
  size_t room = pack_bound (FRAME_RAW_MAX);
  uint8_t *coded = malloc (room);

  (void)state;
  assert_non_null (coded);
  for (size_t i = 0; i < COUNT_OF (sizes); i++) {
    struct fault f = FAULT_INIT;
    size_t n;

    fill_text (block, sizes[i]);
    n = pack (block, sizes[i], coded, room);
    assert_in_range (n, 1, sizes[i] / 2);
    memset (other, 0xee, sizeof other);
    assert_int_equal (pack_expand (coded, n, other, sizes[i], &f), 0);
    assert_memory_equal (block, other, sizes[i]);
    /* Neither more nor fewer bytes, nothing cut off. */
    assert_int_equal (pack_expand (coded, n, other, sizes[i] - 1, &f), -1);
    assert_int_equal (f.code, FAULT_PROTO);
    fault_reset (&f);
    assert_int_equal (pack_expand (coded, n - 1, other, sizes[i], &f), -1);
    fault_reset (&f);
    assert_int_equal (
        pack_expand (coded, n, other, (size_t)FRAME_RAW_MAX + 1, &f), -1);
    fill_random (block, sizes[i]);
    assert_int_equal (pack (block, sizes[i], coded, room), 0);
  }
  free (coded);
}

/* A frame with each field different, as it stands on the wire. */
static void
test_frame_golden (void **state)
{
  static const uint8_t head[FRAME_HEADER - 4] = {
    'C',  'L', 'F', '1', 65, 0, 0, 0, 0x44, 0x33, 0x22, 0x11, 0, 0,
    0x10, 0,   0,   0,   0,  0, 0, 0, 3,    0,    1,    0,    0, 0,
  };
  struct buf b;
  struct frame fr;
  struct fault f = FAULT_INIT;

  (void)state;
  buf_init (&b, 100);
  frame_put_zero (&b, 0x11223344, 0x100030000u, 0x100000);
  assert_false (buf_bad (&b));
  assert_int_equal (b.size, FRAME_HEADER);
  assert_memory_equal (b.data, head, sizeof head);
  assert_int_equal (get_le32 (b.data + 28), digest_check (head, 28, NULL, 0));
  assert_int_equal (frame_decode (b.data, &fr, &f), 0);
  assert_int_equal (frame_verify (b.data, &fr, NULL, &f), 0);
  assert_int_equal (fr.type, FRAME_ZERO);
  assert_int_equal (fr.id, 0x11223344);
  assert_int_equal (fr.raw_len, 0x100000);
  assert_true (fr.offset == 0x100030000u);
  buf_reset (&b);
}

static void
test_frame_control (void **state)
{
  struct buf b;
  struct buf payload;
  struct frame fr;
  struct fault f = FAULT_INIT;

  (void)state;
  buf_init (&b, FRAME_CONTROL_MAX + 100);
  buf_init (&payload, FRAME_CONTROL_MAX + 100);
  buf_put (&payload, "payload", 7);
  frame_put (&b, FRAME_IDENTITY, 9, &payload);
  frame_put (&b, FRAME_PING, 0, NULL);
  assert_int_equal (b.size, 2 * FRAME_HEADER + 7);
  assert_int_equal (frame_decode (b.data, &fr, &f), 0);
  assert_int_equal (fr.payload_len, 7);
  assert_int_equal (frame_verify (b.data, &fr, b.data + FRAME_HEADER, &f), 0);
  b.data[FRAME_HEADER + 3] ^= 1;
  assert_int_equal (frame_verify (b.data, &fr, b.data + FRAME_HEADER, &f), -1);
  assert_int_equal (f.code, FAULT_PROTO);
  assert_non_null (strstr (f.text, "IDENTITY"));
  fault_reset (&f);
  assert_int_equal (frame_decode (b.data + FRAME_HEADER + 7, &fr, &f), 0);
  assert_int_equal (fr.type, FRAME_PING);
  buf_clear (&b);
  buf_clear (&payload);
  while (payload.size <= FRAME_CONTROL_MAX)
    buf_put (&payload, block, 50);
  frame_put (&b, FRAME_IDENTITY, 9, &payload);
  assert_true (buf_bad (&b));
  buf_reset (&b);
  buf_reset (&payload);
}

static void
test_frame_limits (void **state)
{
  static const struct {
    struct frame fr;
    bool good;
  } cases[] = {
    { { .type = FRAME_PING }, true },
    { { .type = FRAME_PING, .id = 5 }, true },
    { { .type = 0 }, false },
    { { .type = 66 }, false },
    { { .type = 255 }, false },
    { { .type = FRAME_PING, .coding = FRAME_LZ4 }, false },
    { { .type = FRAME_PING, .raw_len = 1 }, false },
    { { .type = FRAME_PING, .offset = 1 }, false },
    { { .type = FRAME_OPENED, .payload_len = FRAME_CONTROL_MAX }, true },
    { { .type = FRAME_OPENED, .payload_len = FRAME_CONTROL_MAX + 1 }, false },
    { { .type = FRAME_DATA, .raw_len = 65536, .payload_len = 65552 }, true },
    { { .type = FRAME_DATA, .raw_len = 512, .payload_len = 528 }, true },
    { { .type = FRAME_DATA, .raw_len = 65536, .payload_len = 65551 }, false },
    { { .type = FRAME_DATA, .raw_len = 65536, .payload_len = 65553 }, false },
    { { .type = FRAME_DATA, .raw_len = 65536, .payload_len = 65536 }, false },
    { { .type = FRAME_DATA, .raw_len = 0, .payload_len = 0 }, false },
    { { .type = FRAME_DATA, .raw_len = 0, .payload_len = 100 }, false },
    { { FRAME_DATA, FRAME_LZ4, 1, 65536, 16 + 1, 0, 0 }, true },
    { { FRAME_DATA, FRAME_LZ4, 1, 65536, 16, 0, 0 }, false },
    { { FRAME_DATA, FRAME_LZ4, 1, 65536, 16 + 65535, 0, 0 }, true },
    { { FRAME_DATA, FRAME_LZ4, 1, 65536, 16 + 65536, 0, 0 }, false },
    { { FRAME_DATA, FRAME_LZ4, 1, 65537, 16 + 1, 0, 0 }, false },
    { { FRAME_DATA, 2, 1, 65536, 65552, 0, 0 }, false },
    { { FRAME_DATA, 0, 1, FRAME_RAW_MAX, FRAME_PAYLOAD_MAX, 0, 0 }, true },
    { { FRAME_DATA, 0, 1, FRAME_RAW_MAX + 65536, FRAME_PAYLOAD_MAX + 65536 + 16,
        0, 0 },
      false },
    { { FRAME_DATA, 0, 1, UINT32_MAX, UINT32_MAX, 0, 0 }, false },
    { { FRAME_DATA, 0, 1, 65536, 65552, 1, 0 }, false },
    { { FRAME_DATA, 0, 1, 65536, 65552, 65536, 0 }, true },
    { { FRAME_DATA, 0, 1, 65536, 65552, FRAME_OFFSET_MAX - 65536, 0 }, true },
    { { FRAME_DATA, 0, 1, 65536, 65552, FRAME_OFFSET_MAX, 0 }, false },
    { { FRAME_DATA, 0, 1, 65536, 65552, UINT64_MAX - 65535, 0 }, false },
    { { FRAME_ZERO, 0, 1, FRAME_ZERO_MAX, 0, 0, 0 }, true },
    { { FRAME_ZERO, 0, 1, FRAME_ZERO_MAX + 1, 0, 0, 0 }, false },
    { { FRAME_ZERO, 0, 1, 0, 0, 0, 0 }, false },
    { { FRAME_ZERO, 0, 1, 65536, 8, 0, 0 }, false },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    uint8_t head[FRAME_HEADER] = { 0 };
    struct frame fr;
    int ret;

    /* By hand: encode would look at a table that is not there. */
    put_le32 (head, FRAME_MAGIC);
    head[4] = cases[i].fr.type;
    head[5] = cases[i].fr.coding;
    put_le32 (head + 8, cases[i].fr.id);
    put_le32 (head + 12, cases[i].fr.raw_len);
    put_le32 (head + 16, cases[i].fr.payload_len);
    put_le64 (head + 20, cases[i].fr.offset);
    ret = frame_decode (head, &fr, &f);
    if (ret != (cases[i].good ? 0 : -1))
      fail_msg ("case %zu: %d %s", i, ret, f.text);
    if (ret < 0)
      assert_int_equal (f.code, FAULT_PROTO);
    fault_reset (&f);
    head[6] = 1;
    assert_int_equal (frame_decode (head, &fr, &f), -1);
    fault_reset (&f);
    head[6] = 0;
    head[0] ^= 1;
    assert_int_equal (frame_decode (head, &fr, &f), -1);
  }
}

/* Encode, decode, flip any byte: somebody notices. */
static void
try_data (uint32_t raw_len, enum frame_coding coding)
{
  uint8_t head[FRAME_HEADER + FRAME_TABLE_MAX];
  uint8_t *coded = malloc (pack_bound (FRAME_RAW_MAX));
  struct fault f = FAULT_INIT;
  struct frame fr;
  uint32_t coded_len = raw_len;
  size_t n;

  assert_non_null (coded);
  memcpy (coded, block, raw_len);
  if (coding == FRAME_LZ4)
    coded_len
        = (uint32_t)pack (block, raw_len, coded, pack_bound (FRAME_RAW_MAX));
  n = frame_put_data (head, 3, 131072, block, raw_len, NULL, coding, coded_len);
  assert_int_equal (n, FRAME_HEADER + frame_table_size (raw_len));
  assert_int_equal (frame_decode (head, &fr, &f), 0);
  assert_int_equal (frame_verify (head, &fr, head + FRAME_HEADER, &f), 0);
  assert_int_equal (fr.payload_len, n - FRAME_HEADER + coded_len);
  memset (other, 0, sizeof other);
  assert_int_equal (frame_unpack (&fr, head + FRAME_HEADER, coded, other, &f),
                    0);
  assert_memory_equal (other, block, raw_len);
  for (size_t at = 0; at < n; at++) {
    struct frame bad;

    head[at] ^= 0x40;
    if (frame_decode (head, &bad, &f) == 0)
      assert_int_equal (frame_verify (head, &bad, head + FRAME_HEADER, &f), -1);
    head[at] ^= 0x40;
    fault_reset (&f);
  }
  for (uint32_t at = 0; at < coded_len; at += 1 + coded_len / 40) {
    coded[at] ^= 0x04;
    if (frame_unpack (&fr, head + FRAME_HEADER, coded, other, &f) < 0)
      assert_true (f.code == FAULT_CORRUPT || f.code == FAULT_PROTO);
    else
      /* LZ4 has bits without a meaning. */
      assert_true (coding == FRAME_LZ4 && memcmp (other, block, raw_len) == 0);
    coded[at] ^= 0x04;
    fault_reset (&f);
  }
  free (coded);
}

static void
test_frame_data (void **state)
{
  static const uint32_t sizes[] = { 512, 65536, 65536 + 4096, FRAME_RAW_MAX };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (sizes); i++) {
    fill_random (block, sizes[i]);
    try_data (sizes[i], FRAME_PLAIN);
    fill_text (block, sizes[i]);
    try_data (sizes[i], FRAME_LZ4);
  }
}

/* A table that the caller has is taken as it is; in place nothing is copied. */
static void
test_frame_data_in_place (void **state)
{
  uint8_t head[FRAME_HEADER + FRAME_TABLE_MAX];
  uint8_t table[2 * DIGEST_SIZE];
  struct fault f = FAULT_INIT;
  struct frame fr;

  (void)state;
  fill_random (block, 2 * DIGEST_BLOCK);
  digest_table (block, 2 * DIGEST_BLOCK, table);
  frame_put_data (head, 1, 0, NULL, 2 * DIGEST_BLOCK, table, FRAME_PLAIN,
                  2 * DIGEST_BLOCK);
  assert_int_equal (frame_decode (head, &fr, &f), 0);
  assert_int_equal (frame_unpack (&fr, head + FRAME_HEADER, block, block, &f),
                    0);
  block[DIGEST_BLOCK + 5] ^= 1;
  assert_int_equal (frame_unpack (&fr, head + FRAME_HEADER, block, block, &f),
                    -1);
  assert_int_equal (f.code, FAULT_CORRUPT);
  assert_non_null (strstr (f.text, "65536"));
}

static void
test_frame_name (void **state)
{
  (void)state;
  assert_string_equal (frame_name (FRAME_READ_DONE), "READ_DONE");
  assert_string_equal (frame_name (0), "?");
  assert_string_equal (frame_name (1000), "?");
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_digest_known),
    cmocka_unit_test (test_digest_short_block_is_padded),
    cmocka_unit_test (test_digest_table_and_stream),
    cmocka_unit_test (test_pack_round_trip),
    cmocka_unit_test (test_frame_golden),
    cmocka_unit_test (test_frame_control),
    cmocka_unit_test (test_frame_limits),
    cmocka_unit_test (test_frame_data),
    cmocka_unit_test (test_frame_data_in_place),
    cmocka_unit_test (test_frame_name),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
