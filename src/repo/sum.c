/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "repo/sum.h"

#define SUM_VERSION 1
#define PAGE_RECORDS 256u
#define PAGE_BYTES ((size_t)PAGE_RECORDS * SUM_RECORD_SIZE)
#define SCAN_PAGES 128u /* read at once while a file is opened */
#define WRITE_RECORDS 8192u

static const uint8_t magic[8] = { 'c', 'l', 's', 'u', 'm', '\r', '\n', 0x1a };

struct sum_writer {
  int fd;
  char *path;
  struct sum_header header;
  uint64_t added;
  uint64_t last; /* cluster */
  uint64_t offset;
  struct digest_stream *digest;
  size_t used;
  uint8_t buffer[(size_t)WRITE_RECORDS * SUM_RECORD_SIZE];
};

struct sum {
  int fd;
  char *name;
  struct sum_header header;
  uint64_t *fences; /* the first cluster of each page */
  uint64_t pages;
  uint64_t page; /* the one in memory, UINT64_MAX none */
  uint8_t records[PAGE_BYTES];
};

void
sum_header_encode (const struct sum_header *h,
                   uint8_t out[static SUM_HEADER_SIZE])
{
  memset (out, 0, SUM_HEADER_SIZE);
  memcpy (out, magic, sizeof magic);
  put_le32 (out + 8, SUM_VERSION);
  out[12] = SUM_DIGEST_XXH3_128;
  put_le32 (out + 16, SUM_CLUSTER_SIZE);
  put_le64 (out + 24, h->virtual_size);
  put_le64 (out + 32, h->count);
  digest_bytes (out, 48, out + 48);
}

int
sum_header_decode (const uint8_t data[static SUM_HEADER_SIZE],
                   struct sum_header *h, struct fault *f)
{
  static const uint8_t zeros[8];
  uint8_t digest[DIGEST_SIZE];
  const char *wrong = NULL;

  digest_bytes (data, 48, digest);
  h->virtual_size = get_le64 (data + 24);
  h->count = get_le64 (data + 32);
  if (memcmp (data, magic, sizeof magic) != 0)
    wrong = "it is no sum file";
  else if (!digest_equal (digest, data + 48))
    wrong = "its header is damaged";
  else if (get_le32 (data + 8) != SUM_VERSION || data[12] != SUM_DIGEST_XXH3_128
           || get_le32 (data + 16) != SUM_CLUSTER_SIZE
           || memcmp (data + 13, zeros, 3) != 0
           || memcmp (data + 20, zeros, 4) != 0
           || memcmp (data + 40, zeros, 8) != 0)
    wrong = "its version or digest is not known to this program";
  else if (h->count > SUM_COUNT_MAX
           || h->count > DIGEST_BLOCKS (h->virtual_size))
    wrong = "it has more records than the disk has clusters";
  if (wrong != NULL)
    return fault_set (f, FAULT_CORRUPT, 0, "sum file: %s", wrong);
  return 0;
}

static int
flush (struct sum_writer *w, struct fault *f)
{
  if (fdio_pwrite_full (w->fd, w->buffer, w->used, w->offset, w->path, f) < 0)
    return -1;
  digest_stream_add (w->digest, w->buffer, w->used);
  w->offset += w->used;
  w->used = 0;
  return 0;
}

int
sum_writer_new (int fd, const struct sum_header *h, const char *path,
                struct sum_writer **out, struct fault *f)
{
  struct sum_writer *w;

  *out = NULL;
  if (h->count > SUM_COUNT_MAX)
    return fault_set (f, FAULT_SPACE, 0,
                      "%s: more than %llu data clusters in one image", path,
                      (unsigned long long)SUM_COUNT_MAX);
  w = xcalloc (1, sizeof *w);
  w->fd = fd;
  w->path = xstrdup (path);
  w->header = *h;
  w->digest = digest_stream_new ();
  sum_header_encode (h, w->buffer);
  w->used = SUM_HEADER_SIZE;
  *out = w;
  return 0;
}

