/* SPDX-License-Identifier: Apache-2.0 */
/* The proof comes in three parts, each of which alone has been wrong on some
   host: the metadata (written by vdsm, ahead of QEMU), the file (what is open,
   by inode), and the header (what QEMU wrote).  The format of a volume is what
   the metadata says and what the engine says: a raw volume is never parsed,
   whatever a guest has put into its first bytes. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "image/chain.h"
#include "image/qcow2.h"
#include "remote/guard.h"
#include "remote/hold.h"
#include "remote/path.h"
#include "remote/volume.h"
#include "wire/capacity.h"
#include "wire/digest.h"

#define META_SUFFIX ".meta"
#define READ_STEP ((size_t)256 * 1024)
#define PLACE_MAX 2048

void
volume_init (struct volume *v)
{
  memset (v, 0, sizeof *v);
  v->dir_fd = -1;
  direct_init (&v->file);
}

int
volume_close (struct volume *v, struct fault *f)
{
  int rc = direct_close (&v->file, f);

  return fdio_close (&v->dir_fd, v->want.image, f) < 0 ? -1 : rc;
}

/* --- rules ------------------------------------------------------------ */

/* meta's enumerators as bits of the message's masks */
static unsigned
voltype_bit (enum meta_voltype v)
{
  switch (v) {
  case META_LEAF:
    return MSG_LEAF;
  case META_INTERNAL:
    return MSG_INTERNAL;
  case META_SHARED:
    return MSG_SHARED;
  }
  return 0;
}

static unsigned
legality_bit (enum meta_legality l)
{
  switch (l) {
  case META_LEGAL:
    return MSG_LEGAL;
  case META_ILLEGAL:
    return MSG_ILLEGAL;
  case META_FAKE:
    return 0;
  }
  return 0;
}

static int
check_owner (const struct meta *m, const struct msg_layer *want,
             struct fault *f)
{
  const char *owner = want->owner[0] != '\0' ? want->owner : want->image;

  if (want->owner[0] == '\0' && m->voltype == META_SHARED)
    return 0; /* a template's base keeps the template's image */
  if (strcmp (m->image, owner) == 0)
    return 0;
  return fault_set (f, FAULT_CORRUPT, 0, "IMAGE=%s, expected %s", m->image,
                    owner);
}

static int
check_state (const struct meta *m, const struct msg_layer *want,
             struct fault *f)
{
  if (!meta_is_data (m))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "DISKTYPE=%s: this is not a disk of a guest",
                      m->disktype);
  if ((legality_bit (m->legality) & want->legality) == 0)
    return fault_set (f, FAULT_BUSY, 0,
                      "LEGALITY=%s: vdsm is merging, copying or removing it, "
                      "or failed to; look for a task of the engine",
                      meta_legality_name (m->legality));
  /* So it looks when our snapshot was removed a moment ago. */
  if (m->voltype == META_LEAF && (want->voltype & MSG_LEAF) == 0)
    return fault_set (f, FAULT_BUSY, 0,
                      "VOLTYPE=LEAF: a guest may write to it; its snapshot "
                      "was removed meanwhile, or engine and storage disagree");
  if ((voltype_bit (m->voltype) & want->voltype) == 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "VOLTYPE=%s is not what the engine says",
                      meta_voltype_name (m->voltype));
  return 0;
}

int
volume_check (const struct meta *m, const char *domain,
              const struct msg_layer *want, struct fault *f)
{
  /* Below a snapshot others may merge at any moment; an empty volume of a
     restore is ours alone. */
  bool leaf = (want->voltype & MSG_LEAF) != 0;

  if (strcmp (m->domain, domain) != 0)
    return fault_set (f, FAULT_CORRUPT, 0, "DOMAIN=%s, expected %s", m->domain,
                      domain);
  if (check_owner (m, want, f) < 0)
    return -1;
  if (strcmp (m->parent, want->parent) != 0)
    return fault_set (f, leaf ? FAULT_CORRUPT : FAULT_BUSY, 0,
                      "PUUID=%s, the engine says %s: the chain was changed "
                      "meanwhile, or engine and storage disagree",
                      m->parent, want->parent);
  if (m->cow != (want->format == MSG_COW))
    return fault_set (f, FAULT_CORRUPT, 0, "FORMAT=%s, the engine says %s",
                      m->cow ? "COW" : "RAW",
                      want->format == MSG_COW ? "COW" : "RAW");
  if (want->capacity != 0
      && !capacity_fits (want->capacity, m->capacity, CAPACITY_ROUND))
    return fault_set (
        f, FAULT_CORRUPT, 0, "capacity %llu, the engine says %llu",
        (unsigned long long)m->capacity, (unsigned long long)want->capacity);
  return check_state (m, want, f);
}

