/* SPDX-License-Identifier: Apache-2.0 */
/* The tables below are the format: parsing, printing and the check for what is
   missing all go by them.  The keys of the point come first, then for each
   disk, network interface, skipped disk and file a key that begins it and has
   its id or name, and its other keys. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "repo/lines.h"
#include "repo/manifest.h"

#define MAGIC "chainlift-manifest 1"
#define SIZE_LIMIT (UINT64_C (1) << 61) /* of a disk */

enum field_type {
  FIELD_ID,        /* char[UUID_SIZE] */
  FIELD_POINT,     /* char[POINT_NAME_SIZE] */
  FIELD_FILE_NAME, /* char[MANIFEST_FILE_NAME_SIZE] */
  FIELD_TEXT,      /* char * */
  FIELD_NUMBER,    /* uint64_t */
  FIELD_BOOL,
  FIELD_DIGEST, /* uint8_t[DIGEST_SIZE] */
  FIELD_KIND,
  FIELD_CONSISTENCY,
  FIELD_FORMAT,
};

struct field {
  const char *key;
  enum field_type type;
  size_t offset;
  bool required;
};

/* The entries of one kind; fields[0] begins an entry. */
struct section {
  const struct field *fields;
  size_t field_count;
  size_t entry_size;
  size_t array; /* offset of the array in struct manifest */
  size_t count; /* offset of its count */
  size_t max;
};

#define COUNT_OF(array) (sizeof (array) / sizeof (array)[0])
#define TOP(key, type, member, required)                                       \
  {                                                                            \
    key, FIELD_##type, offsetof (struct manifest, member), required            \
  }
#define DISK(key, type, member, required)                                      \
  {                                                                            \
    key, FIELD_##type, offsetof (struct manifest_disk, member), required       \
  }
#define NIC(key, type, member, required)                                       \
  {                                                                            \
    key, FIELD_##type, offsetof (struct manifest_nic, member), required        \
  }
#define SKIPPED(key, type, member, required)                                   \
  {                                                                            \
    key, FIELD_##type, offsetof (struct manifest_skipped, member), required    \
  }
#define FILE_(key, type, member, required)                                     \
  {                                                                            \
    key, FIELD_##type, offsetof (struct manifest_file, member), required       \
  }

static const struct field top_fields[] = {
  TOP ("vm", ID, vm_id, true),
  TOP ("vm.name", TEXT, vm_name, true),
  TOP ("point", POINT, point, true),
  TOP ("kind", KIND, kind, true),
  TOP ("parent", POINT, parent, false),
  TOP ("reason", TEXT, reason, false),
  TOP ("consistency", CONSISTENCY, consistency, true),
  TOP ("run", TEXT, run_id, true),
  TOP ("program", TEXT, program, true),
  TOP ("finished", POINT, finished, true),
  TOP ("engine.url", TEXT, engine_url, false),
  TOP ("engine", TEXT, engine_id, false),
  TOP ("snapshot", ID, snapshot_id, false),
  TOP ("snapshot.date", POINT, snapshot_date, false),
  TOP ("snapshot.event", NUMBER, event, false),
  TOP ("cluster", TEXT, cluster_id, false),
  TOP ("cluster.name", TEXT, cluster_name, false),
  TOP ("host", TEXT, host_id, false),
  TOP ("host.name", TEXT, host_name, false),
};