int
sum_writer_add (struct sum_writer *w, uint64_t cluster,
                const uint8_t digest[static DIGEST_SIZE], struct fault *f)
{
  uint8_t *record;

  if (w->added == w->header.count || (w->added > 0 && cluster <= w->last))
    return fault_set (f, FAULT_INTERNAL, 0,
                      "%s: record of cluster %llu out of order", w->path,
                      (unsigned long long)cluster);
  if (sizeof w->buffer - w->used < SUM_RECORD_SIZE && flush (w, f) < 0)
    return -1;
  record = w->buffer + w->used;
  put_le64 (record, cluster);
  memcpy (record + 8, digest, DIGEST_SIZE);
  w->used += SUM_RECORD_SIZE;
  w->last = cluster;
  w->added++;
  return 0;
}

int
sum_writer_end (struct sum_writer *w, uint8_t digest[static DIGEST_SIZE],
                struct fault *f)
{
  if (w->added != w->header.count)
    return fault_set (f, FAULT_INTERNAL, 0, "%s: %llu records instead of %llu",
                      w->path, (unsigned long long)w->added,
                      (unsigned long long)w->header.count);
  if (flush (w, f) < 0)
    return -1;
  digest_stream_get (w->digest, digest);
  return 0;
}

void
sum_writer_free (struct sum_writer *w)
{
  if (w == NULL)
    return;
  digest_stream_free (w->digest);
  free (w->path);
  free (w);
}

/* Check SIZE bytes of whole records from record FIRST on, and note where each
   page begins. */
static int
scan_records (struct sum *s, uint64_t first, const uint8_t *data, size_t size,
              uint64_t *next, struct fault *f)
{
  uint64_t limit = DIGEST_BLOCKS (s->header.virtual_size);

  for (size_t i = 0; i < size / SUM_RECORD_SIZE; i++) {
    uint64_t cluster = get_le64 (data + i * SUM_RECORD_SIZE);

    if (cluster < *next || cluster >= limit)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "%s: record %llu is out of order or beyond the disk",
                        s->name, (unsigned long long)(first + i));
    if ((first + i) % PAGE_RECORDS == 0)
      s->fences[(first + i) / PAGE_RECORDS] = cluster;
    *next = cluster + 1;
  }
  return 0;
}

static int
scan (struct sum *s, struct digest_stream *digest, uint8_t *chunk,
      struct fault *f)
{
  uint64_t offset = SUM_HEADER_SIZE;
  uint64_t end = offset + s->header.count * SUM_RECORD_SIZE;
  uint64_t next = 0;

  while (offset < end) {
    size_t size = end - offset < SCAN_PAGES * PAGE_BYTES
                      ? (size_t)(end - offset)
                      : SCAN_PAGES * PAGE_BYTES;

    if (fdio_pread_full (s->fd, chunk, size, offset, s->name, f) < 0
        || scan_records (s, (offset - SUM_HEADER_SIZE) / SUM_RECORD_SIZE, chunk,
                         size, &next, f)
               < 0)
      return -1;
    digest_stream_add (digest, chunk, size);
    offset += size;
  }
  return 0;
}

static int
read_header (struct sum *s, uint8_t header[static SUM_HEADER_SIZE],
             struct fault *f)
{
  struct stat st;

  if (fstat (s->fd, &st) < 0 || !S_ISREG (st.st_mode)
      || st.st_size < SUM_HEADER_SIZE)
    return fault_set (f, FAULT_CORRUPT, 0, "%s: it is too short or no file",
                      s->name);
  if (fdio_pread_full (s->fd, header, SUM_HEADER_SIZE, 0, s->name, f) < 0)
    return -1;
  if (sum_header_decode (header, &s->header, f) < 0)
    return fault_prefix (f, "%s", s->name);
  if ((uint64_t)st.st_size
      != SUM_HEADER_SIZE + s->header.count * SUM_RECORD_SIZE)
    return fault_set (
        f, FAULT_CORRUPT, 0, "%s: %lld bytes do not hold %llu records", s->name,
        (long long)st.st_size, (unsigned long long)s->header.count);
  return 0;
}

