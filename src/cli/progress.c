/* SPDX-License-Identifier: Apache-2.0 */
/* One thread draws, four times a second on a terminal; the job's threads only
   leave their figures.  So a stream that stalls is seen as a rate that falls,
   and a fast one does not pay for drawing.

   Lock order: the lock of log.c, then ours.  The hook of log.c is called with
   the former held, so nothing here logs while it holds our lock. */
#include <config.h>

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/words.h"

#define DRAW_MS 250
#define PLAIN_MS 30000
#define SAMPLE_COUNT 20 /* of DRAW_MS: the rate is that of the last 5 s */
#define LINES_MAX 12
#define SCREEN_MAX (64u << 10)
#define BAR_COLUMNS 20
#define BAR_MIN 8
#define BAR_SIZE (BAR_COLUMNS + 4)
#define NAME_MIN 16 /* of "vm/disk", before figures are left out */
#define FIGURES_SIZE (6 * OUTPUT_WORD_SIZE)

struct item {
  char *vm;
  char *disk; /* NULL: the line of a VM that has no disk under way */
  char *text; /* of a VM: phase and more; of a disk: its phase */
  struct progress_disk now;
  uint64_t samples[SAMPLE_COUNT]; /* done, a ring */
  uint64_t times[SAMPLE_COUNT];
  unsigned sample_count;
};

struct progress {
  int wake;             /* an eventfd: the thread shall look at once */
  pthread_mutex_t lock; /* guards all below */
  pthread_t thread;
  bool threaded;
  bool stop;
  bool silent;
  bool terminal; /* a bar is drawn */
  bool lines;    /* else: lines are printed */
  bool hidden;   /* between the two calls of the hook */
  bool stopping; /* the wish to stop was told */
  struct item **items;
  size_t item_count;
  size_t drawn[LINES_MAX]; /* columns of each line on the screen */
  size_t drawn_count;
};

/* ---- one line ---- */

static void
put_eta (const struct progress_disk *now, uint64_t rate, char *out, size_t size)
{
  char words[OUTPUT_WORD_SIZE];

  out[0] = '\0';
  if (rate == 0 || now->total == 0 || now->done >= now->total)
    return;
  output_duration (
      (uint64_t)((double)(now->total - now->done) / (double)rate * 1000),
      words);
  snprintf (out, size, "  ETA %s", words);
}

static unsigned
percent_of (const struct progress_disk *now)
{
  uint64_t done = now->done > now->total ? now->total : now->done;

  return now->total == 0 ? 0
                         : (unsigned)((double)done * 100 / (double)now->total);
}

/* With how much a line is content, from all on. */
enum fullness {
  FULL_ALL,
  FULL_NO_TOTAL,
  FULL_NO_AMOUNT,
  FULL_NO_SKIPPED,
  FULL_RATE,
  FULL_LEAST,
};

static void
put_figures (const struct progress_disk *now, uint64_t rate,
             enum fullness fullness, char *out, size_t size)
{
  char done[OUTPUT_WORD_SIZE];
  char word[OUTPUT_WORD_SIZE];
  char percent[16] = "";
  char amount[2 * OUTPUT_WORD_SIZE + 8] = "";
  char speed[OUTPUT_WORD_SIZE] = "-";
  char skipped[OUTPUT_WORD_SIZE + 16] = "";
  char eta[OUTPUT_WORD_SIZE + 16] = "";

  output_size (now->done, done);
  output_size (now->total, word);
  if (now->total > 0)
    snprintf (percent, sizeof percent, "%3u %%  ", percent_of (now));
  if (now->total > 0 && fullness < FULL_NO_TOTAL)
    snprintf (amount, sizeof amount, "%s of %s  ", done, word);
  else if (now->total == 0 || fullness < FULL_NO_AMOUNT)
    snprintf (amount, sizeof amount, "%s  ", done);
  if (rate > 0)
    output_rate (rate, speed);
  if (now->skipped > 0 && fullness < FULL_NO_SKIPPED) {
    output_size (now->skipped, word);
    snprintf (skipped, sizeof skipped, "  skipped %s", word);
  }
  if (fullness < FULL_RATE)
    put_eta (now, rate, eta, sizeof eta);
  if (fullness == FULL_LEAST && now->total > 0)
    snprintf (out, size, "%3u %%", percent_of (now));
  else
    snprintf (out, size, "%s%s%s%s%s", percent, amount, speed, skipped, eta);
}

/* " [===   ]" of at most ROOM columns inside; "" where that is too few. */
static void
put_bar (const struct progress_disk *now, size_t room,
         char out[static BAR_SIZE])
{
  size_t columns = room < BAR_COLUMNS ? room : BAR_COLUMNS;

  out[0] = '\0';
  if (now->total == 0 || columns < BAR_MIN)
    return;
  memset (out, ' ', columns + 2);
  out[1] = '[';
  memset (out + 2, ' ', columns);
  memset (out + 2, '=', percent_of (now) * columns / 100);
  memcpy (out + 2 + columns, "]", 2);
}

