/* SPDX-License-Identifier: Apache-2.0 */
/* The messages between controller (C) and helper (H): the payload of control
   frames.  One struct, one encode and one decode each; chainlift-wire(7) shows
   each byte.  Fields stand on the wire in the order of the struct; strings as
   u16 length and bytes, texts as u32 length and bytes.

     C HELLO ->        H WELCOME                      first, once
     C PING ->         H PONG                         any time
     C REAP ->         H REAPED                       nothing open
     C OPEN_READ ->    H OPENED
     C MAP ->          H MAPPED
     C READ ->         H DATA* ZERO* READ_DONE        several outstanding
     C IDENTIFY ->     H IDENTITY                     read or write
     C OPEN_WRITE ->   H WOPENED
     C DATA* ZERO* ->  H WRITTEN                      id = that of OPEN_WRITE
     C TRUNCATE ->     H TRUNCATED
     C FLUSH ->        H FLUSHED
     C CHECK ->        H DIGESTS
     C SEAL ->         H SEALED
     C CLOSE ->        H CLOSED
     C BYE             H closes its volume and exits with 0
   Instead of its reply a request may get H FAULT with its id: it failed and
   the session goes on.  H FAULT with id 0: the session is over.  PING, CLOSE,
   BYE, REAP, FLUSH, IDENTIFY, PONG, TRUNCATED have no payload.

   A decode function reads a whole message: -1 with FAULT_PROTO when a number
   is over its maximum, a name is malformed, or bytes are missing or left over.
   An encode function appends to the buffer, which goes bad when a string or a
   count is over its maximum.  Strings must not contain NUL. */
#ifndef MSG_H
#define MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"
#include "base/uuid.h"
#include "wire/frame.h"
#include "wire/group.h"

struct buf;

#define MSG_VERSION 1
#define MSG_NAME_MAX 256 /* strings, with the NUL */
#define MSG_DIR_MAX 1024 /* a directory, with the NUL */
#define MSG_LAYERS_MAX 512
#define MSG_TEXT_MAX (192u * 1024)       /* identity text, without the NUL */
#define MSG_READ_MAX FRAME_ZERO_MAX      /* length of READ and CHECK */
#define MSG_SPAN MSG_READ_MAX            /* unit of MAPPED's spans */
#define MSG_MAP_MAX (UINT64_C (1) << 40) /* length of MAP */
#define MSG_SPANS_MAX (MSG_MAP_MAX / MSG_SPAN)
#define MSG_DIGESTS_MAX (MSG_READ_MAX / DIGEST_BLOCK)
#define MSG_SEAL_MAX DIGEST_BLOCK
#define MSG_REPORT_MAX (64u * 1024)   /* text of CLOSED and REAPED */
#define MSG_DISK_MAX FRAME_OFFSET_MAX /* any size or capacity */

/* C: the first frame. */
struct msg_hello {
  uint32_t version;      /* MSG_VERSION */
  uint32_t heartbeat_ms; /* without a frame from C for that long H ends */
  uint32_t codings;      /* bit 1 << frame_coding: H may use it; PLAIN always */
  char run_id[MSG_NAME_MAX];     /* for messages */
  char stop_phase[MSG_NAME_MAX]; /* test hook; "" = none */
};

enum msg_welcome_flag {
  MSG_WELCOME_ROOT = 1,       /* started with uid 0 */
  MSG_WELCOME_VDSM = 2,       /* file domains are opened as uid 36 */
  MSG_WELCOME_UNLINKED = 4,   /* it has removed its own file and directory */
  MSG_WELCOME_TEST_HOOKS = 8, /* honours stop_phase */
  MSG_WELCOME_REAP = 16       /* helpers of the past left records: REAP */
};

/* H: who and where it is. */
struct msg_welcome {
  uint32_t version;
  uint32_t pid; /* of the process that holds volumes open */
  uint32_t uid;
  uint32_t flags;             /* enum msg_welcome_flag */
  char program[MSG_NAME_MAX]; /* package version of the helper */
  char hostname[MSG_NAME_MAX];
  char boot_id[MSG_NAME_MAX];
  char machine[MSG_NAME_MAX];
  char kernel[MSG_NAME_MAX];
};

