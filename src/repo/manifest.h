/* SPDX-License-Identifier: Apache-2.0 */
/* What a restore point is: text of "key value" lines that begins with
   "chainlift-manifest 1" and ends with "end DIGEST" over all above.  Every key
   stands in chainlift-repository(5) and in the tables of manifest.c.

   Text fields are heap strings of the manifest or NULL when not known; set
   them with manifest_set.  Unknown keys are refused unless they begin with
   "x-": those are ignored. */
#ifndef MANIFEST_H
#define MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/uuid.h"
#include "repo/point.h"
#include "wire/digest.h"

#define MANIFEST_NAME "manifest"
#define MANIFEST_MAX (4u << 20)   /* bytes of a manifest */
#define MANIFEST_VALUE_MAX 32768u /* bytes of a value, before escapes */
#define MANIFEST_DISKS_MAX 512u   /* also of skipped disks */
#define MANIFEST_NICS_MAX 128u
#define MANIFEST_TAGS_MAX 256u
#define MANIFEST_FILES_MAX 16u
#define MANIFEST_FILE_NAME_SIZE 64 /* of vm.ovf and the like, with NUL */
#define MANIFEST_RUN_ID_MAX 40

struct fault;

enum manifest_kind {
  MANIFEST_FULL,      /* no other point is needed to restore it */
  MANIFEST_INCREMENT, /* over the parent point */
};
enum manifest_consistency {
  MANIFEST_CRASH,      /* as after a power cut */
  MANIFEST_FILESYSTEM, /* the guest's file systems were frozen */
  MANIFEST_STOPPED,    /* the VM was down */
};
enum manifest_format {
  MANIFEST_RAW,
  MANIFEST_COW,
};

/* A disk that was saved.  The fields below "draft" are filled by the draft. */
struct manifest_disk {
  char id[UUID_SIZE];
  enum manifest_kind kind;
  char *reason; /* why full or increment, when not the point's reason */
  char *alias;
  char *description;
  char *interface; /* as the engine says: virtio, virtio_scsi, sata ... */
  bool bootable;
  bool active;
  bool read_only;
  bool wipe_after_delete;
  bool pass_discard;
  enum manifest_format format; /* of the source's top volume */
  bool sparse;
  uint64_t virtual_size;     /* of the image in the repository */
  uint64_t provisioned_size; /* as the engine says; differs after a round-up */
  char storage_domain_id[UUID_SIZE];
  char *storage_domain_name;
  char volume_id[UUID_SIZE]; /* the frozen volume */
  char *identity;            /* of a template's base: what proves the volume */
  /* draft */
  char base[UUID_SIZE];             /* a full over this template's base; "" */
  uint8_t base_digest[DIGEST_SIZE]; /* digest below, of that base */
  char *file;                       /* DISK-ID.qcow2 */
  uint64_t bytes;                   /* size of that file */
  char *sum;                        /* DISK-ID.sum */
  uint64_t data;               /* guest bytes in data clusters of this file */
  uint64_t zero;               /* guest bytes in zero clusters of this file */
  uint8_t digest[DIGEST_SIZE]; /* XXH3-128 of the sum file */
};

struct manifest_nic {
  char id[UUID_SIZE];
  char *name;
  char *mac;
  char *interface;
  char *profile_id;
  char *profile_name;
  char *network_name;
  bool plugged;
  bool linked;
};

/* A disk of the VM that was not saved, and why. */
struct manifest_skipped {
  char id[UUID_SIZE];
  char *alias;
  char *reason;
};

/* Another file of the point (vm.ovf, vm.xml); filled by the draft. */
struct manifest_file {
  char name[MANIFEST_FILE_NAME_SIZE];
  uint64_t bytes;
  uint8_t digest[DIGEST_SIZE];
};

struct manifest {
  char vm_id[UUID_SIZE];
  char *vm_name;
  char point[POINT_NAME_SIZE];  /* filled by the draft */
  enum manifest_kind kind;      /* increment: at least one disk is one */
  char parent[POINT_NAME_SIZE]; /* "" when no disk is an increment */
  char *reason;
  enum manifest_consistency consistency;
  char *run_id;
  char *engine_url;
  char *engine_id; /* identifies the engine's instance */
  char snapshot_id[UUID_SIZE];
  char snapshot_date[POINT_NAME_SIZE]; /* compact form; "" when not known */
  uint64_t event;                      /* the engine's last one before that
                                          snapshot; 0 when not known */
  char finished[POINT_NAME_SIZE];      /* when it was published; by the draft */
  char *cluster_id;
  char *cluster_name;
  char *host_id; /* where the VM ran; NULL when it was down */
  char *host_name;
  char *program; /* name and version that wrote the point; by the draft */
  struct manifest_disk *disks;
  size_t disk_count;
  struct manifest_nic *nics;
  size_t nic_count;
  struct manifest_skipped *skipped;
  size_t skipped_count;
  struct manifest_file *files;
  size_t file_count;
  char **tags;
  size_t tag_count;
};

struct manifest *manifest_new (void);
void manifest_free (struct manifest *m);
CLEANUP_DEFINE (manifest_free, struct manifest);

/* Replace the string at *FIELD by a copy of VALUE (NULL: not known). */
void manifest_set (char **field, const char *value);
/* A new, zeroed entry at the end, to be filled; the pointer is good until the
   next entry of this kind is added.  Beyond the _MAX of its kind: NULL and a
   fault. */
struct manifest_disk *manifest_add_disk (struct manifest *m, struct fault *f);
struct manifest_nic *manifest_add_nic (struct manifest *m, struct fault *f);
struct manifest_skipped *manifest_add_skipped (struct manifest *m,
                                               struct fault *f);
struct manifest_file *manifest_add_file (struct manifest *m, struct fault *f);
int manifest_add_tag (struct manifest *m, const char *tag, struct fault *f);

/* The disk by its id, or else by its alias when only one has it; NULL. */
const struct manifest_disk *manifest_find_disk (const struct manifest *m,
                                                const char *id_or_alias);

/* Parse and check SIZE bytes of TEXT.  FAULT_CORRUPT names the line and what
   is wrong with it.  The caller frees *OUT. */
int manifest_parse (const char *text, size_t size, struct manifest **out,
                    struct fault *f);
/* The text of M, whose length is *SIZE; the caller frees it.  NULL with
   FAULT_INTERNAL when M would not be read back (a missing or malformed
   field). */
char *manifest_format (const struct manifest *m, size_t *size, struct fault *f);
/* Read the manifest in the directory of a point.  Its point (NULL: any) and VM
   must be the ones named.  FAULT_NOTFOUND: none there. */
int manifest_load (int dirfd, const char *vm_id, const char *point,
                   struct manifest **out, struct fault *f);

/* Is it the name of a file of a point: letters, digits, '.', '-'; not beginning
   with a dot, and not "manifest". */
bool manifest_file_name_valid (const char *s);

const char *manifest_kind_name (enum manifest_kind kind);
const char *manifest_consistency_name (enum manifest_consistency c);
const char *manifest_format_name (enum manifest_format format);

#endif /* MANIFEST_H */
