/* SPDX-License-Identifier: Apache-2.0 */
/* A table of text: the header, then rows; columns as wide as their widest
   cell.  Where that is wider than the terminal, a last column that may wrap
   does, then the columns that were marked as elastic are cut (with an
   ellipsis) until it fits. */
#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/cleanup.h"

struct table;

enum table_align {
  TABLE_LEFT = 0,
  TABLE_RIGHT = 1,
  TABLE_ELASTIC = 2, /* left, and may be cut */
  TABLE_WRAP = 3,    /* the last one: goes on below itself */
};

struct table_column {
  const char *title;
  enum table_align align;
};

/* COLUMNS is borrowed and must outlive the table. */
struct table *table_new (const struct table_column *columns, size_t count);
/* Append a cell (copied and cleaned); after the last of a row the next
   begins.  NULL or "" prints "-". */
void table_cell (struct table *t, const char *text);
void table_cellf (struct table *t, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));
void table_cell_size (struct table *t, uint64_t bytes);
/* Print to STREAM within WIDTH columns (0: no limit).  A table without rows
   prints nothing. */
void table_print (const struct table *t, FILE *stream, unsigned width);
void table_free (struct table *t);
CLEANUP_DEFINE (table_free, struct table);

#endif /* TABLE_H */