static int
open_checked (struct sum *s, const uint8_t *want, struct fault *f)
{
  uint8_t header[SUM_HEADER_SIZE];
  CLEANUP_FREE uint8_t *chunk = xmalloc (SCAN_PAGES * PAGE_BYTES);
  struct digest_stream *stream;
  uint8_t is[DIGEST_SIZE];
  int rc;

  if (read_header (s, header, f) < 0)
    return -1;
  s->pages = (s->header.count + PAGE_RECORDS - 1) / PAGE_RECORDS;
  s->fences = try_calloc (s->pages + 1, sizeof *s->fences, s->name, f);
  if (s->fences == NULL)
    return -1;
  stream = digest_stream_new ();
  digest_stream_add (stream, header, sizeof header);
  rc = scan (s, stream, chunk, f);
  digest_stream_get (stream, is);
  digest_stream_free (stream);
  if (rc == 0 && want != NULL && !digest_equal (is, want))
    rc = fault_set (f, FAULT_CORRUPT, 0,
                    "%s: its digest is not the one in the manifest", s->name);
  return rc;
}

int
sum_open (int dirfd, const char *name, const uint8_t *digest, struct sum **out,
          struct fault *f)
{
  struct sum *s;
  int fd = openat (dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

  *out = NULL;
  if (fd < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "open %s", name);
  s = xcalloc (1, sizeof *s);
  s->fd = fd;
  s->name = xstrdup (name);
  s->page = UINT64_MAX;
  if (open_checked (s, digest, f) < 0) {
    sum_close (s);
    return -1;
  }
  *out = s;
  return 0;
}

void
sum_close (struct sum *s)
{
  if (s == NULL)
    return;
  close (s->fd);
  free (s->name);
  free (s->fences);
  free (s);
}

const struct sum_header *
sum_info (const struct sum *s)
{
  return &s->header;
}

/* Records in page PAGE. */
static size_t
page_count (const struct sum *s, uint64_t page)
{
  uint64_t left = s->header.count - page * PAGE_RECORDS;

  return left < PAGE_RECORDS ? (size_t)left : PAGE_RECORDS;
}

static int
load_page (struct sum *s, uint64_t page, struct fault *f)
{
  if (s->page == page)
    return 0;
  s->page = UINT64_MAX;
  if (fdio_pread_full (s->fd, s->records,
                       page_count (s, page) * SUM_RECORD_SIZE,
                       SUM_HEADER_SIZE + page * PAGE_BYTES, s->name, f)
      < 0)
    return -1;
  s->page = page;
  return 0;
}

/* The page that holds CLUSTER if any does: the last one that does not begin
   behind it. */
static uint64_t
find_page (const struct sum *s, uint64_t cluster)
{
  uint64_t low = 0;
  uint64_t high = s->pages;

  while (high - low > 1) {
    uint64_t middle = low + (high - low) / 2;

    if (s->fences[middle] <= cluster)
      low = middle;
    else
      high = middle;
  }
  return low;
}

int
sum_find (struct sum *s, uint64_t cluster, uint8_t out[static DIGEST_SIZE],
          struct fault *f)
{
  uint64_t page;
  size_t low = 0;
  size_t high;

  if (s->pages == 0 || cluster < s->fences[0])
    return 0;
  page = s->page;
  if (page == UINT64_MAX || cluster < s->fences[page]
      || (page + 1 < s->pages && cluster >= s->fences[page + 1]))
    page = find_page (s, cluster);
  if (load_page (s, page, f) < 0)
    return -1;
  high = page_count (s, page);
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;

    if (get_le64 (s->records + middle * SUM_RECORD_SIZE) <= cluster)
      low = middle;
    else
      high = middle;
  }
  if (get_le64 (s->records + low * SUM_RECORD_SIZE) != cluster)
    return 0;
  memcpy (out, s->records + low * SUM_RECORD_SIZE + 8, DIGEST_SIZE);
  return 1;
}

int
sum_get (struct sum *s, uint64_t index, struct sum_record *out, struct fault *f)
{
  const uint8_t *record;

  if (index >= s->header.count)
    return fault_set (f, FAULT_INTERNAL, 0, "%s: no record %llu", s->name,
                      (unsigned long long)index);
  if (load_page (s, index / PAGE_RECORDS, f) < 0)
    return -1;
  record = s->records + (size_t)(index % PAGE_RECORDS) * SUM_RECORD_SIZE;
  out->cluster = get_le64 (record);
  memcpy (out->digest, record + 8, DIGEST_SIZE);
  return 0;
}
