/* SPDX-License-Identifier: Apache-2.0 */
/* The only file that knows libxml2.

   The parser is stopped from inside, by hooks: at a DOCTYPE before anything
   in it is looked at, and when depth or node count pass their limits, before
   the memory is taken.  A doc_node is an xmlNode under another name, so that
   no header of libxml2 leaves this file. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/SAX2.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/xmem.h"
#include "engine/doc.h"

struct doc {
  xmlDoc *xml;
};

/* Hangs on the parser while it runs. */
struct limits {
  size_t nodes;
  const char *broken; /* which limit, or NULL */
};

static const xmlNode *
xml_of (const struct doc_node *node)
{
  return (const xmlNode *)node;
}

static const struct doc_node *
node_of (const xmlNode *xml)
{
  return (const struct doc_node *)xml;
}

static void
stop (xmlParserCtxt *parser, const char *why)
{
  struct limits *limits = parser->_private;

  if (limits->broken == NULL)
    limits->broken = why;
  xmlStopParser (parser);
}

static void
on_doctype (void *opaque, const xmlChar *name, const xmlChar *external,
            const xmlChar *system)
{
  (void)name;
  (void)external;
  (void)system;
  stop (opaque, "it has a DOCTYPE");
}

static void
on_element (void *opaque, const xmlChar *name, const xmlChar *prefix,
            const xmlChar *uri, int space_count, const xmlChar **spaces,
            int attribute_count, int defaulted, const xmlChar **attributes)
{
  xmlParserCtxt *parser = opaque;
  struct limits *limits = parser->_private;

  limits->nodes += 1 + (size_t)attribute_count + (size_t)space_count;
  if (limits->nodes > DOC_NODES_MAX)
    stop (parser, "it has too many elements");
  else if (parser->nodeNr >= DOC_DEPTH_MAX)
    stop (parser, "it is nested too deeply");
  else
    xmlSAX2StartElementNs (opaque, name, prefix, uri, space_count, spaces,
                           attribute_count, defaulted, attributes);
}

/* Errors are read from the context; nothing may be printed. */
static void
on_error (void *opaque, xmlError *error)
{
  (void)opaque;
  (void)error;
}

static int
parse_failed (xmlParserCtxt *parser, const struct limits *limits,
              const char *what, struct fault *f)
{
  const xmlError *error = xmlCtxtGetLastError (parser);

  if (limits->broken != NULL)
    return fault_set (f, FAULT_PROTO, 0, "%s is refused: %s", what,
                      limits->broken);
  if (error != NULL && error->message != NULL)
    return fault_set (f, FAULT_PROTO, 0, "%s is not XML: line %d: %.*s", what,
                      error->line, (int)strcspn (error->message, "\n"),
                      error->message);
  return fault_set (f, FAULT_PROTO, 0, "%s is not XML", what);
}

int
doc_parse (const void *data, size_t size, const char *what, struct doc **doc,
           struct fault *f)
{
  struct limits limits = { 0 };
  xmlParserCtxt *parser;
  xmlDoc *xml;
  int r = -1;

  *doc = NULL;
  if (size > DOC_SIZE_MAX)
    return fault_set (f, FAULT_PROTO, 0, "%s is larger than %u bytes", what,
                      DOC_SIZE_MAX);
  if (size == 0)
    return fault_set (f, FAULT_PROTO, 0, "%s is empty", what);
  parser = xmlNewParserCtxt ();
  if (parser == NULL)
    return fault_set (f, FAULT_INTERNAL, ENOMEM, "parse %s", what);
  parser->_private = &limits;
  parser->sax->internalSubset = on_doctype;
  parser->sax->startElementNs = on_element;
  parser->sax->serror = on_error;
  xml = xmlCtxtReadMemory (parser, data, (int)size, NULL, "UTF-8",
                           XML_PARSE_NONET | XML_PARSE_NOERROR
                               | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA);
  if (xml != NULL && limits.broken == NULL && parser->wellFormed
      && xmlDocGetRootElement (xml) != NULL) {
    *doc = xmalloc (sizeof **doc);
    (*doc)->xml = xml;
    xml = NULL;
    r = 0;
  }
  else
    parse_failed (parser, &limits, what, f);
  xmlFreeDoc (xml);
  xmlFreeParserCtxt (parser);
  return r;
}

