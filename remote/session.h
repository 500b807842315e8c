/* SPDX-License-Identifier: Apache-2.0 */
/* One conversation with the controller.  Three kinds of threads:

     reader   the first one: takes frames in, watches the heartbeat, and ends
              the process when the controller is gone; never blocks on storage
              or on the way out
     control  one: answers requests in the order in which they came
     workers  work.h: READ, WRITE and CHECK in pieces

   What is open (reading, writing) belongs to the control thread. */
#ifndef SESSION_H
#define SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "remote/guard.h"
#include "remote/peer.h"
#include "remote/work.h"
#include "wire/msg.h"

struct buf;
struct fault;
struct hold;
struct reading;
struct writing;

#define SESSION_REQUESTS_MAX 128
/* What is held on its way to storage: more than the 16 MiB that a controller
   keeps in flight, in frames of any size. */
#define SESSION_HELD_MAX (24u * 1024 * 1024)
#define SESSION_FRAMES_MAX 2048

/* A frame from the controller. */
struct session_request {
  struct frame frame;
  struct buf *payload; /* of a control frame */
  struct session_request *link;
};

/* A DATA or ZERO frame on its way to storage. */
struct session_buffer {
  struct frame frame;
  uint8_t table[FRAME_TABLE_MAX];
  uint8_t *coded; /* aligned, held bytes */
  size_t held;
};

struct session {
  struct guard *guard;
  struct work *work;
  struct peer peer;
  bool unlinked;
  struct msg_hello hello; /* version 0 until it came */
  struct reading *reading;
  struct writing *writing; /* changed by control, under lock */
  char *report;            /* on logical volumes, for CLOSED; NULL */
  unsigned stop_count;     /* test hook: times the phase was reached */

  pthread_mutex_t lock; /* of the rest, and of changes to writing */
  pthread_cond_t changed;
  struct session_request *first;
  struct session_request *last;
  unsigned requests;
  bool done;       /* control has answered BYE */
  bool left;       /* a logical volume is still active, and no CLOSED told it */
  size_t held;     /* bytes in session_buffers */
  unsigned frames; /* session_buffers */
};

/* Talk over descriptors 0 and 1 until it is over; the exit status. */
int session_run (struct guard *g, bool unlinked);

/* Free the memory of a frame that is written. */
void session_give_buffer (struct session *s, struct session_buffer *b);

/* Give H back to the guard, freeing it, and keep the report.  What F says
   already (the set was not opened) gets what is left added. */
int session_release (struct session *s, struct hold *h, struct fault *f);

/* Test hook: die here when the controller asked for it ("phase" or "phase:N":
   the Nth time). */
void session_stop (struct session *s, const char *phase);

#endif /* SESSION_H */