/* The figures that leave room for NAME within COLUMNS. */
static void
choose_figures (const struct progress_disk *now, uint64_t rate,
                const char *name, size_t columns, char *out, size_t size)
{
  size_t wanted = output_columns (name);

  wanted = (wanted < NAME_MIN ? wanted : NAME_MIN) + 2;
  for (int i = FULL_ALL; i <= FULL_LEAST; i++) {
    put_figures (now, rate, (enum fullness)i, out, size);
    if (wanted + output_columns (out) <= columns)
      return;
  }
}

char *
progress_line (const char *vm, const char *disk,
               const struct progress_disk *now, uint64_t rate, unsigned columns)
{
  CLEANUP_FREE char *name = xasprintf ("%s/%s", vm, disk);
  CLEANUP_FREE char *head = NULL;
  CLEANUP_FREE char *cut = NULL;
  CLEANUP_FREE char *line = NULL;
  char bar[BAR_SIZE];
  char figures[FIGURES_SIZE];
  size_t room;
  size_t used;

  choose_figures (now, rate, name, columns, figures, sizeof figures);
  room = output_columns (figures) + 2;
  room = columns > room ? columns - room : 0;
  head = now->phase == NULL
             ? xstrdup (name)
             : xasprintf ("%s %s", name, words_phase (now->phase));
  if (output_columns (head) > room) { /* the phase goes before the name */
    free (head);
    head = xstrdup (name);
  }
  cut = output_cut (head, room);
  used = output_columns (cut) + 3;
  put_bar (now, room > used ? room - used : 0, bar);
  line = xasprintf ("%s%s  %s", cut, bar, figures);
  return output_cut (line, columns);
}

/* ---- items ---- */

static struct item *
find_item (struct progress *p, const char *vm, const char *disk)
{
  for (size_t i = 0; i < p->item_count; i++) {
    struct item *item = p->items[i];

    if (strcmp (item->vm, vm) == 0
        && (disk == NULL
                ? item->disk == NULL
                : item->disk != NULL && strcmp (item->disk, disk) == 0))
      return item;
  }
  return NULL;
}

static struct item *
make_item (struct progress *p, const char *vm, const char *disk)
{
  struct item *item = find_item (p, vm, disk);

  if (item != NULL)
    return item;
  item = xcalloc (1, sizeof *item);
  item->vm = xstrdup (vm);
  item->disk = disk != NULL ? xstrdup (disk) : NULL;
  p->items = xreallocarray (p->items, p->item_count + 1, sizeof *p->items);
  p->items[p->item_count++] = item;
  return item;
}

static void
free_item (struct item *item)
{
  free (item->vm);
  free (item->disk);
  free (item->text);
  free (item);
}

/* Remove the items of VM; DISK: that one only; PHASE: only disks whose own
   phase is another one. */
static void
drop_items (struct progress *p, const char *vm, const char *disk,
            const char *phase)
{
  size_t kept = 0;

  for (size_t i = 0; i < p->item_count; i++) {
    struct item *item = p->items[i];
    bool drop = strcmp (item->vm, vm) == 0;

    if (disk != NULL)
      drop = drop && item->disk != NULL && strcmp (item->disk, disk) == 0;
    if (phase != NULL)
      drop = drop && item->disk != NULL && item->text != NULL
             && strcmp (item->text, phase) != 0;
    if (drop)
      free_item (item);
    else
      p->items[kept++] = item;
  }
  p->item_count = kept;
}

static bool
has_disks (const struct progress *p, const char *vm)
{
  for (size_t i = 0; i < p->item_count; i++) {
    if (p->items[i]->disk != NULL && strcmp (p->items[i]->vm, vm) == 0)
      return true;
  }
  return false;
}

static void
take_sample (struct item *item)
{
  unsigned at = item->sample_count % SAMPLE_COUNT;

  item->samples[at] = item->now.done;
  item->times[at] = stamp_mono_ms ();
  item->sample_count++;
}

/* Bytes a second since the oldest sample that is kept. */
static uint64_t
rate_of (const struct item *item)
{
  unsigned oldest = item->sample_count > SAMPLE_COUNT
                        ? item->sample_count % SAMPLE_COUNT
                        : 0;
  uint64_t ms;

  if (item->sample_count == 0)
    return 0;
  ms = stamp_mono_ms () - item->times[oldest];
  if (ms < DRAW_MS || item->now.done <= item->samples[oldest])
    return 0;
  return (uint64_t)((double)(item->now.done - item->samples[oldest]) * 1000
                    / (double)ms);
}