void
doc_free (struct doc *doc)
{
  if (doc == NULL)
    return;
  xmlFreeDoc (doc->xml);
  free (doc);
}

const struct doc_node *
doc_root (const struct doc *doc)
{
  return doc == NULL ? NULL : node_of (xmlDocGetRootElement (doc->xml));
}

const char *
doc_name (const struct doc_node *node)
{
  return node == NULL ? "" : (const char *)xml_of (node)->name;
}

bool
doc_is (const struct doc_node *node, const char *name)
{
  return node != NULL && strcmp (doc_name (node), name) == 0;
}

/* XML or the first of its siblings after it that is an element NAME. */
static const struct doc_node *
seek (const xmlNode *xml, const char *name)
{
  for (; xml != NULL; xml = xml->next) {
    if (xml->type == XML_ELEMENT_NODE
        && (name == NULL || strcmp ((const char *)xml->name, name) == 0))
      return node_of (xml);
  }
  return NULL;
}

const struct doc_node *
doc_first (const struct doc_node *node, const char *name)
{
  return node == NULL ? NULL : seek (xml_of (node)->children, name);
}

const struct doc_node *
doc_next (const struct doc_node *node, const char *name)
{
  return node == NULL ? NULL : seek (xml_of (node)->next, name);
}

size_t
doc_count (const struct doc_node *node, const char *name)
{
  size_t count = 0;

  for (node = doc_first (node, name); node != NULL;
       node = doc_next (node, name))
    count++;
  return count;
}

const struct doc_node *
doc_child (const struct doc_node *node, const char *path)
{
  char name[64];
  size_t len;

  while (node != NULL && *path != '\0') {
    len = strcspn (path, "/");
    if (len >= sizeof name)
      return NULL;
    memcpy (name, path, len);
    name[len] = '\0';
    node = doc_first (node, name);
    path += len + (path[len] == '/');
  }
  return node;
}

const struct doc_node *
doc_after (const struct doc_node *top, const struct doc_node *node)
{
  const struct doc_node *next = NULL;

  while (next == NULL && node != top) {
    next = doc_next (node, NULL);
    node = node_of (xml_of (node)->parent);
  }
  return next;
}

const struct doc_node *
doc_walk (const struct doc_node *top, const struct doc_node *node)
{
  const struct doc_node *next = doc_first (node, NULL);

  return next != NULL ? next : doc_after (top, node);
}

char *
doc_string (const struct doc_node *node, const char *path)
{
  struct buf b;

  node = doc_child (node, path);
  buf_init (&b, DOC_SIZE_MAX + 1);
  if (node != NULL) {
    for (const xmlNode *x = xml_of (node)->children; x != NULL; x = x->next) {
      if ((x->type == XML_TEXT_NODE || x->type == XML_CDATA_SECTION_NODE)
          && x->content != NULL)
        buf_put (&b, x->content, strlen ((const char *)x->content));
    }
  }
  buf_put_u8 (&b, 0);
  return (char *)b.data;
}

void
doc_word (const struct doc_node *node, const char *path, char *out, size_t size)
{
  char *text = doc_string (node, path);
  size_t len = strlen (text);

  if (len >= size)
    len = size - 1;
  memcpy (out, text, len);
  out[len] = '\0';
  free (text);
}

bool
doc_bool (const struct doc_node *node, const char *path, bool other)
{
  char word[8];

  doc_word (node, path, word, sizeof word);
  if (strcmp (word, "true") == 0)
    return true;
  if (strcmp (word, "false") == 0)
    return false;
  return other;
}

int
doc_u64 (const struct doc_node *node, const char *path, uint64_t *out,
         struct fault *f)
{
  char word[32];
  char *end;
  uintmax_t v;

  doc_word (node, path, word, sizeof word);
  if (word[0] == '\0')
    return 0;
  errno = 0;
  v = strtoumax (word, &end, 10);
  if (word[0] < '0' || word[0] > '9' || *end != '\0' || errno != 0
      || v > UINT64_MAX)
    return fault_set (f, FAULT_PROTO, 0, "%s/%s is %s, not a number",
                      doc_name (node), path, word);
  *out = v;
  return 0;
}

