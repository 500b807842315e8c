/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to and from one helper: sending, receiving with heartbeats, and the
   helper's FAULT as ours.  For remote.c, which knows what they mean.

   Frames are read straight to where they are wanted: the header, the table of
   digests, then the data into an aligned buffer that is used again and again.
   After the SSH library's own copies no byte of plain data is moved again. */
#ifndef TALK_H
#define TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/frame.h"

struct chan;
struct conn;
struct fault;

struct talk {
  struct conn *c;
  struct chan *ch; /* owned */
  bool sudo;       /* for messages */
  bool alive;
  uint32_t heartbeat_ms;
  uint64_t sent_ms; /* when the last frame went out */
  uint64_t raw_bytes;

  uint8_t head[FRAME_HEADER];
  struct frame frame;             /* the last one that came */
  uint8_t table[FRAME_TABLE_MAX]; /* its digests */
  uint8_t *raw;                   /* FRAME_RAW_MAX, aligned: its data, decoded
                                     and compared with the digests */
  uint8_t *control;               /* or its message */
  uint8_t *coded;                 /* data before decoding; room of
                                     pack_bound (FRAME_RAW_MAX) for a sender */
  struct buf payload;             /* a message to send: emptied by sending */
  struct buf out;
};

/* Memory for the buffers. */
int talk_init (struct talk *t, struct conn *c, uint32_t heartbeat_ms, bool sudo,
               struct fault *f);
/* T speaks over CH from now on and owns it. */
void talk_begin (struct talk *t, struct chan *ch);
void talk_reset (struct talk *t);

/* The session cannot go on (the fault is set): -1. */
int talk_dead (struct talk *t);
/* The last frame is not as it must be, because of WHY: -1. */
int talk_odd (struct talk *t, const char *why, struct fault *f);

int talk_send (struct talk *t, const void *data, size_t size, struct fault *f);
/* A control frame with t->payload, if that is not empty. */
int talk_send_control (struct talk *t, enum frame_type type, uint32_t id,
                       struct fault *f);
/* A PING, when a third of the heartbeat has passed in silence. */
int talk_beat (struct talk *t, struct fault *f);

/* The next frame into t->frame, but for PONG.  -1 also for a FAULT of the
   helper: t->alive then tells whether the session goes on, t->frame.id which
   request failed. */
int talk_next (struct talk *t, struct fault *f);
/* As talk_next, if one has begun to come: 1; else 0. */
int talk_poll (struct talk *t, struct fault *f);
/* The message of the last frame. */
void talk_view (const struct talk *t, struct buf *b);

#endif /* TALK_H */