static const struct field disk_fields[] = {
  DISK ("disk", ID, id, true),
  DISK ("disk.kind", KIND, kind, true),
  DISK ("disk.reason", TEXT, reason, false),
  DISK ("disk.alias", TEXT, alias, false),
  DISK ("disk.description", TEXT, description, false),
  DISK ("disk.interface", TEXT, interface, false),
  DISK ("disk.bootable", BOOL, bootable, true),
  DISK ("disk.active", BOOL, active, true),
  DISK ("disk.read-only", BOOL, read_only, true),
  DISK ("disk.wipe-after-delete", BOOL, wipe_after_delete, true),
  DISK ("disk.pass-discard", BOOL, pass_discard, true),
  DISK ("disk.format", FORMAT, format, true),
  DISK ("disk.sparse", BOOL, sparse, true),
  DISK ("disk.virtual-size", NUMBER, virtual_size, true),
  DISK ("disk.provisioned-size", NUMBER, provisioned_size, true),
  DISK ("disk.storage-domain", ID, storage_domain_id, false),
  DISK ("disk.storage-domain.name", TEXT, storage_domain_name, false),
  DISK ("disk.volume", ID, volume_id, false),
  DISK ("disk.identity", TEXT, identity, false),
  DISK ("disk.base", ID, base, false),
  DISK ("disk.base.digest", DIGEST, base_digest, false),
  DISK ("disk.file", TEXT, file, true),
  DISK ("disk.file.bytes", NUMBER, bytes, true),
  DISK ("disk.data", NUMBER, data, true),
  DISK ("disk.zero", NUMBER, zero, true),
  DISK ("disk.sum", TEXT, sum, true),
  DISK ("disk.sum.digest", DIGEST, digest, true),
};

static const struct field nic_fields[] = {
  NIC ("nic", ID, id, true),
  NIC ("nic.name", TEXT, name, false),
  NIC ("nic.mac", TEXT, mac, false),
  NIC ("nic.interface", TEXT, interface, false),
  NIC ("nic.profile", TEXT, profile_id, false),
  NIC ("nic.profile.name", TEXT, profile_name, false),
  NIC ("nic.network.name", TEXT, network_name, false),
  NIC ("nic.plugged", BOOL, plugged, true),
  NIC ("nic.linked", BOOL, linked, true),
};

static const struct field skipped_fields[] = {
  SKIPPED ("skipped", ID, id, true),
  SKIPPED ("skipped.alias", TEXT, alias, false),
  SKIPPED ("skipped.reason", TEXT, reason, true),
};

static const struct field file_fields[] = {
  FILE_ ("file", FILE_NAME, name, true),
  FILE_ ("file.bytes", NUMBER, bytes, true),
  FILE_ ("file.digest", DIGEST, digest, true),
};

static const struct field tag_fields[] = {
  { "tag", FIELD_TEXT, 0, true },
};

#define SECTION(fields, type, array, count, max)                               \
  {                                                                            \
    fields, COUNT_OF (fields), sizeof (type),                                  \
        offsetof (struct manifest, array), offsetof (struct manifest, count),  \
        max                                                                    \
  }
enum { DISKS, NICS, SKIPPED_DISKS, FILES, TAGS, SECTIONS };
static const struct section sections[SECTIONS] = {
  [DISKS] = SECTION (disk_fields, struct manifest_disk, disks, disk_count,
                     MANIFEST_DISKS_MAX),
  [NICS] = SECTION (nic_fields, struct manifest_nic, nics, nic_count,
                    MANIFEST_NICS_MAX),
  [SKIPPED_DISKS] = SECTION (skipped_fields, struct manifest_skipped, skipped,
                             skipped_count, MANIFEST_DISKS_MAX),
  [FILES] = SECTION (file_fields, struct manifest_file, files, file_count,
                     MANIFEST_FILES_MAX),
  [TAGS] = SECTION (tag_fields, char *, tags, tag_count, MANIFEST_TAGS_MAX),
};

/* The names of the values of an enum, by its value. */
static const char *const kind_names[] = { "full", "increment" };
static const char *const consistency_names[]
    = { "crash", "filesystem", "stopped" };
static const char *const format_names[] = { "raw", "cow" };
static const char *const bool_names[] = { "no", "yes" };

const char *
manifest_kind_name (enum manifest_kind kind)
{
  return kind_names[kind];
}

const char *
manifest_consistency_name (enum manifest_consistency c)
{
  return consistency_names[c];
}

const char *
manifest_format_name (enum manifest_format format)
{
  return format_names[format];
}

