/* SPDX-License-Identifier: Apache-2.0 */
/* Every message: the bytes that chainlift-wire(7) promises, the way there and
   back, and what happens to each when it is cut, lengthened or damaged. */
#include <config.h>

#include <stdlib.h>

#include "base/buf.h"
#include "base/fault.h"
#include "tests/unit/unit.h"
#include "wire/msg.h"

#define ID1 "11111111-2222-3333-4444-555555555555"
#define ID2 "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

/* What the sender says, as bytes; then decode and encode again, which must
   give the same bytes whenever decode accepts them. */
struct kind {
  const char *name;
  void (*sample) (struct buf *b);
  int (*again) (struct buf *in, struct buf *out, struct fault *f);
};

static struct msg_layer layers[] = {
  { ID1, "", ID2, ID1, MSG_COW, MSG_LEAF | MSG_INTERNAL, MSG_LEGAL, 1 << 30 },
  { ID1, ID2, ID1, UUID_BLANK, MSG_RAW, MSG_SHARED, MSG_LEGAL, 0 },
};
static struct msg_opened_layer opened_layers[] = { { 1, 2 }, { 3, 4 } };
static struct group_lun luns[] = { { "360014055f1a2b3c4" }, { "1ATA_x.y:z" } };
static uint32_t spans[] = { 65536, MSG_SPAN_ZERO | 4464 };
static uint8_t digests[2 * DIGEST_SIZE] = { 1, 2, 3, 4, [31] = 255 };
static char identity[] = "layer 0\n";

/* The same messages of a block domain. */
#define msg_block_read msg_open_read
#define msg_block_read_encode msg_open_read_encode
#define msg_block_read_decode msg_open_read_decode
#define msg_block_write msg_open_write
#define msg_block_write_encode msg_open_write_encode
#define msg_block_write_decode msg_open_write_decode

/* The two functions of a message; RESET frees what decode allocated. */
#define KIND(name, reset, ...)                                                 \
  static void sample_##name (struct buf *b)                                    \
  {                                                                            \
    struct msg_##name m = { __VA_ARGS__ };                                     \
                                                                               \
    msg_##name##_encode (&m, b);                                               \
  }                                                                            \
  static int again_##name (struct buf *in, struct buf *out, struct fault *f)   \
  {                                                                            \
    struct msg_##name m;                                                       \
    int ret = msg_##name##_decode (in, &m, f);                                 \
                                                                               \
    if (ret == 0)                                                              \
      msg_##name##_encode (&m, out);                                           \
    reset (&m);                                                                \
    return ret;                                                                \
  }                                                                            \
  struct kind_semicolon

static void
nothing (void *m)
{
  (void)m;
}

KIND (hello, nothing, .version = 1, .heartbeat_ms = 30000, .codings = 3,
      .run_id = "r1", .stop_phase = "map");
KIND (welcome, nothing, .version = 1, .pid = 77, .uid = 36, .flags = 7,
      .program = "0.1", .hostname = "hv1", .boot_id = ID1, .machine = "x86_64",
      .kernel = "4.18");
KIND (fault, nothing, .code = FAULT_IO, .err = 5, .text = "read x: bad");
KIND (open_read, msg_open_read_reset, .kind = MSG_FILE, .flags = 3,
      .dir = "/rhev/data-center/mnt/h:_a/" ID1, .layer_count = 2,
      .lower_count = 1, .layers = layers);
KIND (opened, msg_opened_reset, .virtual_size = 1 << 30, .layer_count = 2,
      .layers = opened_layers, .identity = identity);
KIND (map, nothing, .start = MSG_SPAN, .length = 5 * (uint64_t)MSG_SPAN + 512);
KIND (mapped, msg_mapped_reset, .data_bytes = 70000, .zero_bytes = 5,
      .absent_bytes = 6, .extents = 7, .span_count = 2, .spans = spans);
