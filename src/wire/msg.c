/* SPDX-License-Identifier: Apache-2.0 */
/* Every decode reads all fields first (buf gives zeros past its end), then
   asks for the first thing that is wrong; counts are checked before anything
   is allocated. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "wire/msg.h"

/* WRONG names the first field that is not as it must be, or is NULL. */
static int
finish (const struct buf *b, const char *message, const char *wrong,
        struct fault *f)
{
  if (buf_bad (b))
    return fault_set (f, FAULT_PROTO, 0,
                      "%s message is too short or holds a malformed string",
                      message);
  if (wrong != NULL)
    return fault_set (f, FAULT_PROTO, 0,
                      "%s message: %s is out of its range or malformed",
                      message, wrong);
  if (buf_left (b) != 0)
    return fault_set (f, FAULT_PROTO, 0, "%s message has %zu bytes too many",
                      message, buf_left (b));
  return 0;
}

static void
put_text (struct buf *b, const char *text, uint32_t max)
{
  size_t len = text != NULL ? strlen (text) : 0;

  if (len > max) {
    b->bad = true;
    return;
  }
  buf_put_le32 (b, (uint32_t)len);
  if (len > 0)
    buf_put (b, text, len);
}

/* A text of at most MAX bytes, or NULL with B gone bad. */
static char *
get_text (struct buf *b, uint32_t max, struct fault *f)
{
  uint32_t len = buf_get_le32 (b);
  char *text;

  if (buf_bad (b) || len > max || len > buf_left (b)) {
    b->bad = true;
    return NULL;
  }
  text = try_calloc ((size_t)len + 1, 1, "text of a message", f);
  if (text == NULL) {
    b->bad = true;
    return NULL;
  }
  buf_get (b, text, len);
  if (memchr (text, '\0', len) != NULL)
    b->bad = true;
  return text;
}

static bool
range_is_sane (uint64_t start, uint64_t length, uint64_t unit, uint64_t max)
{
  return start % unit == 0 && start <= MSG_DISK_MAX && length > 0
         && length <= max && length <= MSG_DISK_MAX - start;
}

/* HELLO, WELCOME, FAULT */

void
msg_hello_encode (const struct msg_hello *m, struct buf *b)
{
  buf_put_le32 (b, m->version);
  buf_put_le32 (b, m->heartbeat_ms);
  buf_put_le32 (b, m->codings);
  buf_put_str (b, m->run_id);
  buf_put_str (b, m->stop_phase);
}

int
msg_hello_decode (struct buf *b, struct msg_hello *m, struct fault *f)
{
  m->version = buf_get_le32 (b);
  m->heartbeat_ms = buf_get_le32 (b);
  m->codings = buf_get_le32 (b);
  buf_get_str (b, m->run_id, sizeof m->run_id);
  buf_get_str (b, m->stop_phase, sizeof m->stop_phase);
  return finish (b, "HELLO", m->heartbeat_ms == 0 ? "heartbeat" : NULL, f);
}

void
msg_welcome_encode (const struct msg_welcome *m, struct buf *b)
{
  buf_put_le32 (b, m->version);
  buf_put_le32 (b, m->pid);
  buf_put_le32 (b, m->uid);
  buf_put_le32 (b, m->flags);
  buf_put_str (b, m->program);
  buf_put_str (b, m->hostname);
  buf_put_str (b, m->boot_id);
  buf_put_str (b, m->machine);
  buf_put_str (b, m->kernel);
}

int
msg_welcome_decode (struct buf *b, struct msg_welcome *m, struct fault *f)
{
  m->version = buf_get_le32 (b);
  m->pid = buf_get_le32 (b);
  m->uid = buf_get_le32 (b);
  m->flags = buf_get_le32 (b);
  buf_get_str (b, m->program, sizeof m->program);
  buf_get_str (b, m->hostname, sizeof m->hostname);
  buf_get_str (b, m->boot_id, sizeof m->boot_id);
  buf_get_str (b, m->machine, sizeof m->machine);
  buf_get_str (b, m->kernel, sizeof m->kernel);
  return finish (b, "WELCOME", NULL, f);
}

