/* SPDX-License-Identifier: Apache-2.0 */
/* The guard's side of a block domain: which logical volumes there are, that
   they are the right ones, activating what is inactive, opening them, and
   putting everything back.  One set is open at a time. */
#ifndef LV_H
#define LV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"
#include "remote/lvtext.h"
#include "wire/group.h"
#include "wire/msg.h"

struct buf;
struct fault;
struct lv;

enum lv_mode {
  LV_LOOK = 0, /* no volumes, the group alone */
  LV_READ = 1,
  LV_WRITE = 2,        /* one empty volume, which is inactive */
  LV_WRITE_LOCKED = 3, /* the same, active by the engine's doing */
};

/* What the worker asks for; the guard believes nothing of it. */
struct lv_want {
  uint32_t mode;  /* enum lv_mode */
  uint32_t count; /* of volumes */
  uint64_t need;  /* bytes that a volume must have at least */
  char sd[UUID_SIZE];
  uint8_t version;
  char pool[UUID_SIZE];
  uint32_t lun_count;
  struct group_lun luns[GROUP_LUNS_MAX];
  char volumes[MSG_LAYERS_MAX][UUID_SIZE];
};

/* What is known of a volume, after the last lv_open or lv_list. */
struct lv_facts {
  char vg_uuid[LVTEXT_ID_SIZE];
  char lv_uuid[LVTEXT_ID_SIZE];
  char image[UUID_SIZE]; /* of its tag IU_; "" for the metadata */
  char ranges[LVTEXT_RANGES_SIZE];
  uint64_t size;
  int64_t slot;
};

struct lv *lv_new (void);
/* The group and its volumes are there and are what WANT says; nothing is
   activated yet. */
int lv_open (struct lv *l, const struct lv_want *want, struct fault *f);
/* Make all of them active, as large as they are, and open them. */
int lv_activate (struct lv *l, struct fault *f);
/* Hand out the descriptor of volume INDEX, once; INDEX = count: one of the
   domain's metadata, for reading.  -1 when there is none. */
int lv_take (struct lv *l, uint32_t index, struct fault *f);
int lv_facts (const struct lv *l, uint32_t index, struct lv_facts *out,
              struct fault *f);
/* Ask LVM again.  A volume that is not there any more, or is another one, is
   FAULT_CORRUPT. */
int lv_list (struct lv *l, struct fault *f);
/* Put everything back; the worker has nothing open any more.  A no-op when
   nothing is open. */
void lv_close (struct lv *l, struct buf *report);
/* Put back what killed helpers left; nothing is open. */
void lv_reap (struct lv *l, struct buf *report);

#endif /* LV_H */