KIND (read, nothing, .start = 65536, .length = 65536 + 512);
KIND (read_done, nothing, .data_bytes = 1, .zero_bytes = 2, .skipped_bytes = 3);
KIND (identity, msg_identity_reset, .text = identity);
KIND (open_write, msg_open_write_reset, .kind = MSG_FILE, .format = MSG_COW,
      .flags = 3, .dir = "/d", .image = ID1, .volume = ID2,
      .capacity = 1 << 20);
KIND (block_read, msg_open_read_reset, .kind = MSG_BLOCK,
      .dir = "/rhev/data-center/mnt/blockSD/" ID1, .layer_count = 2,
      .layers = layers, .group = { 5, ID2, 2, luns });
KIND (block_write, msg_open_write_reset, .kind = MSG_BLOCK, .format = MSG_RAW,
      .dir = "/d", .image = ID1, .volume = ID2, .capacity = 1 << 20, .need = 77,
      .group = { 3, "", 1, luns });
KIND (look, msg_look_reset, .dir = "/d", .group = { 3, "", 1, luns });
KIND (report, msg_report_reset, .report = identity);
KIND (wopened, msg_wopened_reset, .container = 196624, .capacity = 1 << 20,
      .identity = identity);
KIND (written, nothing, .total = 0x123456789);
KIND (truncate, nothing, .size = 65536);
KIND (flushed, nothing, .total = 9);
KIND (check, nothing, .offset = 131072, .length = 1);
KIND (digests, msg_digests_reset, .offset = 131072, .count = 2,
      .digests = digests);
KIND (seal, nothing, .size = 4, .data = digests);
KIND (sealed, msg_sealed_reset, .identity = identity);

static const struct kind kinds[] = {
  { "hello", sample_hello, again_hello },
  { "welcome", sample_welcome, again_welcome },
  { "fault", sample_fault, again_fault },
  { "open_read", sample_open_read, again_open_read },
  { "opened", sample_opened, again_opened },
  { "map", sample_map, again_map },
  { "mapped", sample_mapped, again_mapped },
  { "read", sample_read, again_read },
  { "read_done", sample_read_done, again_read_done },
  { "identity", sample_identity, again_identity },
  { "open_write", sample_open_write, again_open_write },
  { "block_read", sample_block_read, again_block_read },
  { "block_write", sample_block_write, again_block_write },
  { "look", sample_look, again_look },
  { "report", sample_report, again_report },
  { "wopened", sample_wopened, again_wopened },
  { "written", sample_written, again_written },
  { "truncate", sample_truncate, again_truncate },
  { "flushed", sample_flushed, again_flushed },
  { "check", sample_check, again_check },
  { "digests", sample_digests, again_digests },
  { "seal", sample_seal, again_seal },
  { "sealed", sample_sealed, again_sealed },
};

static void
test_round_trip (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (kinds); i++) {
    struct fault f = FAULT_INIT;
    struct buf b;
    struct buf v;
    struct buf out;

    buf_init (&b, FRAME_CONTROL_MAX);
    buf_init (&out, FRAME_CONTROL_MAX);
    kinds[i].sample (&b);
    assert_false (buf_bad (&b));
    buf_view (&v, b.data, b.size);
    if (kinds[i].again (&v, &out, &f) < 0)
      fail_msg ("%s: %s", kinds[i].name, f.text);
    assert_int_equal (out.size, b.size);
    assert_memory_equal (out.data, b.data, b.size);
    buf_reset (&b);
    buf_reset (&out);
  }
}

/* A message that is cut anywhere, or has a byte too many, is refused. */
static void
test_wrong_length (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (kinds); i++) {
    struct buf b;
    struct buf out;

    buf_init (&b, FRAME_CONTROL_MAX);
    buf_init (&out, FRAME_CONTROL_MAX);
    kinds[i].sample (&b);
    buf_put_u8 (&b, 0);
    for (size_t size = 0; size <= b.size; size++) {
      struct fault f = FAULT_INIT;
      uint8_t *copy = malloc (size > 0 ? size : 1);
      struct buf v;

      /* An exact copy, so that a sanitizer sees a read past its end. */
      assert_non_null (copy);
      memcpy (copy, b.data, size);
      buf_view (&v, copy, size);
      if (size + 1 != b.size) {
        if (kinds[i].again (&v, &out, &f) == 0)
          fail_msg ("%s accepted with %zu of %zu bytes", kinds[i].name, size,
                    b.size - 1);
        assert_int_equal (f.code, FAULT_PROTO);
      }
      free (copy);
    }
    buf_reset (&b);
    buf_reset (&out);
  }
}