void
msg_fault_encode (const struct msg_fault *m, struct buf *b)
{
  buf_put_u8 (b, m->code);
  buf_put_le32 (b, m->err);
  buf_put_str (b, m->text);
}

int
msg_fault_decode (struct buf *b, struct msg_fault *m, struct fault *f)
{
  const char *wrong = NULL;

  m->code = buf_get_u8 (b);
  m->err = buf_get_le32 (b);
  buf_get_str (b, m->text, sizeof m->text);
  if (m->code < FAULT_USAGE || m->code > FAULT_INTERNAL)
    wrong = "code";
  return finish (b, "FAULT", wrong, f);
}

/* OPEN_READ and OPENED */

static void
layer_encode (const struct msg_layer *l, struct buf *b)
{
  buf_put_str (b, l->image);
  buf_put_str (b, l->owner);
  buf_put_str (b, l->volume);
  buf_put_str (b, l->parent);
  buf_put_u8 (b, l->format);
  buf_put_u8 (b, l->voltype);
  buf_put_u8 (b, l->legality);
  buf_put_le64 (b, l->capacity);
}

static bool
format_is_sane (uint8_t format)
{
  return format == MSG_RAW || format == MSG_COW;
}

static bool
kind_is_sane (uint8_t kind)
{
  return kind == MSG_FILE || kind == MSG_BLOCK;
}

static const char *
layer_decode (struct buf *b, struct msg_layer *l)
{
  buf_get_str (b, l->image, sizeof l->image);
  buf_get_str (b, l->owner, sizeof l->owner);
  buf_get_str (b, l->volume, sizeof l->volume);
  buf_get_str (b, l->parent, sizeof l->parent);
  l->format = buf_get_u8 (b);
  l->voltype = buf_get_u8 (b);
  l->legality = buf_get_u8 (b);
  l->capacity = buf_get_le64 (b);
  if (!uuid_valid (l->image))
    return "image id";
  if (l->owner[0] != '\0' && !uuid_valid (l->owner))
    return "owner";
  if (!uuid_valid (l->volume))
    return "volume id";
  if (!uuid_valid (l->parent))
    return "parent id";
  if (!format_is_sane (l->format))
    return "format";
  if (l->voltype == 0 || l->voltype > (MSG_LEAF | MSG_INTERNAL | MSG_SHARED))
    return "volume type";
  if (l->legality == 0 || l->legality > (MSG_LEGAL | MSG_ILLEGAL))
    return "legality";
  return l->capacity > MSG_DISK_MAX ? "capacity" : NULL;
}

void
msg_open_read_encode (const struct msg_open_read *m, struct buf *b)
{
  if (m->layer_count > MSG_LAYERS_MAX)
    b->bad = true;
  buf_put_u8 (b, m->kind);
  buf_put_le32 (b, m->flags);
  buf_put_str (b, m->dir);
  buf_put_le32 (b, m->layer_count);
  buf_put_le32 (b, m->lower_count);
  for (uint32_t i = 0; !buf_bad (b) && i < m->layer_count; i++)
    layer_encode (&m->layers[i], b);
  if (m->kind == MSG_BLOCK)
    group_encode (&m->group, b);
}