void
doc_attr (const struct doc_node *node, const char *path, const char *name,
          char *out, size_t size)
{
  const xmlAttr *a;
  size_t used = 0;

  out[0] = '\0';
  node = doc_child (node, path);
  if (node == NULL)
    return;
  for (a = xml_of (node)->properties; a != NULL; a = a->next) {
    if (strcmp ((const char *)a->name, name) == 0)
      break;
  }
  if (a == NULL)
    return;
  for (const xmlNode *x = a->children; x != NULL; x = x->next) {
    const char *text = (const char *)x->content;

    if (text != NULL && used < size - 1) {
      size_t len = strnlen (text, size - 1 - used);

      memcpy (out + used, text, len);
      used += len;
    }
  }
  out[used] = '\0';
}

int
doc_id (const struct doc_node *node, const char *path,
        char out[static UUID_SIZE], struct fault *f)
{
  char text[UUID_SIZE + 1];

  doc_attr (node, path, "id", text, sizeof text);
  out[0] = '\0';
  if (text[0] == '\0')
    return 0;
  if (!uuid_valid (text))
    return fault_set (f, FAULT_PROTO, 0, "%s%s%s has the id \"%s\", no UUID",
                      doc_name (node), *path != '\0' ? "/" : "", path, text);
  memcpy (out, text, UUID_SIZE);
  return 0;
}

int
doc_need_id (const struct doc_node *node, char out[static UUID_SIZE],
             struct fault *f)
{
  if (doc_id (node, "", out, f) < 0)
    return -1;
  if (out[0] == '\0')
    return fault_set (f, FAULT_PROTO, 0, "%s has no id", doc_name (node));
  return 0;
}

int
doc_uuid_text (const struct doc_node *node, const char *path,
               char out[static UUID_SIZE], struct fault *f)
{
  char text[UUID_SIZE + 1];

  doc_word (node, path, text, sizeof text);
  out[0] = '\0';
  if (text[0] == '\0' || strcmp (text, UUID_BLANK) == 0)
    return 0;
  if (!uuid_valid (text))
    return fault_set (f, FAULT_PROTO, 0, "%s/%s is \"%s\", no UUID",
                      doc_name (node), path, text);
  memcpy (out, text, UUID_SIZE);
  return 0;
}

void
doc_remove (struct doc *doc, const struct doc_node *node)
{
  xmlNode *xml = (xmlNode *)node;

  (void)doc;
  xmlUnlinkNode (xml);
  xmlFreeNode (xml);
}

int
doc_print (const struct doc *doc, char **text, struct fault *f)
{
  xmlChar *dump = NULL;
  int size = 0;

  xmlDocDumpMemoryEnc (doc->xml, &dump, &size, "UTF-8");
  if (dump == NULL)
    return fault_set (f, FAULT_INTERNAL, ENOMEM, "print a document");
  *text = xstrndup ((const char *)dump, (size_t)size);
  xmlFree (dump);
  return 0;
}

void
doc_put_text (struct buf *b, const char *text)
{
  for (const char *p = text; *p != '\0'; p++) {
    unsigned char c = (unsigned char)*p;

    if (c == '&')
      buf_put (b, "&amp;", 5);
    else if (c == '<')
      buf_put (b, "&lt;", 4);
    else if (c == '>')
      buf_put (b, "&gt;", 4);
    else if (c == '\r')
      buf_put (b, "&#13;", 5);
    else if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
      buf_put_u8 (b, '?');
    else
      buf_put_u8 (b, c);
  }
}

void
doc_put_element (struct buf *b, const char *name, const char *text)
{
  if (text == NULL)
    return;
  buf_printf (b, "<%s>", name);
  doc_put_text (b, text);
  buf_printf (b, "</%s>", name);
}

char *
doc_take_body (struct buf *b, struct fault *f)
{
  buf_put_u8 (b, 0);
  if (!buf_bad (b))
    return (char *)b->data;
  buf_reset (b);
  fault_set (f, FAULT_INTERNAL, 0, "the request is too large");
  return NULL;
}