struct manifest *
manifest_new (void)
{
  return xcalloc (1, sizeof (struct manifest));
}

static size_t *
count_of (const struct manifest *m, const struct section *s)
{
  return (size_t *)(void *)((char *)m + s->count);
}

static char *
entry_at (const struct manifest *m, const struct section *s, size_t i)
{
  char *array = *(char **)(void *)((char *)m + s->array);

  return array + i * s->entry_size;
}

static void
free_texts (void *entry, const struct field *fields, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    if (fields[i].type == FIELD_TEXT)
      free (*(char **)(void *)((char *)entry + fields[i].offset));
  }
}

void
manifest_free (struct manifest *m)
{
  if (m == NULL)
    return;
  for (int i = 0; i < SECTIONS; i++) {
    const struct section *s = &sections[i];

    for (size_t j = 0; j < *count_of (m, s); j++)
      free_texts (entry_at (m, s, j), s->fields, s->field_count);
    free (*(void **)(void *)((char *)m + s->array));
  }
  free_texts (m, top_fields, COUNT_OF (top_fields));
  free (m);
}

void
manifest_set (char **field, const char *value)
{
  char *copy = value == NULL ? NULL : xstrdup (value);

  free (*field);
  *field = copy;
}

static void *
add_entry (struct manifest *m, const struct section *s, struct fault *f)
{
  size_t *count = count_of (m, s);
  void **array = (void **)(void *)((char *)m + s->array);
  char *entry;

  if (*count >= s->max) {
    fault_set (f, FAULT_CORRUPT, 0, "manifest: more than %zu entries \"%s\"",
               s->max, s->fields[0].key);
    return NULL;
  }
  *array = xreallocarray (*array, *count + 1, s->entry_size);
  entry = entry_at (m, s, (*count)++);
  memset (entry, 0, s->entry_size);
  return entry;
}

struct manifest_disk *
manifest_add_disk (struct manifest *m, struct fault *f)
{
  return add_entry (m, &sections[DISKS], f);
}

struct manifest_nic *
manifest_add_nic (struct manifest *m, struct fault *f)
{
  return add_entry (m, &sections[NICS], f);
}

struct manifest_skipped *
manifest_add_skipped (struct manifest *m, struct fault *f)
{
  return add_entry (m, &sections[SKIPPED_DISKS], f);
}

struct manifest_file *
manifest_add_file (struct manifest *m, struct fault *f)
{
  return add_entry (m, &sections[FILES], f);
}

int
manifest_add_tag (struct manifest *m, const char *tag, struct fault *f)
{
  char **entry = add_entry (m, &sections[TAGS], f);

  if (entry == NULL)
    return -1;
  *entry = xstrdup (tag);
  return 0;
}

const struct manifest_disk *
manifest_find_disk (const struct manifest *m, const char *id_or_alias)
{
  const struct manifest_disk *found = NULL;

  for (size_t i = 0; i < m->disk_count; i++) {
    if (strcmp (m->disks[i].id, id_or_alias) == 0)
      return &m->disks[i];
  }
  for (size_t i = 0; i < m->disk_count; i++) {
    if (m->disks[i].alias == NULL
        || strcmp (m->disks[i].alias, id_or_alias) != 0)
      continue;
    if (found != NULL)
      return NULL;
    found = &m->disks[i];
  }
  return found;
}