int
msg_open_read_decode (struct buf *b, struct msg_open_read *m, struct fault *f)
{
  const char *wrong = NULL;

  *m = (struct msg_open_read){ .kind = buf_get_u8 (b) };
  m->flags = buf_get_le32 (b);
  buf_get_str (b, m->dir, sizeof m->dir);
  m->layer_count = buf_get_le32 (b);
  m->lower_count = buf_get_le32 (b);
  if (!kind_is_sane (m->kind))
    wrong = "kind";
  else if (m->flags > (MSG_READ_KEEP_ZERO | MSG_READ_SCAN_WRITERS))
    wrong = "flags";
  else if (m->dir[0] != '/')
    wrong = "directory";
  else if (m->layer_count == 0 || m->layer_count > MSG_LAYERS_MAX)
    wrong = "layer count";
  else if (m->lower_count >= m->layer_count
           || (m->lower_count > 0 && (m->flags & MSG_READ_KEEP_ZERO) == 0))
    wrong = "count of lower layers";
  if (wrong != NULL || buf_bad (b)) {
    m->layer_count = 0;
    return finish (b, "OPEN_READ", wrong, f);
  }
  m->layers = try_calloc (m->layer_count, sizeof *m->layers,
                          "layers of a message", f);
  if (m->layers == NULL)
    return -1;
  for (uint32_t i = 0; wrong == NULL && i < m->layer_count; i++)
    wrong = layer_decode (b, &m->layers[i]);
  if (wrong == NULL && m->kind == MSG_BLOCK
      && group_decode (b, &m->group, &wrong, f) < 0)
    return -1;
  return finish (b, "OPEN_READ", wrong, f);
}

void
msg_open_read_reset (struct msg_open_read *m)
{
  free (m->layers);
  group_reset (&m->group);
  *m = (struct msg_open_read){ 0 };
}

void
msg_opened_encode (const struct msg_opened *m, struct buf *b)
{
  if (m->layer_count > MSG_LAYERS_MAX)
    b->bad = true;
  buf_put_le64 (b, m->virtual_size);
  buf_put_le32 (b, m->layer_count);
  for (uint32_t i = 0; !buf_bad (b) && i < m->layer_count; i++) {
    buf_put_le64 (b, m->layers[i].container);
    buf_put_le64 (b, m->layers[i].virtual_size);
  }
  put_text (b, m->identity, MSG_TEXT_MAX);
}

int
msg_opened_decode (struct buf *b, struct msg_opened *m, struct fault *f)
{
  const char *wrong = NULL;

  *m = (struct msg_opened){ .virtual_size = buf_get_le64 (b) };
  m->layer_count = buf_get_le32 (b);
  if (m->virtual_size > MSG_DISK_MAX)
    wrong = "virtual size";
  else if (m->layer_count == 0 || m->layer_count > MSG_LAYERS_MAX)
    wrong = "layer count";
  if (wrong != NULL || buf_bad (b)) {
    m->layer_count = 0;
    return finish (b, "OPENED", wrong, f);
  }
  m->layers = try_calloc (m->layer_count, sizeof *m->layers,
                          "layers of a message", f);
  if (m->layers == NULL)
    return -1;
  for (uint32_t i = 0; i < m->layer_count; i++) {
    m->layers[i].container = buf_get_le64 (b);
    m->layers[i].virtual_size = buf_get_le64 (b);
    if (m->layers[i].container > MSG_DISK_MAX
        || m->layers[i].virtual_size > MSG_DISK_MAX)
      wrong = "size of a layer";
  }
  m->identity = get_text (b, MSG_TEXT_MAX, f);
  return finish (b, "OPENED", wrong, f);
}

void
msg_opened_reset (struct msg_opened *m)
{
  free (m->layers);
  free (m->identity);
  *m = (struct msg_opened){ 0 };
}

/* MAP and MAPPED */

void
msg_map_encode (const struct msg_map *m, struct buf *b)
{
  buf_put_le64 (b, m->start);
  buf_put_le64 (b, m->length);
}

int
msg_map_decode (struct buf *b, struct msg_map *m, struct fault *f)
{
  m->start = buf_get_le64 (b);
  m->length = buf_get_le64 (b);
  return finish (b, "MAP",
                 range_is_sane (m->start, m->length, MSG_SPAN, MSG_MAP_MAX)
                     ? NULL
                     : "range",
                 f);
}

void
msg_mapped_encode (const struct msg_mapped *m, struct buf *b)
{
  if (m->span_count > MSG_SPANS_MAX)
    b->bad = true;
  buf_put_le64 (b, m->data_bytes);
  buf_put_le64 (b, m->zero_bytes);
  buf_put_le64 (b, m->absent_bytes);
  buf_put_le64 (b, m->extents);
  buf_put_le32 (b, m->span_count);
  for (uint32_t i = 0; !buf_bad (b) && i < m->span_count; i++)
    buf_put_le32 (b, m->spans[i]);
}