/* Damage of each byte: refused, or understood and said again in the very same
   bytes (nothing is normalised or ignored). */
static void
test_damage (void **state)
{
  static const uint8_t flips[] = { 0x01, 0x40, 0x80, 0xff };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (kinds); i++) {
    struct buf b;
    struct buf v;
    struct buf out;

    buf_init (&b, FRAME_CONTROL_MAX);
    buf_init (&out, FRAME_CONTROL_MAX);
    kinds[i].sample (&b);
    for (size_t n = 0; n < b.size * COUNT_OF (flips); n++) {
      struct fault f = FAULT_INIT;
      size_t at = n / COUNT_OF (flips);

      b.data[at] ^= flips[n % COUNT_OF (flips)];
      buf_view (&v, b.data, b.size);
      buf_clear (&out);
      if (kinds[i].again (&v, &out, &f) == 0) {
        assert_int_equal (out.size, b.size);
        assert_memory_equal (out.data, b.data, b.size);
      }
      else {
        assert_int_equal (f.code, FAULT_PROTO);
      }
      b.data[at] ^= flips[n % COUNT_OF (flips)];
    }
    buf_reset (&b);
    buf_reset (&out);
  }
}

/* Byte for byte, as other implementations would build them. */
static void
test_golden (void **state)
{
  static const struct {
    const char *name;
    size_t size;
    const char *bytes;
  } golden[] = {
    { "hello", 21,
      "\001\000\000\0000u\000\000\003\000\000\000\002\000r1\003\000"
      "map" },
    { "welcome", 78,
      "\001\000\000\000M\000\000\000$\000\000\000\007\000\000\000"
      "\003\0000.1\003\000hv1$\00011111111-2222-3333-4444-555555555"
      "555\006\000x86_64\004\0004.18" },
    { "fault", 18, "\011\005\000\000\000\013\000read x: bad" },
    { "open_read", 368,
      "\001\003\000\000\000\077\000/rhev/data-center/mnt/h:_a/11111"
      "111-2222-3333-4444-555555555555\002\000\000\000\001\000\000\000"
      "$\00011111111"
      "-2222-3333-4444-555555555555\000\000$\000aaaaaaaa-bbbb-cccc-"
      "dddd-eeeeeeeeeeee$\00011111111-2222-3333-4444-555555555555"
      "\002\003\001\000\000\000@\000\000\000\000$\00011111111-2222-"
      "3333-4444-555555555555$\000aaaaaaaa-bbbb-cccc-dddd-eeeeeeeee"
      "eee$\00011111111-2222-3333-4444-555555555555$\00000000000-00"
      "00-0000-0000-000000000000\001\004\001\000\000\000\000\000"
      "\000\000\000" },
    { "opened", 56,
      "\000\000\000@\000\000\000\000\002\000\000\000\001\000\000"
      "\000\000\000\000\000\002\000\000\000\000\000\000\000\003\000"
      "\000\000\000\000\000\000\004\000\000\000\000\000\000\000\010"
      "\000\000\000layer 0\012" },
    { "map", 16,
      "\000\000\000\004\000\000\000\000\000\002\000\024\000\000\000"
      "\000" },
    { "mapped", 44,
      "p\021\001\000\000\000\000\000\005\000\000\000\000\000\000"
      "\000\006\000\000\000\000\000\000\000\007\000\000\000\000\000"
      "\000\000\002\000\000\000\000\000\001\000p\021\000\200" },
    { "read", 16,
      "\000\000\001\000\000\000\000\000\000\002\001\000\000\000\000"
      "\000" },
    { "read_done", 24,
      "\001\000\000\000\000\000\000\000\002\000\000\000\000\000\000"
      "\000\003\000\000\000\000\000\000\000" },
    { "identity", 12, "\010\000\000\000layer 0\012" },
    { "open_write", 102,
      "\001\002\003\000\000\000\002\000/d$\00011111111-2222-3333-44"
      "44-555555555555$\000aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\000"
      "\000\020\000\000\000\000\000\000\000\000\000\000\000\000\000" },
    { "block_write", 128,
      "\002\001\000\000\000\000\002\000/d$\00011111111-2222-3333-44"
      "44-555555555555$\000aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\000"
      "\000\020\000\000\000\000\000M\000\000\000\000\000\000\000"
      "\003\000\000\001\000\000\000\021\000360014055f1a2b3c4" },
    { "look", 30,
      "\002\000/d\003\000\000\001\000\000\000\021\000360014055f1a2b3c4" },
    { "report", 12, "\010\000\000\000layer 0\012" },
    { "wopened", 28,
      "\020\000\003\000\000\000\000\000\000\000\020\000\000\000\000"
      "\000\010\000\000\000layer 0\012" },
    { "written", 8, "\211gE#\001\000\000\000" },
    { "truncate", 8, "\000\000\001\000\000\000\000\000" },
    { "flushed", 8, "\011\000\000\000\000\000\000\000" },
    { "check", 16,
      "\000\000\002\000\000\000\000\000\001\000\000\000\000\000\000"
      "\000" },
    { "digests", 44,
      "\000\000\002\000\000\000\000\000\002\000\000\000\001\002\003"
      "\004\000\000\000\000\000\000\000\000\000\000\000\000\000\000"
      "\000\000\000\000\000\000\000\000\000\000\000\000\000\377" },
    { "seal", 8, "\004\000\000\000\001\002\003\004" },
    { "sealed", 12, "\010\000\000\000layer 0\012" },
  };

  (void)state;
  for (size_t g = 0; g < COUNT_OF (golden); g++) {
    for (size_t i = 0; i < COUNT_OF (kinds); i++) {
      struct buf b;

      if (strcmp (kinds[i].name, golden[g].name) != 0)
        continue;
      buf_init (&b, FRAME_CONTROL_MAX);
      kinds[i].sample (&b);
      if (b.size != golden[g].size
          || memcmp (b.data, golden[g].bytes, b.size) != 0)
        fail_msg ("%s is not as documented", golden[g].name);
      buf_reset (&b);
    }
  }
}