/* --- metadata --------------------------------------------------------- */

/* Of a logical volume: its slot, and the tag IU_ says the same. */
static int
read_slot (struct volume *v, struct meta *m, struct fault *f)
{
  char text[HOLD_SLOT_SIZE];
  struct lv_facts lv;

  if (hold_slot (v->hold, v->index, text, f) < 0
      || hold_facts (v->hold, v->index, &lv, f) < 0
      || meta_parse (text, sizeof text, m, f) < 0)
    return -1;
  if (strcmp (lv.image, m->image) != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "its tag is IU_%s, its metadata say IMAGE=%s", lv.image,
                      m->image);
  return volume_check (m, v->domain, &v->want, f);
}

static int
read_meta (struct volume *v, struct meta *m, struct fault *f)
{
  char name[UUID_SIZE + sizeof META_SUFFIX];
  CLEANUP_FREE char *text = NULL;
  size_t size;

  if (v->hold != NULL)
    return read_slot (v, m, f);
  snprintf (name, sizeof name, "%s" META_SUFFIX, v->want.volume);
  text = fdio_slurp (v->dir_fd, name, META_SIZE_MAX, &size, f);
  if (text == NULL || meta_parse (text, size, m, f) < 0)
    return -1;
  return volume_check (m, v->domain, &v->want, f);
}

/* --- open ------------------------------------------------------------- */

static void
note_meta (struct volume *v)
{
  v->virtual_size = v->meta.capacity;
  v->head_size = v->meta.cow ? DIGEST_BLOCK : 0;
}

static int
open_volume (struct volume *v, int domain_fd, struct fault *f)
{
  v->dir_fd = path_open_image (domain_fd, v->want.image, f);
  if (v->dir_fd < 0 || read_meta (v, &v->meta, f) < 0)
    return -1;
  note_meta (v);
  return v->writing ? direct_open_write (&v->file, v->dir_fd, v->want.volume, f)
                    : direct_open_read (&v->file, v->dir_fd, v->want.volume, f);
}

int
volume_open_read (struct volume *v, int domain_fd, const char *domain,
                  const struct msg_layer *want, struct fault *f)
{
  volume_init (v);
  v->want = *want;
  snprintf (v->domain, sizeof v->domain, "%s", domain);
  if (open_volume (v, domain_fd, f) == 0)
    return 0;
  volume_close (v, NULL);
  return fault_prefix (f, "volume %s", want->volume);
}

/* The file of a volume that we may write: nobody else's, and no template's. */
static int
check_file (const struct volume *v, struct fault *f)
{
  struct stat st;

  if (fstat (v->file.fd, &st) < 0)
    return fault_set (f, FAULT_IO, errno, "stat");
  if (st.st_uid != GUARD_VDSM_ID || st.st_gid != GUARD_VDSM_ID)
    return fault_set (
        f, FAULT_CORRUPT, 0, "it belongs to %u:%u, not to vdsm (%d:%d)",
        (unsigned)st.st_uid, (unsigned)st.st_gid, GUARD_VDSM_ID, GUARD_VDSM_ID);
  if (st.st_nlink != 1)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "it has %u names: a template is never written",
                      (unsigned)st.st_nlink);
  if (!v->meta.cow && (uint64_t)st.st_size != v->meta.capacity)
    return fault_set (f, FAULT_CORRUPT, 0, "%llu bytes, its capacity is %llu",
                      (unsigned long long)st.st_size,
                      (unsigned long long)v->meta.capacity);
  return 0;
}

static void
want_empty (struct volume *v, const struct msg_open_write *m)
{
  volume_init (v);
  v->writing = true;
  memcpy (v->want.image, m->image, UUID_SIZE);
  memcpy (v->want.owner, m->image, UUID_SIZE);
  memcpy (v->want.volume, m->volume, UUID_SIZE);
  memcpy (v->want.parent, UUID_BLANK, UUID_SIZE);
  v->want.format = m->format;
  v->want.voltype = MSG_LEAF;
  v->want.legality = m->flags & MSG_WRITE_LOCKED ? MSG_ILLEGAL : MSG_LEGAL;
  v->want.capacity = m->capacity;
}

