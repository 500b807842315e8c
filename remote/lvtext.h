/* SPDX-License-Identifier: Apache-2.0 */
/* Pure: the texts that go to LVM and come from it.  What LVM prints depends on
   its version and on what else happens in the volume group; nothing but the
   columns that were asked for is believed. */
#ifndef LVTEXT_H
#define LVTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "wire/group.h"

struct buf;
struct fault;

#define LVTEXT_OUT_MAX (4u * 1024 * 1024) /* what a command may print */
#define LVTEXT_NAME_SIZE 128
#define LVTEXT_ID_SIZE 39 /* of LVM: 32 letters and digits, 6 dashes */
#define LVTEXT_RANGES_SIZE 512
#define LVTEXT_DEVICE_DIR "/dev/mapper/"

/* How this host's LVM is told which devices it may see. */
enum lvtext_style {
  LVTEXT_EL7,     /* 2.02: filter, and locking_type=4 so that a report never
                     repairs what the SPM is just writing */
  LVTEXT_FILTER,  /* 2.03 without --devices */
  LVTEXT_DEVICES, /* 2.03.12 on: --devices, which overrides filter and file */
};

/* Columns of lvs and vgs, as lvtext_rows and lvtext_vg read them. */
#define LVTEXT_LV_COLUMNS                                                      \
  "vg_uuid,lv_uuid,lv_name,lv_attr,lv_size,seg_start_pe,seg_pe_ranges,lv_tags"
#define LVTEXT_VG_COLUMNS "vg_uuid,vg_name,vg_partial,vg_tags"

/* A logical volume: one or more rows, one for each segment. */
struct lvtext_lv {
  char vg_uuid[LVTEXT_ID_SIZE];
  char lv_uuid[LVTEXT_ID_SIZE];
  char name[LVTEXT_NAME_SIZE];
  char attr[12];
  uint64_t size;
  uint64_t first_pe; /* of the segment that was met last */
  /* Physical extents of all segments in order, or their digest when that is
     long: equal texts are equal extents. */
  char ranges[LVTEXT_RANGES_SIZE];
  char image[UUID_SIZE]; /* of IU_, "" = none */
  bool root;             /* PU_ is blank or absent */
  bool initializing;
  bool removing; /* IU__remove_me_... */
  int64_t slot;  /* of MD_, -1 = none */
};

struct lvtext_vg {
  char vg_uuid[LVTEXT_ID_SIZE];
  bool domain;  /* tag RHAT_storage_domain */
  bool partial; /* physical volumes are missing */
  char sd[UUID_SIZE];
  char pool[UUID_SIZE]; /* "" = none */
  unsigned version;     /* 0 = none */
};

/* The style for the version that `lvm version` printed, "2.03.16(2)...", and
   whether `lvm lvs --help` named --devices. */
int lvtext_style (const char *version, const char *help, enum lvtext_style *out,
                  struct fault *f);
/* The value of --config, and of --devices ("" for the other styles).
   READ_ONLY: SD's volumes become read-only when they are activated. */
void lvtext_config (enum lvtext_style style, const struct group_spec *g,
                    const char *read_only_sd, struct buf *out);
void lvtext_devices (enum lvtext_style style, const struct group_spec *g,
                     struct buf *out);

/* Parse what lvs printed with LVTEXT_LV_COLUMNS, separator '|', sizes in
   bytes without suffix.  *LVS is the caller's to free; volumes of one name and
   different UUIDs, or segments of different volumes, are FAULT_CORRUPT. */
int lvtext_rows (const char *text, struct lvtext_lv **lvs, size_t *count,
                 struct fault *f);
int lvtext_vg (const char *text, struct lvtext_vg *out, struct fault *f);
/* One value with the &NN& of vdsm's VG tags decoded; false when malformed. */
bool lvtext_decode_tag (const char *in, char *out, size_t size);

/* What LVM's stderr says of a command that failed. */
enum lvtext_error {
  LVTEXT_OTHER,
  LVTEXT_GROUP,     /* the group is not found: filter, or no LUNs here */
  LVTEXT_NOT_FOUND, /* a logical volume was removed elsewhere */
  LVTEXT_IN_USE,    /* somebody has it open */
  LVTEXT_FLAGS,     /* our flags do not fit this LVM */
  LVTEXT_RACE,      /* the SPM was writing metadata: ask again */
};
enum lvtext_error lvtext_classify (const char *errors);
/* Does it say that SD/VOLUME was not found? */
bool lvtext_lost (const char *errors, const char *sd, const char *volume);
/* The first line that is no warning, cut to SIZE; "" when there is none. */
void lvtext_reason (const char *errors, char *out, size_t size);

/* May LV, a volume of image data, be used?  WRITE: as an empty one. */
int lvtext_check (const struct lvtext_lv *lv, bool write, struct fault *f);
/* Is VG the domain SD as the controller describes it? */
int lvtext_check_vg (const struct lvtext_vg *vg, const char *sd,
                     const struct group_spec *g, struct fault *f);

#endif /* LVTEXT_H */
