/* SPDX-License-Identifier: Apache-2.0 */
/* Disks and the layers of which they are made.

   A disk id is the id of the image, which is the directory on the host; an
   image id (here: volume) is one layer, which is the file or the LV. */
#ifndef ENGINE_DISK_H
#define ENGINE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/uuid.h"

#define DISK_DOMAINS_MAX 16 /* copies of a template's disk */
#define DISK_LAYERS_MAX 512
#define DISK_LIST_MAX 65536

struct doc_node;
struct engine;
struct fault;

enum disk_format {
  DISK_FORMAT_UNKNOWN,
  DISK_FORMAT_RAW,
  DISK_FORMAT_COW,
};

/* Strings are never NULL; ids are "" when the engine gives none. */
struct disk {
  char id[UUID_SIZE];
  char volume_id[UUID_SIZE]; /* image_id: the active, or the frozen, layer */
  char *alias;
  char *description;
  enum disk_format format;
  bool sparse;
  bool shareable;
  bool wipe_after_delete;
  bool propagate_errors;
  bool incremental;          /* <backup>incremental</backup> */
  uint64_t provisioned_size; /* bytes, exact (0: not told) */
  uint64_t actual_size;      /* bytes of this layer, refreshed with delay */
  uint64_t total_size;       /* bytes of the chain, refreshed with delay */
  char status[24];           /* ok, locked, illegal, "" */
  char content_type[40];     /* data, iso, ...; "data" when not told */
  char storage_type[40];     /* image, lun, managed_block_storage, ... */
  char qcow_version[16];     /* qcow2_v2, qcow2_v3, "" */
  char domain_ids[DISK_DOMAINS_MAX][UUID_SIZE];
  size_t domain_count;
  char profile_id[UUID_SIZE]; /* disk profile */
  char quota_id[UUID_SIZE];
  char snapshot_id[UUID_SIZE];
  char vm_id[UUID_SIZE]; /* a VM that uses it; only disk_get knows; "": none */
};

struct disk_list {
  struct disk *items;
  size_t count;
};

/* One layer; layers are listed top (newest) first. */
struct disk_layer {
  char volume_id[UUID_SIZE];
  char parent_id[UUID_SIZE];   /* "" for the base of the chain */
  char disk_id[UUID_SIZE];     /* a template's base belongs to another disk */
  char snapshot_id[UUID_SIZE]; /* VM snapshot it belongs to, "" unknown */
  enum disk_format format;     /* UNKNOWN where the engine does not tell */
  bool sparse;
  bool is_template;
  uint64_t provisioned_size; /* 0 where the engine does not tell */
  char status[24];
};

struct disk_layers {
  struct disk_layer *items;
  size_t count;
};

/* Where disk_layers begins and what it may need on older engines. */
struct disk_layers_query {
  const char *disk_id;
  const char *volume_id;   /* the top layer that is wanted */
  const char *domain_id;   /* the storage domain of the disk */
  const char *vm_id;       /* whose OVF lists the layers (before 4.4.3) */
  const char *template_id; /* UUID_BLANK or "" when thin on nothing */
};

struct disk_create {
  const char *id;        /* chosen by the caller and journaled before */
  const char *volume_id; /* chosen too */
  const char *alias;
  const char *description; /* carries chainlift:REPOSITORY:RUN */
  const char *domain_id;
  enum disk_format format;
  bool sparse;
  bool incremental;
  bool wipe_after_delete;
  uint64_t provisioned_size;
  uint64_t initial_size;    /* 0: not sent; for cow on a block domain */
  const char *qcow_version; /* qcow2_v2, qcow2_v3 or NULL */
  const char *profile_id;   /* NULL or "": the domain's default */
  const char *quota_id;
};

int disk_get (struct engine *engine, const char *disk_id, struct disk **disk,
              struct fault *f);
void disk_free (struct disk *disk);
CLEANUP_DEFINE (disk_free, struct disk);
void disk_list_free (struct disk_list *list);
CLEANUP_DEFINE (disk_list_free, struct disk_list);

/* Why a backup leaves this disk out ("shareable", "direct LUN", ...), or NULL
   when it can be backed up.  Static text. */
const char *disk_skip_reason (const struct disk *disk);

/* The chain from query->volume_id down to the base, the template's base
   included, checked: no cycle, every parent present, at most
   DISK_LAYERS_MAX. */
int disk_layers (struct engine *engine, const struct disk_layers_query *query,
                 struct disk_layers **layers, struct fault *f);
void disk_layers_free (struct disk_layers *layers);
CLEANUP_DEFINE (disk_layers_free, struct disk_layers);

/* Create a floating disk and wait until it is ok and its job has ended.  DISK
   is what the engine made of it (the capacity may have been rounded up).
   Never made twice: after an answer that got lost the disk is looked for by
   its id.  A disk that is there before the first attempt is FAULT_BUSY. */
int disk_create (struct engine *engine, const struct disk_create *create,
                 struct disk **disk, struct fault *f);
/* Wait until the disk is ok; illegal is FAULT_REMOTE, gone FAULT_NOTFOUND. */
int disk_wait_ok (struct engine *engine, const char *disk_id,
                  unsigned timeout_s, struct disk **disk, struct fault *f);
/* Delete and wait until it is gone; absent already is success. */
int disk_delete (struct engine *engine, const char *disk_id, struct fault *f);

/* All disks of all storage domains whose description begins with PREFIX.
   vm_id is filled ("" = floating). */
int disk_list_ours (struct engine *engine, const char *prefix,
                    struct disk_list **list, struct fault *f);

/* For the other files of this folder: one <disk> element. */
int disk_parse (const struct doc_node *node, struct disk *disk,
                struct fault *f);
/* Free what DISK holds, not DISK itself. */
void disk_reset (struct disk *disk);
/* For disk_layers and its tests: link LAYERS (any order, unchecked) to the
   chain from TOP downwards.  *MISSING is the parent that is not among them
   ("" when the chain is whole). */
int disk_layers_link (const struct disk_layers *all, const char *top,
                      struct disk_layers **chain,
                      char missing[static UUID_SIZE], struct fault *f);
/* One <disk_snapshot> element. */
int disk_parse_layer (const struct doc_node *node, struct disk_layer *layer,
                      struct fault *f);

#endif /* ENGINE_DISK_H */