int
msg_mapped_decode (struct buf *b, struct msg_mapped *m, struct fault *f)
{
  const char *wrong = NULL;

  *m = (struct msg_mapped){ .data_bytes = buf_get_le64 (b) };
  m->zero_bytes = buf_get_le64 (b);
  m->absent_bytes = buf_get_le64 (b);
  m->extents = buf_get_le64 (b);
  m->span_count = buf_get_le32 (b);
  if (m->data_bytes > MSG_MAP_MAX || m->zero_bytes > MSG_MAP_MAX
      || m->absent_bytes > MSG_MAP_MAX)
    wrong = "sum";
  else if (m->extents > MSG_MAP_MAX)
    wrong = "extent count";
  else if (m->span_count == 0 || m->span_count > MSG_SPANS_MAX)
    wrong = "span count";
  if (wrong != NULL || buf_bad (b)) {
    m->span_count = 0;
    return finish (b, "MAPPED", wrong, f);
  }
  m->spans
      = try_calloc (m->span_count, sizeof *m->spans, "spans of a message", f);
  if (m->spans == NULL)
    return -1;
  for (uint32_t i = 0; i < m->span_count; i++) {
    m->spans[i] = buf_get_le32 (b);
    if ((m->spans[i] & ~MSG_SPAN_ZERO) > MSG_SPAN)
      wrong = "span";
  }
  return finish (b, "MAPPED", wrong, f);
}

void
msg_mapped_reset (struct msg_mapped *m)
{
  free (m->spans);
  *m = (struct msg_mapped){ 0 };
}

/* READ, READ_DONE, IDENTITY */

void
msg_read_encode (const struct msg_read *m, struct buf *b)
{
  buf_put_le64 (b, m->start);
  buf_put_le64 (b, m->length);
}

int
msg_read_decode (struct buf *b, struct msg_read *m, struct fault *f)
{
  m->start = buf_get_le64 (b);
  m->length = buf_get_le64 (b);
  return finish (b, "READ",
                 range_is_sane (m->start, m->length, DIGEST_BLOCK, MSG_READ_MAX)
                     ? NULL
                     : "range",
                 f);
}

void
msg_read_done_encode (const struct msg_read_done *m, struct buf *b)
{
  buf_put_le64 (b, m->data_bytes);
  buf_put_le64 (b, m->zero_bytes);
  buf_put_le64 (b, m->skipped_bytes);
}

int
msg_read_done_decode (struct buf *b, struct msg_read_done *m, struct fault *f)
{
  const char *wrong = NULL;

  m->data_bytes = buf_get_le64 (b);
  m->zero_bytes = buf_get_le64 (b);
  m->skipped_bytes = buf_get_le64 (b);
  if (m->data_bytes > MSG_READ_MAX || m->zero_bytes > MSG_READ_MAX
      || m->skipped_bytes > MSG_READ_MAX)
    wrong = "sum";
  return finish (b, "READ_DONE", wrong, f);
}

void
msg_identity_encode (const struct msg_identity *m, struct buf *b)
{
  put_text (b, m->text, MSG_TEXT_MAX);
}

int
msg_identity_decode (struct buf *b, struct msg_identity *m, struct fault *f)
{
  m->text = get_text (b, MSG_TEXT_MAX, f);
  return finish (b, "IDENTITY", NULL, f);
}

void
msg_identity_reset (struct msg_identity *m)
{
  free (m->text);
  m->text = NULL;
}

/* OPEN_WRITE and what follows it */

void
msg_open_write_encode (const struct msg_open_write *m, struct buf *b)
{
  buf_put_u8 (b, m->kind);
  buf_put_u8 (b, m->format);
  buf_put_le32 (b, m->flags);
  buf_put_str (b, m->dir);
  buf_put_str (b, m->image);
  buf_put_str (b, m->volume);
  buf_put_le64 (b, m->capacity);
  buf_put_le64 (b, m->need);
  if (m->kind == MSG_BLOCK)
    group_encode (&m->group, b);
}

