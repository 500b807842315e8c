/* SPDX-License-Identifier: Apache-2.0 */
/* Storage domains with their state in the data center, and where a host has
   them mounted. */
#ifndef ENGINE_DOMAIN_H
#define ENGINE_DOMAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/uuid.h"

#define DOMAIN_LIST_MAX 4096
#define DOMAIN_DIR_MAX 1024
#define DOMAIN_LUNS_MAX 128

struct doc_node;
struct engine;
struct fault;

enum domain_kind {
  DOMAIN_OTHER, /* glance, cinder, managed block: nothing on a host */
  DOMAIN_NFS,
  DOMAIN_POSIXFS,
  DOMAIN_GLUSTERFS,
  DOMAIN_LOCALFS,
  DOMAIN_ISCSI,
  DOMAIN_FCP,
};

struct domain {
  char id[UUID_SIZE];
  char *name;
  char type[16]; /* data, iso, export, ... */
  enum domain_kind kind;
  char *address;
  char *path;
  char *vfs_type;
  char status[32];           /* in its data center: active, maintenance, ... */
  char center_id[UUID_SIZE]; /* data center */
  unsigned format;           /* storage format: 1..5, 0 unknown */
  unsigned block_size;       /* 512, 4096; 512 when not told */
  uint64_t available;        /* bytes, rounded to GiB by the engine */
  bool is_master;
  bool is_backup; /* backup domain: running VMs cannot use it */
  char **luns;    /* of a block domain: ids as multipath names them, each once;
                     nothing of them is checked */
  size_t lun_count; /* 0: the engine tells none; at most DOMAIN_LUNS_MAX + 1 */
};

struct domain_list {
  struct domain *items;
  size_t count;
};

/* All storage domains of all data centers.  LUNs of block domains that the list
   does not carry are asked for one domain by another. */
int domain_list (struct engine *engine, struct domain_list **list,
                 struct fault *f);
void domain_list_free (struct domain_list *list);
CLEANUP_DEFINE (domain_list_free, struct domain_list);

/* The LUNs that DOMAIN has now, which may have been extended: OUT has its id and
   them alone, to be freed with domain_reset. */
int domain_luns (struct engine *engine, const struct domain *domain,
                 struct domain *out, struct fault *f);
/* The status that DOMAIN has now in its data center. */
int domain_status (struct engine *engine, const struct domain *domain,
                   char status[static 32], struct fault *f);

bool domain_is_block (const struct domain *domain);
bool domain_is_file (const struct domain *domain);
bool domain_is_active (const struct domain *domain);
/* Names for the user and the helper: "nfs", "iscsi", ... */
const char *domain_kind_name (enum domain_kind kind);

/* The directory of the domain on a host that has it connected, without a
   slash at the end: /rhev/data-center/mnt/<escaped>/SD for files,
   /rhev/data-center/mnt/blockSD/SD for blocks (its LVs are /dev/SD/VOL). */
int domain_dir (const struct domain *domain, char out[static DOMAIN_DIR_MAX],
                struct fault *f);
/* The same without the domain's id: /rhev/data-center/mnt/<escaped>. */
int domain_mount_dir (const struct domain *domain,
                      char out[static DOMAIN_DIR_MAX], struct fault *f);

int domain_parse (const struct doc_node *node, struct domain *domain,
                  struct fault *f);
/* Free what DOMAIN holds, not DOMAIN itself. */
void domain_reset (struct domain *domain);

#endif /* ENGINE_DOMAIN_H */
