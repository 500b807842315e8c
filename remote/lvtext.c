/* SPDX-License-Identifier: Apache-2.0 */
/* The flags are those of vdsm (lib/vdsm/storage/lvm.py _addExtraCfg, branches
   ovirt-4.2 to master): the same view of devices, the same locking.  Messages
   were taken from lvm2 2.03.16. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "remote/lvtext.h"
#include "wire/digest.h"

#define ROWS_MAX 65536
#define LV_FIELDS 8
#define VG_FIELDS 4
#define SIZE_DIGITS_MAX 19
#define SLOT_MAX (INT64_C (1) << 32)
#define REMOVE_PREFIX "_remove_me_"

/* --- to LVM ----------------------------------------------------------- */

int
lvtext_style (const char *version, const char *help, enum lvtext_style *out,
              struct fault *f)
{
  const char *p = strstr (version, "LVM version:");
  unsigned major;
  unsigned minor;

  if (p == NULL || sscanf (p, "LVM version: %u.%u", &major, &minor) != 2)
    return fault_set (f, FAULT_REMOTE, 0, "lvm version: %.60s: not understood",
                      version);
  if (major < 2 || (major == 2 && minor < 2))
    return fault_set (f, FAULT_REMOTE, 0, "LVM %u.%02u is too old", major,
                      minor);
  if (major == 2 && minor == 2)
    *out = LVTEXT_EL7;
  else
    *out = strstr (help, "--devices ") != NULL ? LVTEXT_DEVICES : LVTEXT_FILTER;
  return 0;
}

/* ID as a regular expression in a string of LVM's configuration. */
static void
put_pattern (const char *id, struct buf *out)
{
  for (; *id != '\0'; id++) {
    if (*id == '.' || *id == '+')
      buf_printf (out, "[%c]", *id);
    else
      buf_put_u8 (out, (uint8_t)*id);
  }
}

static void
put_filter (const struct group_spec *g, struct buf *out)
{
  buf_printf (out, " filter=[\"");
  for (uint32_t i = 0; i < g->lun_count; i++) {
    buf_printf (out, "%s^" LVTEXT_DEVICE_DIR, i == 0 ? "a|" : "|");
    put_pattern (g->luns[i].id, out);
    buf_printf (out, "$");
  }
  buf_printf (out, "|\",\"r|.*|\"]");
}

void
lvtext_config (enum lvtext_style style, const struct group_spec *g,
               const char *read_only_sd, struct buf *out)
{
  buf_printf (out, "devices { preferred_names=[\"^/dev/mapper/\"] "
                   "ignore_suspended_devices=1 write_cache_state=0 "
                   "disable_after_error_count=3");
  if (style != LVTEXT_EL7)
    buf_printf (out, " hints=\"none\" obtain_device_list_from_udev=0");
  if (style != LVTEXT_DEVICES)
    put_filter (g, out);
  buf_printf (out, " } global { ");
  if (style == LVTEXT_EL7)
    buf_printf (out, "locking_type=4 use_lvmetad=0 ");
  else
    buf_printf (out, "use_lvmpolld=1 ");
  buf_printf (out, "prioritise_write_locks=1 wait_for_locks=1 } "
                   "backup { retain_min=50 retain_days=0 }");
  if (read_only_sd != NULL)
    buf_printf (out, " activation { read_only_volume_list=[\"%s\"] }",
                read_only_sd);
  buf_put_u8 (out, 0);
}

void
lvtext_devices (enum lvtext_style style, const struct group_spec *g,
                struct buf *out)
{
  for (uint32_t i = 0; style == LVTEXT_DEVICES && i < g->lun_count; i++)
    buf_printf (out, "%s" LVTEXT_DEVICE_DIR "%s", i == 0 ? "" : ",",
                g->luns[i].id);
  buf_put_u8 (out, 0);
}

/* --- from LVM --------------------------------------------------------- */

/* A field, and SIZE bytes of memory to put it into. */
static bool
take (const char *field, char *out, size_t size)
{
  size_t len = strlen (field);

  if (len == 0 || len >= size)
    return false;
  memcpy (out, field, len + 1);
  return true;
}

static bool
take_id (const char *field, char out[static LVTEXT_ID_SIZE])
{
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";

  return strlen (field) == LVTEXT_ID_SIZE - 1
         && strspn (field, letters) == LVTEXT_ID_SIZE - 1
         && take (field, out, LVTEXT_ID_SIZE);
}

