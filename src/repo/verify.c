/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "image/qcow2.h"
#include "image/source.h"
#include "repo/content.h"
#include "repo/manifest.h"
#include "repo/oracle.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/qemuimg.h"
#include "repo/reader.h"
#include "repo/sum.h"
#include "repo/template.h"
#include "repo/verify.h"

#define BLOCK DIGEST_BLOCK
/* Larger and thinner than that, qemu-img decodes. */
#define THIN_SIZE (UINT64_C (128) << 30)
#define THIN_RATIO 16
#define CHUNK ((size_t)1 << 20)
#define TEXT_FILE_MAX ((size_t)64 << 20)

/* The work on one disk. */
struct check {
  const struct place *place;
  const struct point *point;
  struct point *base; /* of a template, below the image; NULL: none */
  const struct verify_options *options;
  const struct manifest_disk *disk;
  struct verify_disk *report;
  struct source *source;
  struct qcow2 *image;
  struct sum *sum;
  uint64_t next; /* record of the sum that the next data cluster must be */
  uint64_t zero; /* guest bytes in zero clusters */
  uint64_t done; /* for the progress */
  uint64_t total;
  uint8_t *chunk;
};

static void
tell (struct check *c, uint64_t bytes)
{
  c->done += bytes;
  if (c->options->progress != NULL)
    c->options->progress (c->options->opaque, c->disk->id, c->done, c->total);
}

static int
open_disk (struct check *c, struct fault *f)
{
  CLEANUP_CLOSE int fd = point_dir (c->place, c->point, f);
  CLEANUP_FREE char *backing = NULL;
  struct qcow2_expect expect = { .virtual_size = c->disk->virtual_size };

  if (template_below (c->place, c->point->manifest, c->disk, &backing, &c->base,
                      f)
      < 0)
    return -1;
  if (fd < 0 || sum_open (fd, c->disk->sum, c->disk->digest, &c->sum, f) < 0
      || source_open_file (fd, c->disk->file, c->disk->file, &c->source, f) < 0)
    return point_damaged (f);
  if (backing != NULL) {
    expect.backing = QCOW2_BACKING_EXACT;
    expect.parent = backing;
    expect.parent_format = "qcow2";
  }
  if (c->source->size != c->disk->bytes)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: it has %llu bytes, the manifest says %llu",
                      c->disk->file, (unsigned long long)c->source->size,
                      (unsigned long long)c->disk->bytes);
  return qcow2_open (c->source, &expect, &c->image, f);
}

/* Our writer keeps to a subset of the format that every reader reads right. */
static int
check_subset (const struct check *c, struct fault *f)
{
  const struct qcow2_header *h = qcow2_header (c->image);

  if (h->version != 3 || h->cluster_bits != 16 || h->header_size != 112
      || h->incompatible != 0 || h->compatible != 0 || h->autoclear != 0
      || h->snapshot_count != 0 || h->refcount_order != 4)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: its header is not one that is written here",
                      c->disk->file);
  if (sum_info (c->sum)->virtual_size != c->disk->virtual_size
      || sum_info (c->sum)->count * BLOCK != c->disk->data)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: size or number of its records is not that of the "
                      "manifest",
                      c->disk->sum);
  return 0;
}

/* The next record of the sum has to be of the cluster at OFFSET. */
static int
take_record (struct check *c, uint64_t offset, struct sum_record *record,
             struct fault *f)
{
  if (c->next < sum_info (c->sum)->count) {
    if (sum_get (c->sum, c->next, record, f) < 0)
      return -1;
    if (record->cluster == offset / BLOCK) {
      c->next++;
      return 0;
    }
  }
  return fault_set (f, FAULT_CORRUPT, 0,
                    "%s and %s differ about the 64 KiB at %llu: data in one, "
                    "not in the other",
                    c->disk->file, c->disk->sum, (unsigned long long)offset);
}

/* A wrong block is counted and the work goes on. */
static int
check_block (struct check *c, uint64_t offset, const uint8_t *data, size_t size,
             struct fault *f)
{
  struct sum_record record;
  uint8_t is[DIGEST_SIZE];