bool
manifest_file_name_valid (const char *s)
{
  size_t size = strlen (s);

  return size > 0 && size < MANIFEST_FILE_NAME_SIZE && s[0] != '.'
         && strcmp (s, MANIFEST_NAME) != 0
         && strspn (s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789.-")
                == size;
}

static bool
name_index (const char *const *names, size_t count, const char *value,
            unsigned *out)
{
  for (size_t i = 0; i < count; i++) {
    if (strcmp (names[i], value) == 0) {
      *out = (unsigned)i;
      return true;
    }
  }
  return false;
}

/* Store VALUE into the field of ENTRY; false when it has not the right
   form. */
static bool
field_parse (const struct field *field, void *entry, const char *value)
{
  void *at = (char *)entry + field->offset;
  unsigned index = 0;
  bool good = true;

  switch (field->type) {
  case FIELD_ID:
    good = uuid_valid (value);
    if (good)
      memcpy (at, value, UUID_SIZE);
    break;
  case FIELD_POINT:
    good = point_name_valid (value);
    if (good)
      strcpy (at, value);
    break;
  case FIELD_FILE_NAME:
    good = manifest_file_name_valid (value);
    if (good)
      strcpy (at, value);
    break;
  case FIELD_TEXT:
    manifest_set (at, value);
    break;
  case FIELD_NUMBER:
    good = lines_number (value, at);
    break;
  case FIELD_BOOL:
    good = name_index (bool_names, COUNT_OF (bool_names), value, &index);
    *(bool *)at = index == 1;
    break;
  case FIELD_DIGEST:
    good = lines_hex (value, at, DIGEST_SIZE);
    break;
  case FIELD_KIND:
    good = name_index (kind_names, COUNT_OF (kind_names), value, &index);
    *(enum manifest_kind *)at = (enum manifest_kind)index;
    break;
  case FIELD_CONSISTENCY:
    good = name_index (consistency_names, COUNT_OF (consistency_names), value,
                       &index);
    *(enum manifest_consistency *)at = (enum manifest_consistency)index;
    break;
  case FIELD_FORMAT:
    good = name_index (format_names, COUNT_OF (format_names), value, &index);
    *(enum manifest_format *)at = (enum manifest_format)index;
    break;
  }
  return good;
}

static bool
digest_is_none (const uint8_t *digest)
{
  static const uint8_t none[DIGEST_SIZE];

  return memcmp (digest, none, DIGEST_SIZE) == 0;
}

static void
field_format (const struct field *field, const void *entry, struct buf *b)
{
  const void *at = (const char *)entry + field->offset;
  char text[2 * DIGEST_SIZE + 1];
  const char *value = text;

  switch (field->type) {
  case FIELD_ID:
  case FIELD_POINT:
  case FIELD_FILE_NAME:
    value = at;
    break;
  case FIELD_TEXT:
    value = *(char *const *)at;
    break;
  case FIELD_NUMBER:
    if (!field->required && *(const uint64_t *)at == 0)
      return;
    snprintf (text, sizeof text, "%llu",
              (unsigned long long)*(const uint64_t *)at);
    break;
  case FIELD_BOOL:
    value = bool_names[*(const bool *)at];
    break;
  case FIELD_DIGEST:
    /* None is all zeros. */
    if (!field->required && digest_is_none (at))
      return;
    digest_format (at, text);
    break;
  case FIELD_KIND:
    value = kind_names[*(const enum manifest_kind *)at];
    break;
  case FIELD_CONSISTENCY:
    value = consistency_names[*(const enum manifest_consistency *)at];
    break;
  case FIELD_FORMAT:
    value = format_names[*(const enum manifest_format *)at];
    break;
  }
  if (value != NULL)
    lines_put (b, field->key, value);
}

/* Where the parser is: the entry that the next keys belong to. */
struct state {
  struct manifest *m;
  struct lines l;
  const struct section *section; /* NULL: the keys of the point */
  void *entry;
  const struct field *fields;
  size_t field_count;
  uint32_t seen; /* a bit for each of fields */
};

_Static_assert(COUNT_OF (top_fields) <= 32 && COUNT_OF (disk_fields) <= 32,
               "state.seen has a bit for each field");

static const struct field *
find_field (const struct field *fields, size_t count, const char *key)
{
  for (size_t i = 0; i < count; i++) {
    if (strcmp (fields[i].key, key) == 0)
      return &fields[i];
  }
  return NULL;
}

/* Is all there that the entry needs? */
static int
end_entry (const struct state *st, struct fault *f)
{
  for (size_t i = 0; i < st->field_count; i++) {
    if (st->fields[i].required && (st->seen & (UINT32_C (1) << i)) == 0)
      return lines_fault (&st->l, f, "%s is missing before this line",
                          st->fields[i].key);
  }
  return 0;
}

static int
begin_entry (struct state *st, const struct section *s, struct fault *f)
{
  if (end_entry (st, f) < 0)
    return -1;
  st->entry = add_entry (st->m, s, f);
  st->section = s;
  st->fields = s->fields;
  st->field_count = s->field_count;
  st->seen = 0;
  return st->entry == NULL ? -1 : 0;
}

static int
take_line (struct state *st, struct fault *f)
{
  const struct lines *l = &st->l;
  const struct field *field;
  uint32_t bit;

  if (strncmp (l->key, "x-", 2) == 0)
    return 0;
  for (int i = 0; i < SECTIONS; i++) {
    if (strcmp (sections[i].fields[0].key, l->key) == 0
        && begin_entry (st, &sections[i], f) < 0)
      return -1;
  }
  field = find_field (st->fields, st->field_count, l->key);
  if (field == NULL)
    return lines_fault (l, f, "key %s is not known, or not allowed here",
                        l->key);
  bit = UINT32_C (1) << (field - st->fields);
  if ((st->seen & bit) != 0)
    return lines_fault (l, f, "key %s stands twice", l->key);
  st->seen |= bit;
  if (!field_parse (field, st->entry, l->value))
    return lines_fault (l, f, "%s has the malformed value \"%.64s\"", l->key,
                        l->value);
  return 0;
}

static bool
name_is (const char *name, const char *id, const char *suffix)
{
  return strncmp (name, id, UUID_SIZE - 1) == 0
         && strcmp (name + UUID_SIZE - 1, suffix) == 0;
}

static int
check_disk (const struct manifest *m, const struct manifest_disk *d,
            struct fault *f)
{
  uint64_t room = DIGEST_BLOCKS (d->virtual_size) * DIGEST_BLOCK;
  const char *wrong = NULL;

  if (!name_is (d->file, d->id, ".qcow2") || !name_is (d->sum, d->id, ".sum"))
    wrong = "its files are not named after it";
  else if (d->virtual_size == 0 || d->virtual_size % 512 != 0
           || d->virtual_size > SIZE_LIMIT)
    wrong = "its virtual size is impossible";
  else if (d->data > room || d->zero > room - d->data
           || d->data % DIGEST_BLOCK != 0 || d->zero % DIGEST_BLOCK != 0)
    wrong = "its data and zeros are more than its size, or no whole clusters";
  else if (d->kind == MANIFEST_INCREMENT && d->base[0] != '\0')
    wrong = "it is an increment over a template's base";
  else if ((d->base[0] == '\0') != digest_is_none (d->base_digest))
    wrong = "its template's base and the digest of that do not fit";
  else if (d->kind == MANIFEST_FULL && d->base[0] == '\0' && d->zero != 0)
    wrong = "it is a full with zero clusters";
  else if (d->kind == MANIFEST_INCREMENT && m->kind == MANIFEST_FULL)
    wrong = "it is an increment in a full point";
  for (const struct manifest_disk *e = m->disks; e < d && wrong == NULL; e++) {
    if (strcmp (e->id, d->id) == 0)
      wrong = "it stands twice";
  }
  if (wrong != NULL)
    return fault_set (f, FAULT_CORRUPT, 0, "manifest: disk %s: %s", d->id,
                      wrong);
  return 0;
}

/* What no single line can tell. */
static int
check_whole (const struct manifest *m, struct fault *f)
{
  bool increment = false;

  for (size_t i = 0; i < m->disk_count; i++) {
    if (check_disk (m, &m->disks[i], f) < 0)
      return -1;
    increment = increment || m->disks[i].kind == MANIFEST_INCREMENT;
  }
  for (size_t i = 0; i < m->file_count; i++) {
    for (size_t j = 0; j < i; j++) {
      if (strcmp (m->files[i].name, m->files[j].name) == 0)
        return fault_set (f, FAULT_CORRUPT, 0, "manifest: file %s stands twice",
                          m->files[i].name);
    }
  }
  if (increment != (m->kind == MANIFEST_INCREMENT)
      || increment != (m->parent[0] != '\0'))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "manifest: kind, parent and the kinds of its disks do "
                      "not fit");
  if (strcmp (m->parent, m->point) == 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "manifest: the point is its own parent");
  if (strlen (m->run_id) > MANIFEST_RUN_ID_MAX)
    return fault_set (f, FAULT_CORRUPT, 0, "manifest: run id too long");
  return 0;
}

