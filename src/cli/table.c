/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/xmem.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/utf8.h"

#define GAP 2         /* blanks between columns */
#define ELASTIC_MIN 8 /* an elastic column keeps so many */
#define WRAP_MIN 32   /* and one that wraps */

struct table {
  const struct table_column *columns;
  size_t column_count;
  char **cells;
  size_t cell_count;
};

struct table *
table_new (const struct table_column *columns, size_t count)
{
  struct table *t = xcalloc (1, sizeof *t);

  t->columns = columns;
  t->column_count = count;
  return t;
}

void
table_cell (struct table *t, const char *text)
{
  t->cells = xreallocarray (t->cells, t->cell_count + 1, sizeof *t->cells);
  if (text == NULL || text[0] == '\0')
    text = "-";
  t->cells[t->cell_count++] = output_clean (text);
}

void
table_cellf (struct table *t, const char *format, ...)
{
  CLEANUP_FREE char *text = NULL;
  va_list ap;

  va_start (ap, format);
  if (vasprintf (&text, format, ap) < 0)
    abort ();
  va_end (ap);
  table_cell (t, text);
}

void
table_cell_size (struct table *t, uint64_t bytes)
{
  char text[OUTPUT_WORD_SIZE];

  output_size (bytes, text);
  table_cell (t, text);
}

/* How wide each column is, without a limit; the whole with its gaps. */
static size_t
natural_widths (const struct table *t, size_t *widths)
{
  size_t total = (t->column_count - 1) * GAP;

  for (size_t c = 0; c < t->column_count; c++)
    widths[c] = output_columns (t->columns[c].title);
  for (size_t i = 0; i < t->cell_count; i++) {
    size_t n = output_columns (t->cells[i]);
    size_t c = i % t->column_count;

    widths[c] = n > widths[c] ? n : widths[c];
  }
  for (size_t c = 0; c < t->column_count; c++)
    total += widths[c];
  return total;
}

/* Take EXCESS columns away: from the last one while it may wrap, then always
   from the widest elastic one. */
static void
shrink (const struct table *t, size_t *widths, size_t excess)
{
  size_t last = t->column_count - 1;

  for (; excess > 0 && t->columns[last].align == TABLE_WRAP
         && widths[last] > WRAP_MIN;
       excess--)
    widths[last]--;
  for (; excess > 0; excess--) {
    size_t widest = t->column_count;

    for (size_t c = 0; c < t->column_count; c++) {
      if (t->columns[c].align == TABLE_ELASTIC && widths[c] > ELASTIC_MIN
          && (widest == t->column_count || widths[c] > widths[widest]))
        widest = c;
    }
    if (widest == t->column_count)
      return;
    widths[widest]--;
  }
}

/* Bytes of TEXT for a line of WIDTH columns: to a blank, if there is one. */
static size_t
fitting (const char *text, size_t width)
{
  size_t columns = 0;
  size_t blank = 0;
  size_t at = 0;
  size_t n;

  for (; text[at] != '\0'; at += n) {
    columns += (size_t)utf8_columns (utf8_next (text + at, &n));
    if (text[at] == ' ')
      blank = at;
    if (columns > width)
      return blank > 0 ? blank : at > 0 ? at : n;
  }
  return at;
}

static void
print_wrapped (FILE *stream, const char *text, size_t width, size_t indent)
{
  size_t n = fitting (text, width);

  while (text[n] != '\0') {
    fprintf (stream, "%.*s\n%*s", (int)n, text, (int)indent, "");
    text += n + strspn (text + n, " ");
    n = fitting (text, width);
  }
  fprintf (stream, "%s\n", text);
}

static size_t
sum_before (const size_t *widths, size_t column)
{
  size_t sum = 0;

  for (size_t c = 0; c < column; c++)
    sum += widths[c] + GAP;
  return sum;
}

static void
print_cell (const struct table *t, FILE *stream, size_t c, const char *text,
            size_t width)
{
  CLEANUP_FREE char *cut = output_cut (text, width);
  int pad = (int)(width - output_columns (cut));
  bool last = c + 1 == t->column_count;

  if (t->columns[c].align == TABLE_RIGHT)
    fprintf (stream, "%*s%s", pad, "", cut);
  else
    fprintf (stream, "%s%*s", cut, last ? 0 : pad, "");
  fputs (last ? "\n" : "  ", stream);
}

void
table_print (const struct table *t, FILE *stream, unsigned width)
{
  CLEANUP_FREE size_t *widths = xcalloc (t->column_count, sizeof *widths);
  size_t total;

  if (t->cell_count == 0)
    return;
  total = natural_widths (t, widths);
  if (width > 0 && total > width)
    shrink (t, widths, total - width);
  for (size_t c = 0; c < t->column_count; c++)
    print_cell (t, stream, c, t->columns[c].title, widths[c]);
  for (size_t i = 0; i < t->cell_count; i++) {
    size_t c = i % t->column_count;

    if (t->columns[c].align == TABLE_WRAP)
      print_wrapped (stream, t->cells[i], widths[c], sum_before (widths, c));
    else
      print_cell (t, stream, c, t->cells[i], widths[c]);
  }
}

void
table_free (struct table *t)
{
  if (t == NULL)
    return;
  for (size_t i = 0; i < t->cell_count; i++)
    free (t->cells[i]);
  free (t->cells);
  free (t);
}