int
msg_open_write_decode (struct buf *b, struct msg_open_write *m, struct fault *f)
{
  const char *wrong = NULL;

  *m = (struct msg_open_write){ .kind = buf_get_u8 (b) };
  m->format = buf_get_u8 (b);
  m->flags = buf_get_le32 (b);
  buf_get_str (b, m->dir, sizeof m->dir);
  buf_get_str (b, m->image, sizeof m->image);
  buf_get_str (b, m->volume, sizeof m->volume);
  m->capacity = buf_get_le64 (b);
  m->need = buf_get_le64 (b);
  if (!kind_is_sane (m->kind))
    wrong = "kind";
  else if (!format_is_sane (m->format))
    wrong = "format";
  else if (m->flags > (MSG_WRITE_FRESH | MSG_WRITE_LOCKED))
    wrong = "flags";
  else if (m->dir[0] != '/')
    wrong = "directory";
  else if (!uuid_valid (m->image))
    wrong = "image id";
  else if (!uuid_valid (m->volume))
    wrong = "volume id";
  else if (m->capacity == 0 || m->capacity > MSG_DISK_MAX)
    wrong = "capacity";
  else if (m->need > MSG_DISK_MAX || (m->need > 0 && m->kind == MSG_FILE))
    wrong = "size";
  else if (m->kind == MSG_BLOCK && group_decode (b, &m->group, &wrong, f) < 0)
    return -1;
  return finish (b, "OPEN_WRITE", wrong, f);
}

void
msg_open_write_reset (struct msg_open_write *m)
{
  group_reset (&m->group);
}

void
msg_wopened_encode (const struct msg_wopened *m, struct buf *b)
{
  buf_put_le64 (b, m->container);
  buf_put_le64 (b, m->capacity);
  put_text (b, m->identity, MSG_TEXT_MAX);
}

int
msg_wopened_decode (struct buf *b, struct msg_wopened *m, struct fault *f)
{
  const char *wrong = NULL;

  m->container = buf_get_le64 (b);
  m->capacity = buf_get_le64 (b);
  m->identity = get_text (b, MSG_TEXT_MAX, f);
  if (m->container > MSG_DISK_MAX)
    wrong = "size";
  else if (m->capacity == 0 || m->capacity > MSG_DISK_MAX)
    wrong = "capacity";
  return finish (b, "WOPENED", wrong, f);
}

void
msg_wopened_reset (struct msg_wopened *m)
{
  free (m->identity);
  *m = (struct msg_wopened){ 0 };
}

void
msg_written_encode (const struct msg_written *m, struct buf *b)
{
  buf_put_le64 (b, m->total);
}

int
msg_written_decode (struct buf *b, struct msg_written *m, struct fault *f)
{
  m->total = buf_get_le64 (b);
  return finish (b, "WRITTEN", NULL, f);
}

void
msg_truncate_encode (const struct msg_truncate *m, struct buf *b)
{
  buf_put_le64 (b, m->size);
}

int
msg_truncate_decode (struct buf *b, struct msg_truncate *m, struct fault *f)
{
  m->size = buf_get_le64 (b);
  return finish (b, "TRUNCATE", m->size > MSG_DISK_MAX ? "size" : NULL, f);
}

void
msg_flushed_encode (const struct msg_flushed *m, struct buf *b)
{
  buf_put_le64 (b, m->total);
}

int
msg_flushed_decode (struct buf *b, struct msg_flushed *m, struct fault *f)
{
  m->total = buf_get_le64 (b);
  return finish (b, "FLUSHED", NULL, f);
}

void
msg_check_encode (const struct msg_check *m, struct buf *b)
{
  buf_put_le64 (b, m->offset);
  buf_put_le64 (b, m->length);
}