  if (take_record (c, offset, &record, f) < 0)
    return -1;
  digest_of (data, size, is);
  c->report->blocks++;
  if (digest_equal (is, record.digest))
    return 0;
  if (c->report->bad++ == 0)
    fault_set (&c->report->fault, FAULT_CORRUPT, 0,
               "%s: the 64 KiB at %llu are not what was backed up",
               c->disk->file, (unsigned long long)offset);
  return 0;
}

static int
check_data (struct check *c, const struct extent *e, struct fault *f)
{
  for (uint64_t done = 0; done < e->length;) {
    size_t size = e->length - done < CHUNK ? (size_t)(e->length - done) : CHUNK;

    if (cancel_check (f) < 0
        || c->source->read_at (c->source->opaque, e->host + done, c->chunk,
                               size, f)
               < 0)
      return -1;
    for (size_t i = 0; i < size; i += BLOCK) {
      if (check_block (c, e->start + done + i, c->chunk + i,
                       size - i < BLOCK ? size - i : BLOCK, f)
          < 0)
        return -1;
    }
    done += size;
    tell (c, size);
  }
  return 0;
}

static int
check_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct check *c = opaque;

  switch (e->kind) {
  case EXTENT_ABSENT:
    return 0;
  case EXTENT_ZERO:
    c->zero += DIGEST_BLOCKS (e->length) * BLOCK;
    return 0;
  case EXTENT_DATA:
    return check_data (c, e, f);
  default:
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: compressed clusters at %llu, none are written here",
                      c->disk->file, (unsigned long long)e->start);
  }
}

/* Steps 1 to 3 of verify.h. */
static int
check_file (struct check *c, struct fault *f)
{
  struct sum_record record;

  if (open_disk (c, f) < 0 || check_subset (c, f) < 0
      || qcow2_map (c->image, 0, c->disk->virtual_size, check_extent, c, f) < 0)
    return -1;
  if (c->next < sum_info (c->sum)->count) {
    if (sum_get (c->sum, c->next, &record, f) < 0)
      return -1;
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s and %s differ about the 64 KiB at %llu: data in one, "
                      "not in the other",
                      c->disk->file, c->disk->sum,
                      (unsigned long long)(record.cluster * BLOCK));
  }
  if (c->zero != c->disk->zero)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: %llu bytes in zero clusters, the manifest says "
                      "%llu",
                      c->disk->file, (unsigned long long)c->zero,
                      (unsigned long long)c->disk->zero);
  return 0;
}

/* The guard of libqcow: what check_subset and check_extent have shown already,
   and no backing file, no zero clusters, nothing behind the end of the file
   (qcow2_map refuses that).  It also has to read every cluster that is not
   there, some minutes for each TiB of a thin disk, where qemu-img skips. */
static bool
libqcow_reads_it (const struct check *c)
{
  bool thin = c->disk->virtual_size > THIN_SIZE
              && c->disk->virtual_size / THIN_RATIO > c->disk->data;

  return !c->options->only_qemu && oracle_version () != NULL && !thin
         && c->disk->kind == MANIFEST_FULL && c->base == NULL && c->zero == 0;
}

static int
decode_libqcow (struct check *c, struct reader *r, struct fault *f)
{
  CLEANUP (content_free)
  struct content *content = content_new (r, oracle_version ());
  CLEANUP (oracle_close) struct oracle *o = NULL;
  uint64_t size = c->disk->virtual_size;

  if (oracle_open (reader_layer_fd (r, 0), c->disk->file, &o, f) < 0)
    return -1;
  if (oracle_size (o) != size)
    return fault_set (f, FAULT_CORRUPT, 0, "%s: libqcow sees %llu bytes",
                      c->disk->file, (unsigned long long)oracle_size (o));
  for (uint64_t done = 0; done < size;) {
    size_t part = size - done < CHUNK ? (size_t)(size - done) : CHUNK;

    if (cancel_check (f) < 0 || oracle_read (o, done, c->chunk, part, f) < 0
        || content_feed (content, c->chunk, part, f) < 0)
      return -1;
    done += part;
    tell (c, part);
  }
  return content_end (content, f);
}