int
manifest_parse (const char *text, size_t size, struct manifest **out,
                struct fault *f)
{
  CLEANUP (manifest_free) struct manifest *m = manifest_new ();
  struct state st = { .m = m,
                      .entry = m,
                      .fields = top_fields,
                      .field_count = COUNT_OF (top_fields) };
  int rc;

  *out = NULL;
  if (size > MANIFEST_MAX)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "manifest: %zu bytes, at most %u are allowed", size,
                      MANIFEST_MAX);
  rc = lines_open (&st.l, MANIFEST_NAME, text, size, MAGIC, MANIFEST_VALUE_MAX,
                   f);
  while (rc >= 0 && (rc = lines_next (&st.l, f)) == 1)
    rc = take_line (&st, f);
  if (rc == 0)
    rc = end_entry (&st, f);
  if (rc == 0)
    rc = check_whole (m, f);
  lines_close (&st.l);
  if (rc == 0)
    *out = steal_ptr (&m);
  return rc;
}

char *
manifest_format (const struct manifest *m, size_t *size, struct fault *f)
{
  CLEANUP (manifest_free) struct manifest *again = NULL;
  struct buf b;

  buf_init (&b, MANIFEST_MAX);
  lines_begin (&b, MAGIC);
  for (size_t i = 0; i < COUNT_OF (top_fields); i++)
    field_format (&top_fields[i], m, &b);
  for (int i = 0; i < SECTIONS; i++) {
    const struct section *s = &sections[i];

    for (size_t j = 0; j < *count_of (m, s); j++) {
      for (size_t k = 0; k < s->field_count; k++)
        field_format (&s->fields[k], entry_at (m, s, j), &b);
    }
  }
  lines_end (&b);
  /* What this program writes, it must be able to read. */
  if (buf_bad (&b)) {
    fault_set (f, FAULT_INTERNAL, 0, "manifest: it is larger than %u bytes",
               MANIFEST_MAX);
  }
  else if (manifest_parse ((const char *)b.data, b.size, &again, f) == 0) {
    *size = b.size;
    return (char *)b.data;
  }
  if (f != NULL)
    f->code = FAULT_INTERNAL;
  buf_reset (&b);
  return NULL;
}

int
manifest_load (int dirfd, const char *vm_id, const char *point,
               struct manifest **out, struct fault *f)
{
  CLEANUP (manifest_free) struct manifest *m = NULL;
  CLEANUP_FREE char *text = NULL;
  CLEANUP_FREE char *name = point == NULL
                                ? xasprintf ("template's base %s", vm_id)
                                : xasprintf ("VM %s point %s", vm_id, point);
  size_t size;

  *out = NULL;
  text = fdio_slurp (dirfd, MANIFEST_NAME, MANIFEST_MAX, &size, f);
  if (text == NULL || manifest_parse (text, size, &m, f) < 0)
    return fault_prefix (f, "%s", name);
  if (strcmp (m->vm_id, vm_id) != 0
      || (point != NULL && strcmp (m->point, point) != 0))
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: its manifest is of VM %s point %s", name, m->vm_id,
                      m->point);
  *out = steal_ptr (&m);
  return 0;
}