/* H: request ID failed (frame id 0: the session). */
struct msg_fault {
  uint8_t code; /* enum fault_code, never NONE */
  uint32_t err; /* errno of the host, or 0 */
  char text[FAULT_TEXT_MAX];
};

enum msg_kind {
  MSG_FILE = 1,  /* DIR/images/IMAGE/VOLUME */
  MSG_BLOCK = 2, /* logical volumes of the group SD; DIR is
                    /rhev/data-center/mnt/blockSD/SD */
};

enum msg_format {
  MSG_RAW = 1,
  MSG_COW = 2,
};

/* What VDSM's metadata may say; several bits: any of them is right. */
enum msg_voltype {
  MSG_LEAF = 1,
  MSG_INTERNAL = 2,
  MSG_SHARED = 4,
};

enum msg_legality {
  MSG_LEGAL = 1,
  MSG_ILLEGAL = 2,
};

/* One layer as the engine describes it. */
struct msg_layer {
  char image[UUID_SIZE];  /* the directory that it is opened in */
  char owner[UUID_SIZE];  /* IMAGE= of its metadata, and IU_ of its tags;
                             "" = image, or with MSG_SHARED any */
  char volume[UUID_SIZE]; /* file name */
  char parent[UUID_SIZE]; /* PUUID=; UUID_BLANK = none */
  uint8_t format;         /* enum msg_format */
  uint8_t voltype;        /* mask of enum msg_voltype */
  uint8_t legality;       /* mask of enum msg_legality */
  uint64_t capacity;      /* CAP= (or SIZE= * 512) in bytes; 0 = not known */
};

enum msg_read_flag {
  MSG_READ_KEEP_ZERO = 1,    /* only the upper part of a chain is read: what
                                reads as zeros is told by ZERO frames; what
                                that part does not have is left out */
  MSG_READ_SCAN_WRITERS = 2, /* refuse with BUSY when a process of the host has
                                a layer open for writing */
};

/* C: prove and open these layers, top first.  The last LOWER_COUNT are below
   the part that is read: they only complete a block that this part changed in
   part.  The last layer has a parent only with MSG_READ_KEEP_ZERO and without
   lower ones. */
struct msg_open_read {
  uint8_t kind;          /* enum msg_kind */
  uint32_t flags;        /* enum msg_read_flag */
  char dir[MSG_DIR_MAX]; /* root of the domain, absolute, the SD id last */
  uint32_t layer_count;  /* 1 to MSG_LAYERS_MAX */
  uint32_t lower_count;  /* less than layer_count; 0 without KEEP_ZERO */
  struct msg_layer *layers;
  struct group_spec group; /* on the wire with MSG_BLOCK alone */
};

struct msg_opened_layer {
  uint64_t container; /* bytes of the file or device */
  uint64_t virtual_size;
};

/* H: all layers are open. */
struct msg_opened {
  uint64_t virtual_size; /* of the top layer: the disk */
  uint32_t layer_count;
  struct msg_opened_layer *layers;
  char *identity; /* canonical text, as in IDENTITY */
};

/* C: what is allocated in [start, start + length), both multiples of MSG_SPAN
   except at the end of the disk. */
struct msg_map {
  uint64_t start;
  uint64_t length; /* 1 to MSG_MAP_MAX */
};

#define MSG_SPAN_ZERO 0x80000000u /* the span has extents that read as zeros */

/* H: sums over that range. */
struct msg_mapped {
  uint64_t data_bytes;
  uint64_t zero_bytes;
  uint64_t absent_bytes;
  uint64_t extents;
  uint32_t span_count; /* of MSG_SPAN each, the last maybe short */
  uint32_t *spans;     /* allocated bytes of each, with MSG_SPAN_ZERO */
};

