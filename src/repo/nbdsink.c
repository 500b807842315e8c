/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "repo/nbdsink.h"

#define MAGIC_SERVER UINT64_C (0x4e42444d41474943) /* NBDMAGIC */
#define MAGIC_OPTION UINT64_C (0x49484156454f5054) /* IHAVEOPT */
#define MAGIC_OPTION_REPLY UINT64_C (0x0003e889045565a9)
#define MAGIC_REQUEST 0x25609513u
#define MAGIC_REPLY 0x67446698u

#define HANDSHAKE_FIXED_NEWSTYLE 1u
#define HANDSHAKE_NO_ZEROES 2u
#define EXPORT_HAS_FLAGS 1u
#define EXPORT_SEND_FLUSH 4u
#define EXPORT_SEND_WRITE_ZEROES 64u
#define EXPORT_FLAGS                                                           \
  (EXPORT_HAS_FLAGS | EXPORT_SEND_FLUSH | EXPORT_SEND_WRITE_ZEROES)

/* Options that a client may ask for before it gives up. */
#define OPTIONS_MAX 64

enum option {
  OPTION_EXPORT_NAME = 1,
  OPTION_ABORT = 2,
  OPTION_INFO = 6,
  OPTION_GO = 7,
};
enum option_reply {
  OPTION_ACK = 1,
  OPTION_REPLY_INFO = 3,
};
#define OPTION_UNSUPPORTED 0x80000001u
#define INFO_EXPORT 0
#define INFO_BLOCK_SIZE 3

enum command {
  COMMAND_WRITE = 1,
  COMMAND_DISC = 2,
  COMMAND_FLUSH = 3,
  COMMAND_WRITE_ZEROES = 6,
};

#define NAME "NBD connection to qemu-img"

struct sink {
  int fd;
  uint64_t size;
  bool no_zeroes;
  nbdsink_fn fn;
  void *opaque;
  uint8_t *data;
};

/* Exactly SIZE bytes; an end is a fault too. */
static int
receive (struct sink *s, void *data, size_t size, struct fault *f)
{
  int rc = fdio_read_full (s->fd, data, size, NAME, f);

  if (rc == 0)
    return fault_set (f, FAULT_PROTO, 0, NAME ": it was closed too early");
  return rc < 0 ? -1 : 0;
}

static int
reply_option (struct sink *s, uint32_t option, uint32_t type, const void *data,
              uint32_t size, struct fault *f)
{
  uint8_t head[20];

  put_be64 (head, MAGIC_OPTION_REPLY);
  put_be32 (head + 8, option);
  put_be32 (head + 12, type);
  put_be32 (head + 16, size);
  if (fdio_write_full (s->fd, head, sizeof head, NAME, f) < 0)
    return -1;
  return size == 0 ? 0 : fdio_write_full (s->fd, data, size, NAME, f);
}

static int
reply_info (struct sink *s, uint32_t option, struct fault *f)
{
  uint8_t export[12];
  uint8_t blocks[14];

  put_be16 (export, INFO_EXPORT);
  put_be64 (export + 2, s->size);
  put_be16 (export + 10, EXPORT_FLAGS);
  put_be16 (blocks, INFO_BLOCK_SIZE);
  put_be32 (blocks + 2, 1);
  put_be32 (blocks + 6, 65536);
  put_be32 (blocks + 10, NBDSINK_WRITE_MAX);
  if (reply_option (s, option, OPTION_REPLY_INFO, export, sizeof export, f) < 0
      || reply_option (s, option, OPTION_REPLY_INFO, blocks, sizeof blocks, f)
             < 0)
    return -1;
  return reply_option (s, option, OPTION_ACK, NULL, 0, f);
}

static int
reply_export_name (struct sink *s, struct fault *f)
{
  uint8_t data[8 + 2 + 124] = { 0 };

  put_be64 (data, s->size);
  put_be16 (data + 8, EXPORT_FLAGS);
  return fdio_write_full (s->fd, data, s->no_zeroes ? 10 : sizeof data, NAME,
                          f);
}