/* What qemu-img writes, in order. */
struct decoded {
  struct check *c;
  struct content *content;
};

static int
take_decoded (void *opaque, uint64_t offset, const void *data, uint64_t size,
              struct fault *f)
{
  struct decoded *d = opaque;

  if (offset != content_position (d->content))
    return fault_set (f, FAULT_INTERNAL, 0,
                      "qemu-img writes out of order, at %llu instead of %llu",
                      (unsigned long long)offset,
                      (unsigned long long)content_position (d->content));
  tell (d->c, size);
  return content_feed (d->content, data, size, f);
}

static int
decode_qemu (struct check *c, struct reader *r, const char *program,
             struct fault *f)
{
  CLEANUP (content_free)
  struct content *content = content_new (r, c->report->decoder);
  CLEANUP_FREE int *fds = xcalloc (reader_depth (r), sizeof *fds);
  struct decoded d = { .c = c, .content = content };

  for (unsigned i = 0; i < reader_depth (r); i++)
    fds[i] = reader_layer_fd (r, i);
  if (qemuimg_decode (program, fds, reader_depth (r), c->disk->virtual_size,
                      take_decoded, &d, f)
      < 0)
    return -1;
  return content_end (content, f);
}

/* Step 4. */
static int
decode (struct check *c, struct fault *f)
{
  CLEANUP (reader_close) struct reader *r = NULL;
  const char *program
      = c->options->qemu_img == NULL ? "qemu-img" : c->options->qemu_img;

  if (reader_open (c->place, c->point, c->disk->id, &r, f) < 0)
    return -1;
  if (libqcow_reads_it (c)) {
    snprintf (c->report->decoder, VERIFY_DECODER_SIZE, "%s", oracle_version ());
    return decode_libqcow (c, r, f);
  }
  if (qemuimg_version (program, c->report->decoder, f) < 0) {
    snprintf (c->report->decoder, VERIFY_DECODER_SIZE, "none: no qemu-img");
    return -1;
  }
  return decode_qemu (c, r, program, f);
}

static int check_under (const struct check *c, struct fault *f);

static void
check_disk (const struct place *place, const struct point *point,
            const struct manifest_disk *disk,
            const struct verify_options *options, struct verify_disk *report)
{
  struct check c
      = { .place = place,
          .point = point,
          .options = options,
          .disk = disk,
          .report = report,
          .total
          = disk->data + (options->skip_decode ? 0 : disk->virtual_size) };
  struct fault local = FAULT_INIT;
  int rc;

  c.chunk = xmalloc (CHUNK);
  memcpy (report->id, disk->id, UUID_SIZE);
  report->alias = disk->alias == NULL ? NULL : xstrdup (disk->alias);
  report->size = disk->virtual_size;
  snprintf (report->decoder, sizeof report->decoder, "none: %s",
            options->skip_decode ? "not asked for" : "not reached");
  rc = check_file (&c, &local);
  if (rc == 0 && report->bad == 0)
    rc = check_under (&c, &local);
  if (rc == 0 && report->bad == 0 && !options->skip_decode)
    rc = decode (&c, &local);
  report->data = report->blocks * BLOCK;
  report->good = rc == 0 && report->bad == 0;
  if (rc < 0 && report->fault.code == FAULT_NONE)
    report->fault = local;
  if (!report->good)
    fault_prefix (&report->fault, "disk %s",
                  disk->alias == NULL ? disk->id : disk->alias);
  point_free (c.base);
  qcow2_close (c.image);
  source_free (c.source);
  sum_close (c.sum);
  free (c.chunk);
}

/* What was found out about the bases of templates. */
struct seen_base {
  char id[UUID_SIZE];
  struct fault fault; /* code NONE: good */
};
struct verify_bases {
  struct seen_base *items;
  size_t count;
};

struct verify_bases *
verify_bases_new (void)
{
  return xcalloc (1, sizeof (struct verify_bases));
}