/* C: send this range of the disk; start is a multiple of DIGEST_BLOCK, and so
   is length except at the end of the disk. */
struct msg_read {
  uint64_t start;
  uint64_t length; /* 1 to MSG_READ_MAX */
};

/* H: all of READ was sent. */
struct msg_read_done {
  uint64_t data_bytes;    /* sent in DATA frames, before coding */
  uint64_t zero_bytes;    /* told in ZERO frames, or with KEEP_ZERO off known
                             as zero from the tables */
  uint64_t skipped_bytes; /* allocated, read, and found to be zero */
};

/* H: lines of text, one fact each, the same as long as the layers are. */
struct msg_identity {
  char *text;
};

enum msg_write_flag {
  MSG_WRITE_FRESH = 1, /* the volume was made for this restore: a cow one has
                          no data; the holes of a file read as zeros */
  MSG_WRITE_LOCKED = 2 /* held by an upload transfer: LEGALITY is ILLEGAL; a
                          logical volume is active by the engine's doing and
                          stays so */
};

/* C: prove that this is the empty volume, open it, and for cow put zeros over
   its first DIGEST_BLOCK bytes and flush. */
struct msg_open_write {
  uint8_t kind;
  uint8_t format;
  uint32_t flags; /* enum msg_write_flag */
  char dir[MSG_DIR_MAX];
  char image[UUID_SIZE];
  char volume[UUID_SIZE];
  uint64_t capacity; /* CAP=, or what that was rounded up from */
  uint64_t need; /* bytes that the container must have at least: the end of the
                    image that will be written; 0 for a file, which grows */
  struct group_spec group; /* on the wire with MSG_BLOCK alone */
};

/* H: ready for DATA. */
struct msg_wopened {
  uint64_t container;
  uint64_t capacity; /* as vdsm wrote it down: the virtual size to write */
  char *identity;
};

/* H: how many raw bytes of DATA and lengths of ZERO since WOPENED are written
   (not flushed); at least one each MSG_WRITTEN_STEP bytes. */
#define MSG_WRITTEN_STEP (4u * 1024 * 1024)
struct msg_written {
  uint64_t total;
};

/* C: set the size of the container (files only). */
struct msg_truncate {
  uint64_t size;
};

/* H: everything up to TOTAL is on stable storage. */
struct msg_flushed {
  uint64_t total;
};

/* C: read back this range of the container past all caches. */
struct msg_check {
  uint64_t offset; /* multiple of DIGEST_BLOCK */
  uint64_t length; /* 1 to MSG_READ_MAX */
};

struct msg_digests {
  uint64_t offset;
  uint32_t count; /* digests, DIGEST_BLOCKS (length) */
  uint8_t *digests;
};

/* C: prove the identity again, write SIZE bytes at offset 0, flush.  Size 0:
   proof and flush alone.  A raw logical volume, which holds somebody's old
   bytes, is sealed only when each byte of it was covered by DATA or ZERO. */
struct msg_seal {
  uint32_t size;       /* 0 to MSG_SEAL_MAX */
  const uint8_t *data; /* borrowed; after decode it points into the buffer */
};

struct msg_sealed {
  char *identity;
};

/* C: is this block domain one whose volumes the helper could open here?  LOOKED
   has no payload. */
struct msg_look {
  char dir[MSG_DIR_MAX];
  struct group_spec group;
};

/* H: CLOSED: what became of the logical volumes that the helper was responsible
   for, "" for files; REAPED: the same for what helpers that were killed on this
   host had activated.  One line each, WORD SD/VOLUME and what is to be told:
     off      was deactivated
     gone     was inactive already, or its stale mapping was removed
     used     vdsm, or another helper, has begun to use it: theirs now
     left     is still active; somebody has to look */
struct msg_report {
  char *report;
};