static bool
take_number (const char *field, uint64_t max, uint64_t *out)
{
  uint64_t v = 0;
  size_t len = strlen (field);

  if (len == 0 || len > SIZE_DIGITS_MAX || strspn (field, "0123456789") != len)
    return false;
  for (size_t i = 0; i < len; i++)
    v = v * 10 + (uint64_t)(field[i] - '0');
  *out = v;
  return v <= max;
}

/* Cut LINE at each '|' into exactly COUNT fields. */
static bool
split (char *line, char **fields, int count)
{
  int n = 0;

  while (*line == ' ')
    line++;
  for (;;) {
    if (n == count)
      return false;
    fields[n++] = line;
    line = strchr (line, '|');
    if (line == NULL)
      return n == count;
    *line++ = '\0';
  }
}

static bool
take_image (const char *value, struct lvtext_lv *lv)
{
  if (strncmp (value, REMOVE_PREFIX, strlen (REMOVE_PREFIX)) == 0) {
    lv->removing = true;
    return true;
  }
  if (lv->image[0] != '\0' || !uuid_valid (value))
    return false;
  memcpy (lv->image, value, UUID_SIZE);
  return true;
}

static bool
take_slot (const char *value, struct lvtext_lv *lv)
{
  uint64_t v;

  if (lv->slot >= 0 || !take_number (value, SLOT_MAX, &v))
    return false;
  lv->slot = (int64_t)v;
  return true;
}

/* Tags that we do not know pass. */
static bool
take_tags (char *tags, struct lvtext_lv *lv)
{
  char *rest = NULL;

  lv->slot = -1;
  lv->root = true;
  for (char *t = strtok_r (tags, ",", &rest); t != NULL;
       t = strtok_r (NULL, ",", &rest)) {
    if (strcmp (t, "OVIRT_VOL_INITIALIZING") == 0)
      lv->initializing = true;
    else if (strncmp (t, "IU_", 3) == 0 && !take_image (t + 3, lv))
      return false;
    else if (strncmp (t, "MD_", 3) == 0 && !take_slot (t + 3, lv))
      return false;
    else if (strncmp (t, "PU_", 3) == 0 && t[3] != '\0'
             && strcmp (t + 3, UUID_BLANK) != 0)
      lv->root = false;
  }
  return true;
}

static bool
take_row (char **fields, struct lvtext_lv *lv, const char **ranges)
{
  memset (lv, 0, sizeof *lv);
  *ranges = fields[6];
  return take_id (fields[0], lv->vg_uuid) && take_id (fields[1], lv->lv_uuid)
         && take (fields[2], lv->name, sizeof lv->name)
         && take (fields[3], lv->attr, sizeof lv->attr)
         && take_number (fields[4], UINT64_MAX >> 4, &lv->size)
         && take_number (fields[5], UINT64_MAX >> 4, &lv->first_pe)
         && take_tags (fields[7], lv);
}

/* A row while its volume is put together. */
struct row {
  struct lvtext_lv lv;
  const char *ranges; /* points into the text */
};

static int
by_place (const void *a, const void *b)
{
  const struct row *x = a;
  const struct row *y = b;
  int rc = strcmp (x->lv.lv_uuid, y->lv.lv_uuid);

  if (rc != 0)
    return rc;
  return (x->lv.first_pe > y->lv.first_pe) - (x->lv.first_pe < y->lv.first_pe);
}

/* The ranges of the COUNT segments of one volume. */
static void
join_ranges (const struct row *rows, size_t count, struct lvtext_lv *lv)
{
  uint8_t digest[DIGEST_SIZE];
  char hex[2 * DIGEST_SIZE + 1];
  struct buf all;

  buf_init (&all, LVTEXT_OUT_MAX);
  for (size_t i = 0; i < count; i++)
    buf_printf (&all, "%s%s", i == 0 ? "" : " ", rows[i].ranges);
  if (all.size < sizeof lv->ranges) {
    memcpy (lv->ranges, all.data, all.size);
    lv->ranges[all.size] = '\0';
  }
  else {
    digest_bytes (all.data, all.size, digest);
    digest_format (digest, hex);
    snprintf (lv->ranges, sizeof lv->ranges, "xxh3:%s", hex);
  }
  buf_reset (&all);
}

static bool
same_volume (const struct lvtext_lv *a, const struct lvtext_lv *b)
{
  return strcmp (a->name, b->name) == 0 && strcmp (a->vg_uuid, b->vg_uuid) == 0
         && a->size == b->size && a->slot == b->slot
         && strcmp (a->image, b->image) == 0 && a->removing == b->removing;
}