int
volume_open_write (struct volume *v, int domain_fd, const char *domain,
                   const struct msg_open_write *m, struct fault *f)
{
  want_empty (v, m);
  snprintf (v->domain, sizeof v->domain, "%s", domain);
  if (open_volume (v, domain_fd, f) == 0 && check_file (v, f) == 0)
    return 0;
  volume_close (v, NULL);
  return fault_prefix (f, "volume %s", m->volume);
}

/* --- logical volumes -------------------------------------------------- */

static int
prove (struct volume *v, struct hold *h, uint32_t index, struct fault *f)
{
  v->hold = h;
  v->index = index;
  snprintf (v->domain, sizeof v->domain, "%s", hold_domain (h));
  if (read_meta (v, &v->meta, f) < 0)
    return fault_prefix (f, "volume %s", v->want.volume);
  note_meta (v);
  return 0;
}

int
volume_prove_read (struct volume *v, struct hold *h, uint32_t index,
                   const struct msg_layer *want, struct fault *f)
{
  volume_init (v);
  v->want = *want;
  return prove (v, h, index, f);
}

int
volume_prove_write (struct volume *v, struct hold *h,
                    const struct msg_open_write *m, struct fault *f)
{
  want_empty (v, m);
  return prove (v, h, 0, f);
}

int
volume_take (struct volume *v, struct fault *f)
{
  struct lv_facts lv;
  int fd = hold_take (v->hold, v->index, f);

  if (fd < 0)
    return -1;
  if (hold_facts (v->hold, v->index, &lv, f) < 0) {
    close (fd);
    return -1;
  }
  if (direct_take (&v->file, fd, v->want.volume, lv.size, f) < 0)
    return -1;
  if (!v->meta.cow && lv.size < v->meta.capacity)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "volume %s: %llu bytes, its capacity is %llu",
                      v->want.volume, (unsigned long long)lv.size,
                      (unsigned long long)v->meta.capacity);
  return 0;
}

void
volume_scan_file (const struct volume *v, struct scan_file *out)
{
  const struct direct *d = &v->file;

  *out
      = (struct scan_file){ .device = d->device, .dev = d->dev, .ino = d->ino };
  if (!d->device)
    out->info_ino = scan_info_ino (d->fd);
  memcpy (out->name, d->name, UUID_SIZE);
}

/* --- header ----------------------------------------------------------- */

/* Where the identity looks; the first chain is made by one thread, later ones
   by several and only compare. */
static int
note_header (struct volume *v, const struct qcow2_header *h, struct fault *f)
{
  uint64_t l1_size = (uint64_t)h->l1_needed * 8;

  if (v->l1_size == 0) {
    v->virtual_size = h->virtual_size;
    v->head_size = UINT64_C (1) << h->cluster_bits;
    v->l1_offset = h->l1_offset;
    v->l1_size = l1_size;
  }
  if (v->virtual_size != h->virtual_size || v->l1_size != l1_size
      || v->l1_offset != h->l1_offset)
    return fault_set (f, FAULT_CORRUPT, 0, "its header was changed");
  return 0;
}

static int
add_cow (struct volume *v, struct chain *c, const char *parent_format,
         struct fault *f)
{
  const struct qcow2_expect expect = {
    .backing = strcmp (v->want.parent, UUID_BLANK) == 0 ? QCOW2_BACKING_NONE
                                                        : QCOW2_BACKING_VOLUME,
    .parent = v->want.parent,
    .image = v->want.image,
    .parent_format = parent_format,
  };
  const struct qcow2_header *h;

  if (chain_add_qcow2 (c, &v->file.source, &expect, f) < 0)
    return -1;
  h = qcow2_header (chain_qcow2 (c, chain_count (c) - 1));
  if (!capacity_fits (h->virtual_size, v->meta.capacity, CAPACITY_ROUND))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "the image has %llu bytes, its capacity is %llu",
                      (unsigned long long)h->virtual_size,
                      (unsigned long long)v->meta.capacity);
  return note_header (v, h, f);
}

int
volume_add (struct volume *v, struct chain *c, const char *parent_format,
            struct fault *f)
{
  int rc = v->meta.cow
               ? add_cow (v, c, parent_format, f)
               : chain_add_raw (c, &v->file.source, v->meta.capacity, f);

  return rc < 0 ? fault_prefix (f, "volume %s", v->want.volume) : 0;
}

/* --- identity --------------------------------------------------------- */

/* Is what the name leads to still what we have open? */
static int
check_inode (const struct volume *v, struct stat *st, struct fault *f)
{
  if (fstatat (v->dir_fd, v->want.volume, st, AT_SYMLINK_NOFOLLOW) < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "stat");
  if (st->st_dev != v->file.dev || st->st_ino != v->file.ino)
    return fault_set (f, FAULT_CORRUPT, 0, "its file was replaced");
  return v->writing ? check_file (v, f) : 0;
}