/* One field of a good message put out of its range. */
#define REFUSED(kind, reset, field, ...)                                       \
  do {                                                                         \
    struct msg_##kind wrong = { __VA_ARGS__ };                                 \
    struct msg_##kind in;                                                      \
    struct fault f = FAULT_INIT;                                               \
    struct buf b;                                                              \
    struct buf v;                                                              \
                                                                               \
    buf_init (&b, FRAME_CONTROL_MAX);                                          \
    msg_##kind##_encode (&wrong, &b);                                          \
    assert_false (buf_bad (&b));                                               \
    buf_view (&v, b.data, b.size);                                             \
    assert_int_equal (msg_##kind##_decode (&v, &in, &f), -1);                  \
    reset (&in);                                                               \
    assert_int_equal (f.code, FAULT_PROTO);                                    \
    if (strstr (f.text, field) == NULL)                                        \
      fail_msg ("%s", f.text);                                                 \
    buf_reset (&b);                                                            \
  } while (0)

static void
test_ranges (void **state)
{
  (void)state;
  REFUSED (hello, nothing, "heartbeat", .version = 1);
  REFUSED (fault, nothing, "code", .code = 0);
  REFUSED (fault, nothing, "code", .code = 1);
  REFUSED (fault, nothing, "code", .code = 16);
  REFUSED (map, nothing, "range", .start = 1, .length = 1);
  REFUSED (map, nothing, "range", .start = 65536, .length = 1);
  REFUSED (map, nothing, "range", .start = 0, .length = 0);
  REFUSED (map, nothing, "range", .start = 0, .length = MSG_MAP_MAX + 1);
  REFUSED (map, nothing, "range", .start = MSG_DISK_MAX, .length = 1);
  REFUSED (map, nothing, "range", .start = UINT64_MAX - MSG_SPAN + 1,
           .length = MSG_SPAN);
  REFUSED (read, nothing, "range", .start = 512, .length = 512);
  REFUSED (read, nothing, "range", .start = 0, .length = MSG_READ_MAX + 1);
  REFUSED (read, nothing, "range", .start = 0, .length = 0);
  REFUSED (check, nothing, "range", .offset = 4096, .length = 1);
  REFUSED (check, nothing, "range", .offset = 0, .length = MSG_READ_MAX + 1);
  REFUSED (truncate, nothing, "size", .size = MSG_DISK_MAX + 1);
  REFUSED (read_done, nothing, "sum", .data_bytes = MSG_READ_MAX + 1);
  REFUSED (read_done, nothing, "sum", .skipped_bytes = MSG_READ_MAX + 1);
  REFUSED (wopened, msg_wopened_reset, "size", .container = MSG_DISK_MAX + 1,
           .capacity = 1);
  REFUSED (wopened, msg_wopened_reset, "capacity", .capacity = 0);
  REFUSED (wopened, msg_wopened_reset, "capacity",
           .capacity = MSG_DISK_MAX + 1);
}

static void
test_ranges_open (void **state)
{
  struct msg_layer one = layers[1];
  struct msg_layer bad[8];
  struct group_lun bad_luns[] = { { "" },    { ".." },  { "-x" }, { "a/b" },
                                  { "a b" }, { "a\"" }, { "a|" } };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (bad); i++)
    bad[i] = one;
  strcpy (bad[0].image, "../../etc");
  strcpy (bad[1].volume, "");
  strcpy (bad[2].parent, "x");
  strcpy (bad[3].owner, "..");
  bad[4].format = 3;
  bad[5].voltype = 8;
  bad[6].legality = 0;
  bad[7].capacity = MSG_DISK_MAX + 1;
  for (size_t i = 0; i < COUNT_OF (bad); i++) {
    static const char *const names[]
        = { "image id", "volume id",   "parent id", "owner",
            "format",   "volume type", "legality",  "capacity" };

    REFUSED (open_read, msg_open_read_reset, names[i], .kind = MSG_FILE,
             .dir = "/d", .layer_count = 1, .layers = &bad[i]);
  }
  REFUSED (open_read, msg_open_read_reset, "kind", .kind = 3, .dir = "/d",
           .layer_count = 1, .layers = &one);
  REFUSED (open_read, msg_open_read_reset, "flags", .kind = 1, .flags = 4,
           .dir = "/d", .layer_count = 1, .layers = &one);
  REFUSED (open_read, msg_open_read_reset, "directory", .kind = 1, .dir = "d",
           .layer_count = 1, .layers = &one);
  REFUSED (open_read, msg_open_read_reset, "layer count", .kind = 1,
           .dir = "/d");
  REFUSED (open_read, msg_open_read_reset, "count of lower layers", .kind = 1,
           .dir = "/d", .flags = MSG_READ_KEEP_ZERO, .layer_count = 1,
           .lower_count = 1, .layers = &one);
  REFUSED (open_read, msg_open_read_reset, "count of lower layers", .kind = 1,
           .dir = "/d", .layer_count = 2, .lower_count = 1, .layers = bad);
  REFUSED (open_write, msg_open_write_reset, "format", .kind = 1, .format = 0,
           .dir = "/d", .image = ID1, .volume = ID2, .capacity = 1);
  REFUSED (open_write, msg_open_write_reset, "volume id", .kind = 1,
           .format = 1, .dir = "/d", .image = ID1, .volume = "a/../b",
           .capacity = 1);
  REFUSED (open_write, msg_open_write_reset, "capacity", .kind = 1, .format = 1,
           .dir = "/d", .image = ID1, .volume = ID2, .capacity = 0);
  REFUSED (open_write, msg_open_write_reset, "size", .kind = 1, .format = 1,
           .dir = "/d", .image = ID1, .volume = ID2, .capacity = 1, .need = 1);
  for (size_t i = 0; i < COUNT_OF (bad_luns); i++)
    REFUSED (open_write, msg_open_write_reset, "LUN id", .kind = 2, .format = 1,
             .dir = "/d", .image = ID1, .volume = ID2, .capacity = 1,
             .group = { 5, "", 1, &bad_luns[i] });
  REFUSED (open_read, msg_open_read_reset, "LUN count", .kind = 2, .dir = "/d",
           .layer_count = 1, .layers = &one, .group = { 5, "", 0, luns });
  REFUSED (open_read, msg_open_read_reset, "version of the domain", .kind = 2,
           .dir = "/d", .layer_count = 1, .layers = &one,
           .group = { 6, "", 1, luns });
  REFUSED (open_read, msg_open_read_reset, "pool id", .kind = 2, .dir = "/d",
           .layer_count = 1, .layers = &one, .group = { 4, "x", 1, luns });
}

