/* SPDX-License-Identifier: Apache-2.0 */
/* Backup: layers that were proven and are open for reading, what is allocated
   in them, and their bytes. */
#ifndef SEND_H
#define SEND_H

#include <stddef.h>
#include <stdint.h>

struct buf;
struct fault;
struct reading;
struct session;

/* The handlers of OPEN_READ, MAP, READ; called by the control thread. */
int send_open (struct session *s, uint32_t id, struct buf *payload,
               struct fault *f);
int send_map (struct session *s, uint32_t id, struct buf *payload,
              struct fault *f);
int send_read (struct session *s, uint32_t id, struct buf *payload,
               struct fault *f);
/* The identity text of all layers, NUL-terminated; no READ may be running. */
int send_identify (struct reading *r, struct buf *text, struct fault *f);
int send_close (struct reading *r, struct fault *f);

/* Pure: the layers as one chain, top first: their ids differ, each one's parent
   is the next, the last has none unless PART. */
struct msg_open_read;
int send_check_chain (const struct msg_open_read *m, struct fault *f);

#endif /* SEND_H */