static int
join_rows (struct row *rows, size_t count, struct lvtext_lv **lvs, size_t *n,
           struct fault *f)
{
  struct lvtext_lv *out = try_calloc (count + 1, sizeof *out, "volumes", f);
  size_t used = 0;
  size_t end;

  if (out == NULL)
    return -1;
  if (count > 0) /* else ROWS may be NULL */
    qsort (rows, count, sizeof *rows, by_place);
  for (size_t at = 0; at < count; at = end) {
    for (end = at + 1;
         end < count && strcmp (rows[end].lv.lv_uuid, rows[at].lv.lv_uuid) == 0;
         end++) {
      if (!same_volume (&rows[at].lv, &rows[end].lv)
          || rows[end].lv.first_pe == rows[end - 1].lv.first_pe) {
        free (out);
        return fault_set (f, FAULT_CORRUPT, 0,
                          "lvs: segments of volume %s disagree",
                          rows[at].lv.name);
      }
    }
    out[used] = rows[at].lv;
    join_ranges (rows + at, end - at, &out[used++]);
  }
  for (size_t i = 0; i < used; i++) {
    for (size_t k = i + 1; k < used; k++) {
      if (strcmp (out[i].name, out[k].name) != 0)
        continue;
      fault_set (f, FAULT_CORRUPT, 0, "lvs: two volumes %s", out[i].name);
      free (out);
      return -1;
    }
  }
  *lvs = out;
  *n = used;
  return 0;
}

int
lvtext_rows (const char *text, struct lvtext_lv **lvs, size_t *count,
             struct fault *f)
{
  char *copy = xstrdup (text);
  struct row *rows = NULL;
  char *fields[LV_FIELDS];
  size_t n = 0;
  char *rest = NULL;
  int rc = 0;

  for (char *line = strtok_r (copy, "\n", &rest); rc == 0 && line != NULL;
       line = strtok_r (NULL, "\n", &rest)) {
    if (n == ROWS_MAX) {
      rc = fault_set (f, FAULT_REMOTE, 0, "lvs: more than %d rows", ROWS_MAX);
      break;
    }
    if ((n & (n - 1)) == 0)
      rows = xreallocarray (rows, n == 0 ? 1 : 2 * n, sizeof *rows);
    if (!split (line, fields, LV_FIELDS)
        || !take_row (fields, &rows[n].lv, &rows[n].ranges))
      rc = fault_set (f, FAULT_CORRUPT, 0, "lvs: row %zu is malformed", n + 1);
    n++;
  }
  if (rc == 0)
    rc = join_rows (rows, n, lvs, count, f);
  free (rows);
  free (copy);
  return rc;
}

bool
lvtext_decode_tag (const char *in, char *out, size_t size)
{
  size_t used = 0;
  unsigned code;
  int len;

  while (*in != '\0' && used + 1 < size) {
    if (*in != '&') {
      out[used++] = *in++;
      continue;
    }
    len = 0;
    if (sscanf (in, "&%3u&%n", &code, &len) != 1 || len == 0 || code == 0
        || code > 126)
      return false;
    out[used++] = (char)code;
    in += len;
  }
  out[used] = '\0';
  return *in == '\0';
}

static bool
take_vg_tag (const char *t, struct lvtext_vg *vg)
{
  char value[LVTEXT_NAME_SIZE];
  uint64_t v = 0;

  if (strcmp (t, "RHAT_storage_domain") == 0)
    vg->domain = true;
  if (strncmp (t, "MDT_SDUUID=", 11) == 0)
    return lvtext_decode_tag (t + 11, value, sizeof value)
           && take (value, vg->sd, sizeof vg->sd);
  if (strncmp (t, "MDT_POOL_UUID=", 14) == 0)
    return lvtext_decode_tag (t + 14, value, sizeof value)
           && (value[0] == '\0' || take (value, vg->pool, sizeof vg->pool));
  if (strncmp (t, "MDT_VERSION=", 12) == 0) {
    if (!take_number (t + 12, GROUP_VERSION_MAX, &v))
      return false;
    vg->version = (unsigned)v;
  }
  return true;
}

