/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict on one qcow2 file, as text or as one JSON object. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/xmem.h"
#include "cli/image_check.h"
#include "cli/json.h"
#include "cli/output.h"
#include "image/check.h"
#include "image/qcow2.h"
#include "image/source.h"

#define PROBLEMS_MAX 20 /* lines that are printed */

struct told {
  const char *path;
  uint64_t count;
};

static void
tell (const char *problem, void *opaque)
{
  struct told *t = opaque;

  if (++t->count <= PROBLEMS_MAX)
    log_warn ("%s: %s", t->path, problem);
}

static void
print_json (const char *path, const struct qcow2_header *h,
            const struct check_report *r, FILE *stream)
{
  struct json j;

  json_begin (&j, "image");
  json_string (&j, "file", path);
  json_bool (&j, "sound", r->wrong == 0 && r->flags == 0);
  json_u64 (&j, "version", h->version);
  json_u64 (&j, "virtual_size", h->virtual_size);
  json_u64 (&j, "cluster_size", UINT64_C (1) << h->cluster_bits);
  json_string (&j, "backing", h->backing[0] != '\0' ? h->backing : NULL);
  json_string (&j, "backing_format",
               h->backing_format[0] != '\0' ? h->backing_format : NULL);
  json_bool (&j, "extended_l2", h->extended_l2);
  json_u64 (&j, "snapshots", h->snapshot_count);
  json_u64 (&j, "data_bytes", r->data_bytes);
  json_u64 (&j, "compressed_bytes", r->packed_bytes);
  json_u64 (&j, "zero_bytes", r->zero_bytes);
  json_bool (&j, "dirty", r->dirty);
  json_u64 (&j, "leaked_clusters", r->leaked);
  json_u64 (&j, "wrong_refcounts", r->wrong);
  json_u64 (&j, "wrong_flags", r->flags);
  json_end (&j, stream);
}

static void
print_text (const char *path, const struct qcow2_header *h,
            const struct check_report *r)
{
  char virtual_size[OUTPUT_WORD_SIZE];
  char cluster_size[OUTPUT_WORD_SIZE];
  char data[OUTPUT_WORD_SIZE];
  char zero[OUTPUT_WORD_SIZE];

  output_size (h->virtual_size, virtual_size);
  output_size (UINT64_C (1) << h->cluster_bits, cluster_size);
  output_size (r->data_bytes, data);
  output_size (r->zero_bytes, zero);
  printf ("%s: qcow2 version %u, clusters of %s%s, a disk of %s with %s of "
          "data and %s of zeros\n",
          path, h->version, cluster_size,
          h->extended_l2 ? " with subclusters" : "", virtual_size, data, zero);
  if (h->backing[0] != '\0')
    printf ("%s: over the backing file %s\n", path, h->backing);
  if (r->dirty)
    printf ("%s: is dirty, its refcounts are stale (QEMU repairs them when it "
            "writes)\n",
            path);
  if (r->leaked > 0)
    printf ("%s: %" PRIu64 " %s\n", path, r->leaked,
            r->leaked == 1 ? "cluster is leaked; it only wastes room"
                           : "clusters are leaked; they only waste room");
  if (r->wrong == 0 && r->flags == 0)
    printf ("%s: sound\n", path);
}

int
image_check (const char *path, bool json, struct fault *f)
{
  CLEANUP (source_free) struct source *src = NULL;
  CLEANUP_FREE char *real = realpath (path, NULL);
  struct told told = { .path = path };
  struct qcow2_header header;
  struct check_report report;

  if (real == NULL)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open %s", path);
  if (source_open_file (AT_FDCWD, real, path, &src, f) < 0
      || check_image (src, tell, &told, &header, &report, f) < 0)
    return -1;
  if (told.count > PROBLEMS_MAX)
    log_warn ("%s: and %" PRIu64 " more", path, told.count - PROBLEMS_MAX);
  if (json)
    print_json (path, &header, &report, stdout);
  else
    print_text (path, &header, &report);
  if (output_flush (f) < 0)
    return -1;
  if (report.wrong > 0 || report.flags > 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: %" PRIu64 " refcounts are too low and %" PRIu64
                      " flags are wrong; qemu-img check -r all repairs them",
                      path, report.wrong, report.flags);
  return 0;
}