void msg_hello_encode (const struct msg_hello *m, struct buf *b);
int msg_hello_decode (struct buf *b, struct msg_hello *m, struct fault *f);
void msg_welcome_encode (const struct msg_welcome *m, struct buf *b);
int msg_welcome_decode (struct buf *b, struct msg_welcome *m, struct fault *f);
void msg_fault_encode (const struct msg_fault *m, struct buf *b);
int msg_fault_decode (struct buf *b, struct msg_fault *m, struct fault *f);

/* Members that a decode allocates are freed by the reset of that message,
   which is safe on a zeroed struct and after a failed decode. */
void msg_open_read_encode (const struct msg_open_read *m, struct buf *b);
int msg_open_read_decode (struct buf *b, struct msg_open_read *m,
                          struct fault *f);
void msg_open_read_reset (struct msg_open_read *m);
void msg_opened_encode (const struct msg_opened *m, struct buf *b);
int msg_opened_decode (struct buf *b, struct msg_opened *m, struct fault *f);
void msg_opened_reset (struct msg_opened *m);
void msg_map_encode (const struct msg_map *m, struct buf *b);
int msg_map_decode (struct buf *b, struct msg_map *m, struct fault *f);
void msg_mapped_encode (const struct msg_mapped *m, struct buf *b);
int msg_mapped_decode (struct buf *b, struct msg_mapped *m, struct fault *f);
void msg_mapped_reset (struct msg_mapped *m);
void msg_read_encode (const struct msg_read *m, struct buf *b);
int msg_read_decode (struct buf *b, struct msg_read *m, struct fault *f);
void msg_read_done_encode (const struct msg_read_done *m, struct buf *b);
int msg_read_done_decode (struct buf *b, struct msg_read_done *m,
                          struct fault *f);
void msg_identity_encode (const struct msg_identity *m, struct buf *b);
int msg_identity_decode (struct buf *b, struct msg_identity *m,
                         struct fault *f);
void msg_identity_reset (struct msg_identity *m);

void msg_open_write_encode (const struct msg_open_write *m, struct buf *b);
int msg_open_write_decode (struct buf *b, struct msg_open_write *m,
                           struct fault *f);
void msg_open_write_reset (struct msg_open_write *m);
void msg_wopened_encode (const struct msg_wopened *m, struct buf *b);
int msg_wopened_decode (struct buf *b, struct msg_wopened *m, struct fault *f);
void msg_wopened_reset (struct msg_wopened *m);
void msg_written_encode (const struct msg_written *m, struct buf *b);
int msg_written_decode (struct buf *b, struct msg_written *m, struct fault *f);
void msg_truncate_encode (const struct msg_truncate *m, struct buf *b);
int msg_truncate_decode (struct buf *b, struct msg_truncate *m,
                         struct fault *f);
void msg_flushed_encode (const struct msg_flushed *m, struct buf *b);
int msg_flushed_decode (struct buf *b, struct msg_flushed *m, struct fault *f);
void msg_check_encode (const struct msg_check *m, struct buf *b);
int msg_check_decode (struct buf *b, struct msg_check *m, struct fault *f);
void msg_digests_encode (const struct msg_digests *m, struct buf *b);
int msg_digests_decode (struct buf *b, struct msg_digests *m, struct fault *f);
void msg_digests_reset (struct msg_digests *m);
void msg_seal_encode (const struct msg_seal *m, struct buf *b);
int msg_seal_decode (struct buf *b, struct msg_seal *m, struct fault *f);
void msg_sealed_encode (const struct msg_sealed *m, struct buf *b);
int msg_sealed_decode (struct buf *b, struct msg_sealed *m, struct fault *f);
void msg_sealed_reset (struct msg_sealed *m);
void msg_look_encode (const struct msg_look *m, struct buf *b);
int msg_look_decode (struct buf *b, struct msg_look *m, struct fault *f);
void msg_look_reset (struct msg_look *m);
void msg_report_encode (const struct msg_report *m, struct buf *b);
int msg_report_decode (struct buf *b, struct msg_report *m, struct fault *f);
void msg_report_reset (struct msg_report *m);

#endif /* MSG_H */
