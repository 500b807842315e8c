/* SPDX-License-Identifier: Apache-2.0 */
/* increment STOP WRITER VERSION BITS OUT BACKING FORMAT LAYER...: what the
   layers above number STOP changed, as a qcow2 image OUT over the kept layer
   STOP, whose name and format the header gets; WRITER is layout or placer.
   Layers are qcow2:PATH or raw:PATH, the top first, all of them.  The tests
   compare OUT over BACKING with the whole chain by qemu-img. */
#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "image/chain.h"
#include "image/layout.h"
#include "image/placer.h"
#include "image/qcow2.h"
#include "image/source.h"

struct job {
  struct chain *chain; /* for reads */
  struct layout *layout;
  struct placer *placer;
  unsigned bits;
  int fd;
};

static int
write_out (void *opaque, uint64_t offset, const void *data, size_t size,
           struct fault *f)
{
  struct job *j = opaque;

  return fdio_pwrite_full (j->fd, data, size, offset, "OUT", f);
}

/* One cluster of data through the chain. */
static int
put_cluster (struct job *j, uint64_t cluster, struct fault *f)
{
  uint64_t size = UINT64_C (1) << j->bits;
  uint64_t start = cluster << j->bits;
  uint64_t left = chain_size (j->chain) - start;
  uint8_t *data = xcalloc (1, size);
  uint64_t offset = 0;
  int rc = 0;

  if (j->placer != NULL)
    rc = placer_take (j->placer, cluster, 1, &offset, f);
  else
    offset = layout_cluster_offset (j->layout, cluster);
  if (rc == 0)
    rc = chain_read (j->chain, start, data, left < size ? left : size, f);
  if (rc == 0)
    rc = write_out (j, offset, data, size, f);
  free (data);
  return rc;
}

static int
put_extent (const struct extent *e, void *opaque, struct fault *f)
{
  struct job *j = opaque;
  uint64_t first = e->start >> j->bits;
  uint64_t end = ((e->start + e->length - 1) >> j->bits) + 1;
  bool data = e->kind == EXTENT_DATA || e->kind == EXTENT_MIXED;
  int rc;

  if (e->kind == EXTENT_ABSENT)
    return 0;
  if (j->layout != NULL)
    return data ? layout_set_data (j->layout, first, end - first, f)
                : layout_set_zero (j->layout, first, end - first, f);
  if (!data) {
    rc = placer_set_zero (j->placer, first, end - first, f);
    if (rc <= 0)
      return rc;
  }
  for (uint64_t i = first; i < end; i++)
    if (put_cluster (j, i, f) < 0)
      return -1;
  return 0;
}

static int
write_layout (struct job *j, struct fault *f)
{
  uint64_t meta;
  uint8_t *data;
  uint64_t count;

  if (layout_seal (j->layout, f) < 0)
    return -1;
  meta = layout_data_offset (j->layout);
  data = xmalloc (meta);
  layout_meta_read (j->layout, 0, data, meta);
  if (write_out (j, 0, data, meta, f) < 0)
    return -1;
  free (data);
  for (uint64_t at = layout_next_data (j->layout, 0, &count); count > 0;
       at = layout_next_data (j->layout, at + count, &count))
    for (uint64_t i = at; i < at + count; i++)
      if (put_cluster (j, i, f) < 0)
        return -1;
  return 0;
}

static struct chain *
open_chain (char **layers, int count, struct source **sources, struct fault *f)
{
  static const struct qcow2_expect any = { .backing = QCOW2_BACKING_ANY };
  CLEANUP (chain_free) struct chain *c = chain_new ();

  for (int i = 0; i < count; i++) {
    bool raw = strncmp (layers[i], "raw:", 4) == 0;
    const char *path = strchr (layers[i], ':') + 1;
    struct source *src = NULL;

    if (source_open_file (AT_FDCWD, path, path, &src, f) < 0)
      return NULL;
    sources[i] = src;
    src->align = i % 2 == 0 ? 1 : SOURCE_ALIGN;
    if ((raw ? chain_add_raw (c, src, (src->size + 511) & ~UINT64_C (511), f)
             : chain_add_qcow2 (c, src, &any, f))
        < 0)
      return NULL;
  }
  return steal_ptr (&c);
}

/* The increment of MAP above layer STOP, by the writer that argv names. */
static int
emit (char **argv, struct chain *map, struct job *j, struct fault *f)
{
  struct layout_params params = { .virtual_size = chain_size (map),
                                  .version = (unsigned)atoi (argv[3]),
                                  .cluster_bits = j->bits,
                                  .backing = argv[6],
                                  .backing_format = argv[7] };
  int rc = strcmp (argv[2], "layout") == 0
               ? layout_new (&params, &j->layout, f)
               : placer_new (&params, &j->placer, f);

  if (rc < 0
      || chain_map_blocks (map, 0, params.virtual_size,
                           (unsigned)atoi (argv[1]), UINT64_C (1) << j->bits,
                           put_extent, j, f)
             < 0)
    return -1;
  if (j->layout != NULL)
    return write_layout (j, f);
  if (placer_write_tables (j->placer, write_out, j, NULL, f) < 0)
    return -1;
  return placer_write_header (j->placer, write_out, j, f);
}

static int
run (char **argv, int argc, struct fault *f)
{
  struct job j = { .bits = (unsigned)atoi (argv[4]) };
  int count = argc - 8;
  /* Of two chains over the same layers, each with sources of its own. */
  struct source **sources = xcalloc ((size_t)count * 2, sizeof *sources);
  struct chain *map = open_chain (argv + 8, count, sources, f);
  int rc = -1;

  j.chain = open_chain (argv + 8, count, sources + count, f);
  j.fd = open (argv[5], O_RDWR | O_CREAT | O_TRUNC, 0666);
  if (map != NULL && j.chain != NULL)
    rc = emit (argv, map, &j, f);
  close (j.fd);
  layout_free (j.layout);
  placer_free (j.placer);
  chain_free (j.chain);
  chain_free (map);
  for (int i = 0; i < count * 2; i++)
    source_free (sources[i]);
  free (sources);
  return rc;
}

int
main (int argc, char **argv)
{
  struct fault f = FAULT_INIT;

  if (argc < 10) {
    fputs ("usage: increment STOP WRITER VERSION BITS OUT BACKING FORMAT "
           "LAYER...\n",
           stderr);
    return 2;
  }
  if (run (argv, argc, &f) == 0)
    return 0;
  fprintf (stderr, "increment: %s\n", f.text);
  return (int)f.code;
}