int
lvtext_vg (const char *text, struct lvtext_vg *out, struct fault *f)
{
  char *copy = xstrndup (text, strcspn (text, "\n"));
  char *fields[VG_FIELDS];
  char *rest = NULL;
  bool ok;

  memset (out, 0, sizeof *out);
  ok = split (copy, fields, VG_FIELDS) && take_id (fields[0], out->vg_uuid);
  if (ok) {
    out->partial = fields[2][0] != '\0';
    for (char *t = strtok_r (fields[3], ",", &rest); ok && t != NULL;
         t = strtok_r (NULL, ",", &rest))
      ok = take_vg_tag (t, out);
  }
  free (copy);
  return ok ? 0 : fault_set (f, FAULT_CORRUPT, 0, "vgs: its row is malformed");
}

/* --- errors ----------------------------------------------------------- */

enum lvtext_error
lvtext_classify (const char *errors)
{
  static const struct {
    const char *text;
    enum lvtext_error meaning;
  } table[] = {
    { "Failed to find logical volume", LVTEXT_NOT_FOUND },
    { " in use.", LVTEXT_IN_USE },
    { "open logical volume(s)", LVTEXT_IN_USE },
    { "Device or resource busy", LVTEXT_IN_USE },
    { "--readonly is set", LVTEXT_FLAGS },
    { "locking_type", LVTEXT_FLAGS },
    { "unrecognized option", LVTEXT_FLAGS },
    { "Unrecognised", LVTEXT_FLAGS },
    { "Inconsistent metadata found", LVTEXT_RACE },
    { "ignoring metadata seqno", LVTEXT_RACE },
    { "Volume group \"", LVTEXT_GROUP },
  };

  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    if (strstr (errors, table[i].text) != NULL)
      return table[i].meaning;
  }
  return LVTEXT_OTHER;
}

bool
lvtext_lost (const char *errors, const char *sd, const char *volume)
{
  char want[2 * LVTEXT_NAME_SIZE];

  snprintf (want, sizeof want, "Failed to find logical volume \"%s/%s\"", sd,
            volume);
  return strstr (errors, want) != NULL;
}

void
lvtext_reason (const char *errors, char *out, size_t size)
{
  size_t len = 0;

  while (*errors != '\0') {
    errors += strspn (errors, " \n");
    len = strcspn (errors, "\n");
    if (strncmp (errors, "WARNING:", 8) != 0)
      break;
    errors += len;
    len = 0;
  }
  snprintf (out, size, "%.*s", (int)(len < size ? len : size), errors);
}

/* --- rules ------------------------------------------------------------ */

int
lvtext_check (const struct lvtext_lv *lv, bool write, struct fault *f)
{
  if (lv->removing)
    return fault_set (f, FAULT_BUSY, 0, "it is being removed");
  if (lv->initializing)
    return fault_set (f, FAULT_BUSY, 0,
                      "tag OVIRT_VOL_INITIALIZING: vdsm is making it");
  if (lv->image[0] == '\0' || lv->slot < 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "no tag %s: vdsm does not know it as a disk",
                      lv->image[0] == '\0' ? "IU_" : "MD_");
  if (lv->attr[0] != '-' || strlen (lv->attr) < 9)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "attributes %s: not a plain logical volume", lv->attr);
  if (lv->attr[8] != '-')
    return fault_set (f, FAULT_IO, 0, "attributes %s: %s", lv->attr,
                      lv->attr[8] == 'X'
                          ? "LVM does not know what its device is; look at "
                            "dmsetup table"
                          : "parts of its storage are missing");
  if (write && !lv->root)
    return fault_set (f, FAULT_CORRUPT, 0, "its tag PU_ names a parent");
  return 0;
}

int
lvtext_check_vg (const struct lvtext_vg *vg, const char *sd,
                 const struct group_spec *g, struct fault *f)
{
  if (!vg->domain)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "no tag RHAT_storage_domain: this group is no storage "
                      "domain, or is just being made");
  if (vg->sd[0] != '\0' && strcmp (vg->sd, sd) != 0)
    return fault_set (f, FAULT_CORRUPT, 0, "MDT_SDUUID=%s", vg->sd);
  if (vg->partial)
    return fault_set (f, FAULT_IO, 0,
                      "LUNs are missing: the engine named %u, look at the "
                      "domain's LUNs and at multipath on this host",
                      g->lun_count);
  if (g->pool[0] != '\0' && vg->pool[0] != '\0'
      && strcmp (vg->pool, g->pool) != 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "it belongs to data center %s, the engine says %s",
                      vg->pool, g->pool);
  if (vg->version != 0 && vg->version != g->version)
    return fault_set (f, FAULT_CORRUPT, 0, "MDT_VERSION=%u, the engine says %u",
                      vg->version, g->version);
  return 0;
}