/* ---- the screen; all with the lock held ---- */

/* A terminal that is gone is no reason to stop. */
static void
write_all (const char *text, size_t size)
{
  fdio_write_full (STDERR_FILENO, text, size, "terminal", NULL);
}

/* Put what clears the lines on the screen into B.  The cursor stands at the
   end of the last one.  After the terminal became narrower one line may take
   several rows. */
static void
put_clear (struct progress *p, struct buf *b)
{
  size_t columns = output_width (STDERR_FILENO);
  size_t rows = 0;

  if (p->drawn_count == 0)
    return;
  for (size_t i = 0; i < p->drawn_count; i++) {
    size_t n = p->drawn[i];

    rows += columns == 0 || n == 0 ? 1 : (n + columns - 1) / columns;
  }
  p->drawn_count = 0;
  if (rows > 1)
    buf_printf (b, "\r\033[%zuA\033[J", rows - 1);
  else
    buf_printf (b, "\r\033[J");
}

static void
clear_locked (struct progress *p)
{
  struct buf b;

  buf_init (&b, SCREEN_MAX);
  put_clear (p, &b);
  write_all ((const char *)b.data, b.size);
  buf_reset (&b);
}

static char *
item_line (const struct progress *p, const struct item *item, unsigned columns)
{
  CLEANUP_FREE char *text = NULL;

  if (item->disk != NULL)
    return progress_line (item->vm, item->disk, &item->now, rate_of (item),
                          columns);
  if (has_disks (p, item->vm))
    return NULL;
  text = xasprintf ("%s: %s", item->vm, item->text);
  return output_cut (text, columns);
}

static void
put_line (struct progress *p, struct buf *b, const char *line)
{
  buf_printf (b, "%s%s", p->drawn_count > 0 ? "\n" : "", line);
  p->drawn[p->drawn_count++] = output_columns (line);
}