/* A count that promises more than there is never makes us allocate. */
static void
test_huge_counts (void **state)
{
  static const struct {
    size_t at;
    const char *name;
  } cases[] = {
    { 8, "opened" }, { 32, "mapped" },  { 0, "identity" }, { 8, "digests" },
    { 0, "seal" },   { 16, "wopened" }, { 0, "sealed" },
  };

  (void)state;
  for (size_t c = 0; c < COUNT_OF (cases); c++) {
    for (size_t i = 0; i < COUNT_OF (kinds); i++) {
      struct fault f = FAULT_INIT;
      struct buf b;
      struct buf v;
      struct buf out;

      if (strcmp (kinds[i].name, cases[c].name) != 0)
        continue;
      buf_init (&b, FRAME_CONTROL_MAX);
      buf_init (&out, FRAME_CONTROL_MAX);
      kinds[i].sample (&b);
      put_le32 (b.data + cases[c].at, UINT32_MAX);
      buf_view (&v, b.data, b.size);
      assert_int_equal (kinds[i].again (&v, &out, &f), -1);
      assert_int_equal (f.code, FAULT_PROTO);
      buf_reset (&b);
      buf_reset (&out);
    }
  }
}

/* What is too big for the wire is not sent at all. */
static void
test_encode_limits (void **state)
{
  struct msg_open_read many = { .kind = 1, .dir = "/d" };
  struct msg_identity text = { 0 };
  struct msg_seal seal = { .size = MSG_SEAL_MAX + 1 };
  struct buf b;

  (void)state;
  buf_init (&b, FRAME_CONTROL_MAX);
  many.layer_count = MSG_LAYERS_MAX + 1;
  many.layers = calloc (many.layer_count, sizeof *many.layers);
  assert_non_null (many.layers);
  msg_open_read_encode (&many, &b);
  assert_true (buf_bad (&b));
  buf_clear (&b);
  many.layer_count = MSG_LAYERS_MAX;
  for (uint32_t i = 0; i < many.layer_count; i++)
    many.layers[i] = layers[1];
  msg_open_read_encode (&many, &b);
  assert_false (buf_bad (&b));
  free (many.layers);
  buf_clear (&b);
  text.text = calloc (1, MSG_TEXT_MAX + 2);
  assert_non_null (text.text);
  memset (text.text, 'x', MSG_TEXT_MAX);
  msg_identity_encode (&text, &b);
  assert_false (buf_bad (&b));
  buf_clear (&b);
  text.text[MSG_TEXT_MAX] = 'x';
  msg_identity_encode (&text, &b);
  assert_true (buf_bad (&b));
  free (text.text);
  buf_clear (&b);
  msg_seal_encode (&seal, &b);
  assert_true (buf_bad (&b));
  buf_reset (&b);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_round_trip),  cmocka_unit_test (test_wrong_length),
    cmocka_unit_test (test_damage),      cmocka_unit_test (test_golden),
    cmocka_unit_test (test_ranges),      cmocka_unit_test (test_ranges_open),
    cmocka_unit_test (test_huge_counts), cmocka_unit_test (test_encode_limits),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
