/* SPDX-License-Identifier: Apache-2.0 */
/* What the guard is responsible for, written down on tmpfs before it is done,
   so that after a SIGKILL of both processes the next helper can undo it:

     /run/chainlift/lv.PID.XXXXXXXX   mode 0600, locked while its helper lives
       chainlift-lv 1
       boot BOOT-ID                   of another boot: nothing is active, gone
       sd SD VERSION
       lun ID                         each
       mine VOLUME VG-UUID LV-UUID    about to be activated by us
       held VOLUME VG-UUID LV-UUID    vdsm had it in use when we opened it
       done VOLUME                    not our duty any more

   A line that was cut short is as good as none: what it announces was not yet
   begun. */
#ifndef LVSTATE_H
#define LVSTATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/uuid.h"
#include "remote/lvtext.h"
#include "wire/group.h"

struct fault;

#define LVSTATE_DIR "/run/chainlift"
#define LVSTATE_SIZE_MAX (256u * 1024)
#define LVSTATE_VOLUMES_MAX 1024
#define LVSTATE_NAME_SIZE 64

struct lvstate_volume {
  char name[UUID_SIZE];
  char vg_uuid[LVTEXT_ID_SIZE];
  char lv_uuid[LVTEXT_ID_SIZE];
  bool mine;
  bool done;
};

/* A record that was read; lvstate_reset frees it. */
struct lvstate {
  char boot[UUID_SIZE];
  char sd[UUID_SIZE];
  struct group_spec group;
  struct lvstate_volume *volumes;
  size_t count;
};

/* A record that is open and locked. */
struct lvstate_file {
  int fd; /* -1: none */
  char name[LVSTATE_NAME_SIZE];
};

/* Pure: read TEXT; FAULT_CORRUPT when it is no record. */
int lvstate_parse (const char *text, struct lvstate *out, struct fault *f);
void lvstate_reset (struct lvstate *s);

/* Begin a record for SD. */
int lvstate_create (const char *sd, const struct group_spec *g,
                    struct lvstate_file *out, struct fault *f);
/* Add a line: the duty for V, or that there is none any more. */
int lvstate_add (struct lvstate_file *s, const struct lvstate_volume *v,
                 struct fault *f);
/* Close it; REMOVE: nothing is left of our duties. */
void lvstate_close (struct lvstate_file *s, bool remove);

/* Is there a record whose helper is dead?  Cheap; false on errors. */
bool lvstate_orphans (void);
/* Lock a record of a dead helper and read it into OUT and FILE, passing over
   the first SKIP of them; false: there is no more.  Records of other boots, and
   what is no record, are removed on the way. */
bool lvstate_next (unsigned skip, struct lvstate *out,
                   struct lvstate_file *file);
/* Who looks after a volume? */
enum lvstate_claim {
  LVSTATE_NOBODY,
  LVSTATE_DEAD,  /* helpers that are gone, whose duty is to be done yet */
  LVSTATE_LIVING /* a helper that runs */
};
/* What records but BUT (may be NULL) say of the volume LV_UUID.  MINE (may be
   NULL): one of them names it as activated by its helper. */
enum lvstate_claim lvstate_claims (const char *lv_uuid,
                                   const struct lvstate_file *but, bool *mine);

#endif /* LVSTATE_H */