static size_t
line_limit (void)
{
  struct winsize size;

  if (ioctl (STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0)
    return LINES_MAX; /* a terminal that does not know */
  if (size.ws_row < 3)
    return 1;
  return size.ws_row - 1u < LINES_MAX ? size.ws_row - 1u : LINES_MAX;
}

/* One write for all, so that nothing flickers. */
static void
draw_locked (struct progress *p)
{
  unsigned columns = output_width (STDERR_FILENO);
  size_t limit = line_limit ();
  CLEANUP_FREE char **lines = xcalloc (p->item_count + 1, sizeof *lines);
  size_t count = 0;
  char more[32];
  struct buf b;

  buf_init (&b, SCREEN_MAX);
  put_clear (p, &b);
  for (size_t i = 0; !p->hidden && columns > 1 && i < p->item_count; i++) {
    char *line = item_line (p, p->items[i], columns - 1);

    if (line != NULL)
      lines[count++] = line;
  }
  for (size_t i = 0; i < count; i++) {
    if (i + 1 < limit || count <= limit)
      put_line (p, &b, lines[i]);
    free (lines[i]);
  }
  if (count > limit) {
    snprintf (more, sizeof more, "and %zu more", count - (limit - 1));
    put_line (p, &b, more);
  }
  write_all ((const char *)b.data, b.size);
  buf_reset (&b);
}

static void
hook (bool before, void *opaque)
{
  struct progress *p = opaque;
  SCOPED_LOCK (&p->lock);

  p->hidden = before;
  if (before)
    clear_locked (p);
  else
    draw_locked (p);
}

/* ---- the thread ---- */

/* The lines of a pipe, taken with the lock held, logged without it. */
static char **
plain_lines_locked (struct progress *p, size_t *count)
{
  char **lines = xcalloc (p->item_count + 1, sizeof *lines);

  *count = 0;
  for (size_t i = 0; i < p->item_count; i++) {
    struct item *item = p->items[i];
    char figures[FIGURES_SIZE];

    if (item->disk == NULL && has_disks (p, item->vm))
      continue;
    if (item->disk == NULL) {
      lines[(*count)++] = xasprintf ("%s: still %s", item->vm, item->text);
      continue;
    }
    put_figures (&item->now, rate_of (item), FULL_ALL, figures, sizeof figures);
    lines[(*count)++]
        = xasprintf ("%s/%s: %s%s%s", item->vm, item->disk,
                     item->text != NULL ? words_phase (item->text) : "",
                     item->text != NULL ? " " : "", figures);
  }
  return lines;
}

static void
print_plain (struct progress *p)
{
  size_t count;
  char **lines = plain_lines_locked (p, &count);

  pthread_mutex_unlock (&p->lock);
  for (size_t i = 0; i < count; i++) {
    log_info ("%s", lines[i]);
    free (lines[i]);
  }
  free (lines);
  pthread_mutex_lock (&p->lock);
}

/* What follows a Ctrl-C can take minutes (a snapshot is merged), in which the
   user must not believe that he was not heard. */
static void
tell_stop (struct progress *p)
{
  p->stopping = true;
  pthread_mutex_unlock (&p->lock);
  log_warn ("stopping: cleaning up; a second Ctrl-C ends at once and leaves "
            "that to the next run");
  pthread_mutex_lock (&p->lock);
}

/* Until MS are over, or progress_free or the wish to stop comes. */
static void
wait_locked (struct progress *p, int ms)
{
  struct pollfd fds[2] = { { .fd = p->wake, .events = POLLIN },
                           { .fd = cancel_fd (), .events = POLLIN } };

  pthread_mutex_unlock (&p->lock);
  poll (fds, p->stopping ? 1 : 2, ms);
  pthread_mutex_lock (&p->lock);
}

static void *
run (void *opaque)
{
  struct progress *p = opaque;
  uint64_t last = stamp_mono_ms ();

  pthread_mutex_lock (&p->lock);
  while (!p->stop) {
    for (size_t i = 0; i < p->item_count; i++)
      take_sample (p->items[i]);
    if (!p->stopping && cancel_wanted ())
      tell_stop (p);
    if (p->terminal) {
      draw_locked (p);
    }
    else if (p->lines && stamp_mono_ms () - last >= PLAIN_MS) {
      last = stamp_mono_ms ();
      print_plain (p);
    }
    if (!p->stop)
      wait_locked (p, DRAW_MS);
  }
  clear_locked (p);
  pthread_mutex_unlock (&p->lock);
  return NULL;
}

static bool
can_draw (void)
{
  const char *term = getenv ("TERM");

  return isatty (STDERR_FILENO) && term != NULL && strcmp (term, "dumb") != 0
         && term[0] != '\0';
}

struct progress *
progress_new (const struct options *options)
{
  struct progress *p = xcalloc (1, sizeof *p);
  sigset_t all;
  sigset_t old;

  pthread_mutex_init (&p->lock, NULL);
  p->wake = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  p->silent = options->quiet;
  /* Lines of --verbose and a bar disturb each other. */
  p->terminal = can_draw () && !options->verbose;
  /* Who reads JSON has the phases there. */
  p->lines = !p->terminal && !options->json;
  if (p->silent)
    return p;
  if (p->terminal)
    log_hook (hook, p);
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  p->threaded = pthread_create (&p->thread, NULL, run, p) == 0;
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  return p;
}

void
progress_phase (struct progress *p, const char *vm, const char *phase,
                const char *text)
{
  const char *colon = text != NULL && text[0] != '\0' ? ": " : "";
  const char *words = words_phase (phase);
  struct item *item;

  if (p->silent)
    return;
  if (p->lines)
    log_info ("%s: %s%s%s", vm, words, colon, text != NULL ? text : "");
  {
    SCOPED_LOCK (&p->lock);
    drop_items (p, vm, NULL, phase);
    item = make_item (p, vm, NULL);
    free (item->text);
    item->text = xasprintf ("%s%s%s", words, colon, text != NULL ? text : "");
  }
}

void
progress_update (struct progress *p, const char *vm, const char *disk,
                 const struct progress_disk *now)
{
  struct item *item;

  if (p->silent)
    return;
  {
    SCOPED_LOCK (&p->lock);
    item = make_item (p, vm, disk);
    if (now->phase != NULL
        && (item->text == NULL || strcmp (item->text, now->phase) != 0)) {
      free (item->text);
      item->text = xstrdup (now->phase);
      item->sample_count = 0;
    }
    if (now->done < item->now.done)
      item->sample_count = 0;
    item->now = *now;
    item->now.phase = item->text;
    if (item->sample_count == 0)
      take_sample (item);
  }
}

void
progress_done (struct progress *p, const char *vm, const char *disk)
{
  SCOPED_LOCK (&p->lock);

  drop_items (p, vm, disk, NULL);
}

void
progress_around (struct progress *p, void (*fn) (void *opaque), void *opaque)
{
  SCOPED_LOCK (&p->lock);

  if (p->terminal)
    clear_locked (p);
  fn (opaque);
}

void
progress_free (struct progress *p)
{
  if (p == NULL)
    return;
  if (p->threaded) {
    pthread_mutex_lock (&p->lock);
    p->stop = true;
    pthread_mutex_unlock (&p->lock);
    eventfd_write (p->wake, 1); /* without it: after DRAW_MS */
    pthread_join (p->thread, NULL);
  }
  log_hook (NULL, NULL);
  for (size_t i = 0; i < p->item_count; i++)
    free_item (p->items[i]);
  free (p->items);
  if (p->wake >= 0)
    close (p->wake);
  pthread_mutex_destroy (&p->lock);
  free (p);
}