/* One option.  1: the data phase begins, 0: another option follows, -1. */
static int
take_option (struct sink *s, struct fault *f)
{
  uint8_t head[16];
  uint8_t data[NBDSINK_OPTION_MAX];
  uint32_t option;
  uint32_t size;

  if (receive (s, head, sizeof head, f) < 0)
    return -1;
  option = get_be32 (head + 8);
  size = get_be32 (head + 12);
  if (get_be64 (head) != MAGIC_OPTION || size > sizeof data)
    return fault_set (f, FAULT_PROTO, 0, NAME ": malformed option");
  if (size > 0 && receive (s, data, size, f) < 0)
    return -1;
  switch (option) {
  case OPTION_EXPORT_NAME:
    return reply_export_name (s, f) < 0 ? -1 : 1;
  case OPTION_GO:
    return reply_info (s, option, f) < 0 ? -1 : 1;
  case OPTION_INFO:
    return reply_info (s, option, f);
  case OPTION_ABORT:
    (void)reply_option (s, option, OPTION_ACK, NULL, 0, NULL);
    return fault_set (f, FAULT_PROTO, 0, NAME ": given up by qemu-img");
  default:
    return reply_option (s, option, OPTION_UNSUPPORTED, NULL, 0, f);
  }
}

static int
negotiate (struct sink *s, struct fault *f)
{
  uint8_t hello[18];
  uint8_t flags[4];
  int rc = 0;

  put_be64 (hello, MAGIC_SERVER);
  put_be64 (hello + 8, MAGIC_OPTION);
  put_be16 (hello + 16, HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES);
  if (fdio_write_full (s->fd, hello, sizeof hello, NAME, f) < 0
      || receive (s, flags, sizeof flags, f) < 0)
    return -1;
  s->no_zeroes = (get_be32 (flags) & HANDSHAKE_NO_ZEROES) != 0;
  for (int i = 0; i < OPTIONS_MAX && rc == 0; i++)
    rc = take_option (s, f);
  if (rc == 0)
    return fault_set (f, FAULT_PROTO, 0, NAME ": too many options");
  return rc < 0 ? -1 : 0;
}

static int
reply_command (struct sink *s, const uint8_t handle[static 8], uint32_t error,
               struct fault *f)
{
  uint8_t reply[16];

  put_be32 (reply, MAGIC_REPLY);
  put_be32 (reply + 4, error);
  memcpy (reply + 8, handle, 8);
  return fdio_write_full (s->fd, reply, sizeof reply, NAME, f);
}

static int
take_write (struct sink *s, bool zeroes, uint64_t offset, uint32_t size,
            struct fault *f)
{
  if (offset > s->size || size > s->size - offset
      || (!zeroes && size > NBDSINK_WRITE_MAX))
    return fault_set (f, FAULT_PROTO, 0, NAME ": write of %u bytes at %llu",
                      size, (unsigned long long)offset);
  if (size == 0)
    return 0;
  if (zeroes)
    return s->fn (s->opaque, offset, NULL, size, f);
  if (receive (s, s->data, size, f) < 0)
    return -1;
  return s->fn (s->opaque, offset, s->data, size, f);
}

/* One command.  1: the client is done, 0: another follows, -1. */
static int
take_command (struct sink *s, struct fault *f)
{
  uint8_t request[28];
  uint16_t command;
  uint32_t error = 0;

  if (cancel_check (f) < 0 || receive (s, request, sizeof request, f) < 0)
    return -1;
  if (get_be32 (request) != MAGIC_REQUEST)
    return fault_set (f, FAULT_PROTO, 0, NAME ": malformed request");
  command = get_be16 (request + 6);
  if (command == COMMAND_DISC)
    return 1;
  if (command == COMMAND_WRITE || command == COMMAND_WRITE_ZEROES) {
    if (take_write (s, command == COMMAND_WRITE_ZEROES, get_be64 (request + 16),
                    get_be32 (request + 24), f)
        < 0)
      return -1;
  }
  else if (command != COMMAND_FLUSH)
    error = EINVAL;
  return reply_command (s, request + 8, error, f);
}

int
nbdsink_serve (int fd, uint64_t size, nbdsink_fn fn, void *opaque,
               struct fault *f)
{
  struct sink s = { .fd = fd, .size = size, .fn = fn, .opaque = opaque };
  CLEANUP_FREE uint8_t *data = xmalloc (NBDSINK_WRITE_MAX);
  int rc;

  s.data = data;
  rc = negotiate (&s, f);
  while (rc == 0)
    rc = take_command (&s, f);
  return rc < 0 ? -1 : 0;
}
