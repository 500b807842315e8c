/* SPDX-License-Identifier: Apache-2.0 */
/* What comes over the socket from qemu-img, right and wrong. */
#include <config.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "repo/nbdsink.h"
#include "tests/unit/unit.h"

#define DISK_SIZE (UINT64_C (1) << 20)
#define IHAVEOPT UINT64_C (0x49484156454f5054)

static void
put64 (struct buf *b, uint64_t v)
{
  uint8_t bytes[8];

  put_be64 (bytes, v);
  buf_put (b, bytes, 8);
}

static void
put32 (struct buf *b, uint32_t v)
{
  uint8_t bytes[4];

  put_be32 (bytes, v);
  buf_put (b, bytes, 4);
}

static void
put_option (struct buf *b, uint32_t option, uint32_t size)
{
  put64 (b, IHAVEOPT);
  put32 (b, option);
  put32 (b, size);
  for (uint32_t i = 0; i < size && i < 100000; i++)
    buf_put_u8 (b, 0);
}

static void
put_request (struct buf *b, uint32_t magic, uint32_t command, uint64_t offset,
             uint32_t size)
{
  put32 (b, magic);
  put32 (b, command); /* flags 0, type */
  put64 (b, 0x1122334455667788);
  put64 (b, offset);
  put32 (b, size);
}

/* What was written, in order. */
static uint64_t position;
static int
take (void *opaque, uint64_t offset, const void *data, uint64_t size,
      struct fault *f)
{
  (void)opaque;
  if (offset != position)
    return fault_set (f, FAULT_CORRUPT, 0, "order");
  if (data != NULL && ((const uint8_t *)data)[size - 1] != 0)
    return fault_set (f, FAULT_CORRUPT, 0, "bytes");
  position += size;
  return 0;
}

/* Say all of B, then hear what the server does. */
static int
converse (const struct buf *b, struct buf *replies, struct fault *f)
{
  uint8_t data[4096];
  ssize_t n;
  int pair[2];
  int rc;

  assert_false (buf_bad (b));
  assert_int_equal (socketpair (AF_UNIX, SOCK_STREAM, 0, pair), 0);
  assert_int_equal (fdio_write_full (pair[1], b->data, b->size, "test", NULL),
                    0);
  shutdown (pair[1], SHUT_WR);
  position = 0;
  rc = nbdsink_serve (pair[0], DISK_SIZE, take, NULL, f);
  close (pair[0]);
  while ((n = read (pair[1], data, sizeof data)) > 0)
    buf_put (replies, data, (size_t)n);
  close (pair[1]);
  return rc;
}

#define REQUEST 0x25609513u
enum { WRITE = 1, DISC = 2, FLUSH = 3, ZEROES = 6, GO = 7 };

static void
test_good_client (void **state)
{
  struct fault f = FAULT_INIT;
  struct buf b;
  struct buf replies;
  const uint8_t *end;

  (void)state;
  buf_init (&b, 1u << 20);
  buf_init (&replies, 1u << 20);
  put32 (&b, 3);
  put_option (&b, 8, 0); /* structured replies: not here */
  put_option (&b, GO, 6);
  put_request (&b, REQUEST, WRITE, 0, 1000);
  for (int i = 0; i < 1000; i++)
    buf_put_u8 (&b, 0);
  put_request (&b, REQUEST, ZEROES, 1000, DISK_SIZE - 1000);
  put_request (&b, REQUEST, FLUSH, 0, 0);
  put_request (&b, REQUEST, 99, 0, 0);
  put_request (&b, REQUEST, DISC, 0, 0);
  if (converse (&b, &replies, &f) < 0)
    fail_msg ("%s", f.text);
  assert_true (position == DISK_SIZE);
  assert_memory_equal (replies.data, "NBDMAGICIHAVEOPT\0\3", 18);
  assert_true (get_be32 (replies.data + 18 + 12) == 0x80000001u);
  /* Four simple replies, the last one of an unknown command: EINVAL. */
  end = replies.data + replies.size;
  assert_true (get_be32 (end - 16) == 0x67446698u);
  assert_true (get_be32 (end - 12) == 22);
  assert_true (get_be32 (end - 28) == 0);
  assert_true (get_be64 (end - 8) == 0x1122334455667788);
  buf_reset (&b);
  buf_reset (&replies);
}

static void
test_bad_clients (void **state)
{
  enum bad {
    NOTHING,
    CUT_FLAGS,
    OPTION_MAGIC,
    OPTION_LARGE,
    OPTION_CUT,
    OPTIONS_WITHOUT_END,
    ABORT,
    REQUEST_MAGIC,
    REQUEST_CUT,
    WRITE_BEYOND,
    WRITE_WRAPS,
    WRITE_LARGE,
    WRITE_CUT,
    ZEROES_BEYOND,
    NO_DISC,
    REFUSED,
    BADS
  };

  (void)state;
  for (enum bad bad = NOTHING; bad < BADS; bad++) {
    struct fault f = FAULT_INIT;
    struct buf b;
    struct buf replies;

    buf_init (&b, 1u << 20);
    buf_init (&replies, 1u << 20);
    if (bad == CUT_FLAGS)
      buf_put (&b, "\0\0", 2);
    else if (bad > CUT_FLAGS)
      put32 (&b, 3);
    if (bad == OPTION_MAGIC) {
      put64 (&b, IHAVEOPT + 1);
      put64 (&b, 0);
    }
    if (bad == OPTION_LARGE)
      put_option (&b, GO, NBDSINK_OPTION_MAX + 1);
    if (bad == OPTION_CUT)
      put64 (&b, IHAVEOPT);
    for (int i = 0; bad == OPTIONS_WITHOUT_END && i < 1000; i++)
      put_option (&b, 8, 0);
    if (bad == ABORT)
      put_option (&b, 2, 0);
    if (bad > ABORT)
      put_option (&b, GO, 6);
    if (bad == REQUEST_MAGIC)
      put_request (&b, REQUEST + 1, WRITE, 0, 0);
    if (bad == REQUEST_CUT)
      put32 (&b, REQUEST);
    if (bad == WRITE_BEYOND)
      put_request (&b, REQUEST, WRITE, DISK_SIZE - 1, 2);
    if (bad == WRITE_WRAPS)
      put_request (&b, REQUEST, WRITE, UINT64_MAX - 1, 4);
    if (bad == WRITE_LARGE)
      put_request (&b, REQUEST, WRITE, 0, NBDSINK_WRITE_MAX + 1);
    if (bad == WRITE_CUT)
      put_request (&b, REQUEST, WRITE, 0, 100);
    if (bad == ZEROES_BEYOND)
      put_request (&b, REQUEST, ZEROES, 0, DISK_SIZE + 1);
    if (bad == REFUSED)
      put_request (&b, REQUEST, ZEROES, 512, 512);
    if (converse (&b, &replies, &f) == 0)
      fail_msg ("%d accepted", (int)bad);
    if (bad == CUT_FLAGS || bad == OPTION_CUT || bad == REQUEST_CUT)
      assert_int_equal (f.code, FAULT_IO);
    else
      assert_int_equal (f.code, bad == REFUSED ? FAULT_CORRUPT : FAULT_PROTO);
    buf_reset (&b);
    buf_reset (&replies);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_good_client),
    cmocka_unit_test (test_bad_clients),
  };

  signal (SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