/* Digest [OFFSET, OFFSET + SIZE) of the container, widened to whole blocks. */
static int
digest_range (const struct volume *v, uint64_t offset, uint64_t size,
              struct digest_stream *s, void *block, struct fault *f)
{
  uint64_t end = offset + size;
  size_t n;

  offset &= ~(uint64_t)(DIRECT_ALIGN - 1);
  end = (end + DIRECT_ALIGN - 1) & ~(uint64_t)(DIRECT_ALIGN - 1);
  while (offset < end) {
    n = end - offset < READ_STEP ? (size_t)(end - offset) : READ_STEP;
    if (direct_read (&v->file, offset, block, n, f) < 0)
      return -1;
    digest_stream_add (s, block, n);
    offset += n;
  }
  return 0;
}

static int
digest_head (const struct volume *v, char out[static 2 * DIGEST_SIZE + 1],
             struct fault *f)
{
  CLEANUP_FREE void *block
      = try_aligned (DIRECT_ALIGN, READ_STEP, "identity", f);
  uint8_t digest[DIGEST_SIZE];
  struct digest_stream *s;
  int rc;

  if (block == NULL)
    return -1;
  s = digest_stream_new ();
  rc = digest_range (v, 0, v->head_size, s, block, f);
  if (rc == 0)
    rc = digest_range (v, v->l1_offset, v->l1_size, s, block, f);
  digest_stream_get (s, digest);
  digest_stream_free (s);
  digest_format (digest, out);
  return rc;
}

/* The lines that tell which file it is, or which logical volume. */
static int
identify_place (struct volume *v, const char *prefix, struct buf *out,
                struct fault *f)
{
  struct lv_facts lv;
  struct stat st;

  if (v->hold == NULL) {
    if (check_inode (v, &st, f) < 0)
      return -1;
    buf_printf (out, "%s inode %llu\n", prefix, (unsigned long long)st.st_ino);
    if (!v->writing)
      buf_printf (out, "%s size %llu\n", prefix,
                  (unsigned long long)st.st_size);
    return 0;
  }
  if (hold_facts (v->hold, v->index, &lv, f) < 0)
    return -1;
  buf_printf (out, "%s lv %s\n", prefix, lv.lv_uuid);
  buf_printf (out, "%s size %llu\n", prefix, (unsigned long long)lv.size);
  buf_printf (out, "%s slot %lld\n", prefix, (long long)lv.slot);
  buf_printf (out, "%s ranges %s\n", prefix, lv.ranges);
  return 0;
}

static int
identify (struct volume *v, const char *prefix, struct buf *place,
          struct buf *out, struct fault *f)
{
  char head[2 * DIGEST_SIZE + 1] = "-";
  struct meta m;

  if (read_meta (v, &m, f) < 0 || identify_place (v, prefix, place, f) < 0)
    return fault_prefix (f, "volume %s", v->want.volume);
  /* what is being written has no header to compare yet */
  if (m.cow && !v->writing && digest_head (v, head, f) < 0)
    return -1;
  buf_printf (out, "%s volume %s\n", prefix, v->want.volume);
  buf_printf (out, "%s image %s\n", prefix, m.image);
  buf_printf (out, "%s parent %s\n", prefix, m.parent);
  buf_printf (out, "%s format %s\n", prefix, m.cow ? "COW" : "RAW");
  buf_printf (out, "%s legality %s\n", prefix, meta_legality_name (m.legality));
  buf_printf (out, "%s voltype %s\n", prefix, meta_voltype_name (m.voltype));
  buf_printf (out, "%s generation %llu\n", prefix,
              (unsigned long long)m.generation);
  buf_printf (out, "%s created %llu\n", prefix, (unsigned long long)m.created);
  buf_printf (out, "%s capacity %llu\n", prefix,
              (unsigned long long)m.capacity);
  buf_put (out, place->data, place->size);
  buf_printf (out, "%s io %s\n", prefix,
              v->file.buffered ? "buffered" : "direct");
  buf_printf (out, "%s head %s\n", prefix, head);
  return 0;
}

int
volume_identify (struct volume *v, const char *prefix, struct buf *out,
                 struct fault *f)
{
  struct buf place;
  int rc;

  buf_init (&place, PLACE_MAX);
  rc = identify (v, prefix, &place, out, f);
  buf_reset (&place);
  return rc;
}