void
verify_bases_free (struct verify_bases *bases)
{
  free (bases->items);
  free (bases);
}

static void
remember (struct verify_bases *bases, const char *id, const struct fault *f)
{
  struct seen_base *seen;

  if (bases == NULL || f->code == FAULT_CANCELLED)
    return;
  bases->items
      = xreallocarray (bases->items, bases->count + 1, sizeof *bases->items);
  seen = &bases->items[bases->count++];
  memcpy (seen->id, id, UUID_SIZE);
  seen->fault = *f;
}

static int
check_base (const struct check *c, const struct point *base, struct fault *f)
{
  struct verify_options options = *c->options;
  struct verify_disk report = { .blocks = 0 };

  options.progress = NULL;
  check_disk (c->place, base, template_disk (base), &options, &report);
  if (!report.good)
    fault_prefix (&report.fault, "template's base %s", base->vm_id);
  remember (c->options->bases, base->vm_id, &report.fault);
  free (report.alias);
  return report.good ? 0 : fault_copy (f, &report.fault);
}

/* The base of a template at the bottom of the chain is no point, so it is
   checked with each that needs it, in the same way. */
static int
check_under (const struct check *c, struct fault *f)
{
  const struct verify_bases *bases = c->options->bases;
  CLEANUP (point_free) struct point *base = NULL;

  if (c->point->is_base)
    return 0;
  if (template_under (c->place, c->point, c->disk->id, &base, f) < 0)
    return -1;
  if (base == NULL)
    return 0;
  for (size_t i = 0; bases != NULL && i < bases->count; i++) {
    if (strcmp (bases->items[i].id, base->vm_id) != 0)
      continue;
    return bases->items[i].fault.code == FAULT_NONE
               ? 0
               : fault_copy (f, &bases->items[i].fault);
  }
  return check_base (c, base, f);
}

static int
check_files (const struct place *place, const struct point *point,
             struct verify_report *report, struct fault *f)
{
  CLEANUP_CLOSE int fd = point_dir (place, point, f);

  if (fd < 0)
    return -1;
  for (size_t i = 0; i < point->manifest->file_count; i++) {
    const struct manifest_file *file = &point->manifest->files[i];
    uint8_t digest[DIGEST_SIZE];
    size_t size = 0;
    CLEANUP_FREE char *text
        = fdio_slurp (fd, file->name, TEXT_FILE_MAX, &size, f);

    if (text == NULL)
      return point_damaged (f);
    digest_bytes (text, size, digest);
    if (size != file->bytes || !digest_equal (digest, file->digest))
      return fault_set (f, FAULT_CORRUPT, 0, "%s is not what was backed up",
                        file->name);
    report->files++;
  }
  return 0;
}

int
verify_point (const struct place *place, const struct point *point,
              const struct verify_options *options,
              struct verify_report *report, struct fault *f)
{
  static const struct verify_options none;
  const struct manifest *m = point->manifest;
  struct fault first = FAULT_INIT;

  *report = (struct verify_report){ 0 };
  if (m == NULL)
    return fault_set (f, FAULT_CORRUPT, 0, "VM %s point %s: %s", point->vm_id,
                      point->name, point->damage);
  (void)check_files (place, point, report, &first);
  if (m->disk_count > 0)
    report->disks = xcalloc (m->disk_count, sizeof *report->disks);
  for (size_t i = 0; i < m->disk_count; i++) {
    if (cancel_check (&first) < 0)
      break;
    check_disk (place, point, &m->disks[i], options == NULL ? &none : options,
                &report->disks[i]);
    report->disk_count++;
    /* First fault wins. */
    if (!report->disks[i].good && first.code == FAULT_NONE)
      first = report->disks[i].fault;
  }
  if (first.code == FAULT_NONE)
    return 0;
  fault_copy (f, &first);
  return fault_prefix (f, "VM %s point %s", m->vm_name, point->name);
}

void
verify_report_reset (struct verify_report *report)
{
  for (size_t i = 0; i < report->disk_count; i++)
    free (report->disks[i].alias);
  free (report->disks);
  *report = (struct verify_report){ 0 };
}