int
msg_check_decode (struct buf *b, struct msg_check *m, struct fault *f)
{
  m->offset = buf_get_le64 (b);
  m->length = buf_get_le64 (b);
  return finish (
      b, "CHECK",
      range_is_sane (m->offset, m->length, DIGEST_BLOCK, MSG_READ_MAX)
          ? NULL
          : "range",
      f);
}

void
msg_digests_encode (const struct msg_digests *m, struct buf *b)
{
  if (m->count > MSG_DIGESTS_MAX) {
    b->bad = true;
    return;
  }
  buf_put_le64 (b, m->offset);
  buf_put_le32 (b, m->count);
  buf_put (b, m->digests, (size_t)m->count * DIGEST_SIZE);
}

int
msg_digests_decode (struct buf *b, struct msg_digests *m, struct fault *f)
{
  *m = (struct msg_digests){ .offset = buf_get_le64 (b) };
  m->count = buf_get_le32 (b);
  if (buf_bad (b) || m->count == 0 || m->count > MSG_DIGESTS_MAX) {
    m->count = 0;
    return finish (b, "DIGESTS", "count", f);
  }
  m->digests = try_calloc (m->count, DIGEST_SIZE, "digests of a message", f);
  if (m->digests == NULL)
    return -1;
  buf_get (b, m->digests, (size_t)m->count * DIGEST_SIZE);
  return finish (b, "DIGESTS", m->offset > MSG_DISK_MAX ? "offset" : NULL, f);
}

void
msg_digests_reset (struct msg_digests *m)
{
  free (m->digests);
  *m = (struct msg_digests){ 0 };
}

void
msg_seal_encode (const struct msg_seal *m, struct buf *b)
{
  if (m->size > MSG_SEAL_MAX) {
    b->bad = true;
    return;
  }
  buf_put_le32 (b, m->size);
  buf_put (b, m->data, m->size);
}

int
msg_seal_decode (struct buf *b, struct msg_seal *m, struct fault *f)
{
  *m = (struct msg_seal){ .size = buf_get_le32 (b) };
  if (m->size > MSG_SEAL_MAX) {
    m->size = 0;
    return finish (b, "SEAL", "size", f);
  }
  if (m->size > buf_left (b))
    b->bad = true;
  if (!buf_bad (b)) {
    m->data = b->data + b->pos;
    b->pos += m->size;
  }
  return finish (b, "SEAL", NULL, f);
}

void
msg_sealed_encode (const struct msg_sealed *m, struct buf *b)
{
  put_text (b, m->identity, MSG_TEXT_MAX);
}

int
msg_sealed_decode (struct buf *b, struct msg_sealed *m, struct fault *f)
{
  m->identity = get_text (b, MSG_TEXT_MAX, f);
  return finish (b, "SEALED", NULL, f);
}

void
msg_sealed_reset (struct msg_sealed *m)
{
  free (m->identity);
  m->identity = NULL;
}

/* LOOK */

void
msg_look_encode (const struct msg_look *m, struct buf *b)
{
  buf_put_str (b, m->dir);
  group_encode (&m->group, b);
}

int
msg_look_decode (struct buf *b, struct msg_look *m, struct fault *f)
{
  const char *wrong = NULL;

  *m = (struct msg_look){ .dir = "" };
  buf_get_str (b, m->dir, sizeof m->dir);
  if (m->dir[0] != '/')
    wrong = "directory";
  else if (group_decode (b, &m->group, &wrong, f) < 0)
    return -1;
  return finish (b, "LOOK", wrong, f);
}

void
msg_look_reset (struct msg_look *m)
{
  group_reset (&m->group);
}

/* CLOSED, REAPED */

void
msg_report_encode (const struct msg_report *m, struct buf *b)
{
  put_text (b, m->report, MSG_REPORT_MAX);
}

int
msg_report_decode (struct buf *b, struct msg_report *m, struct fault *f)
{
  m->report = get_text (b, MSG_REPORT_MAX, f);
  return finish (b, "CLOSED or REAPED", NULL, f);
}

void
msg_report_reset (struct msg_report *m)
{
  free (m->report);
  m->report = NULL;
}
