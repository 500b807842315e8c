/* SPDX-License-Identifier: Apache-2.0 */
/* XML documents from a peer, read and (for the OVF) edited.  Bounded in size,
   depth and number of nodes; a DOCTYPE is refused, so there are no entities
   but the five; nothing is ever fetched.  Names are local names: prefixes and
   namespaces are not looked at.  The text is UTF-8 whatever it claims. */
#ifndef ENGINE_DOC_H
#define ENGINE_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/uuid.h"

#define DOC_SIZE_MAX (64u << 20)
#define DOC_DEPTH_MAX 64
#define DOC_NODES_MAX 2000000 /* elements and attributes */

struct buf;
struct doc;
struct doc_node;
struct fault;

/* WHAT names the document in faults (FAULT_PROTO). */
int doc_parse (const void *data, size_t size, const char *what,
               struct doc **doc, struct fault *f);
void doc_free (struct doc *doc);
CLEANUP_DEFINE (doc_free, struct doc);

/* Nodes are elements, borrowed from the document.  Every function takes NULL
   for "no such node" and says that there is nothing in it. */
const struct doc_node *doc_root (const struct doc *doc);
const char *doc_name (const struct doc_node *node);
bool doc_is (const struct doc_node *node, const char *name);
/* First child, and next sibling, of that name (NULL: any). */
const struct doc_node *doc_first (const struct doc_node *node,
                                  const char *name);
const struct doc_node *doc_next (const struct doc_node *node, const char *name);
size_t doc_count (const struct doc_node *node, const char *name);
/* Down a path of first children: "storage/address"; "" is NODE itself. */
const struct doc_node *doc_child (const struct doc_node *node,
                                  const char *path);
/* Next node in document order below TOP; begin with NODE = TOP. */
const struct doc_node *doc_walk (const struct doc_node *top,
                                 const struct doc_node *node);
/* The same, leaving out what is below NODE. */
const struct doc_node *doc_after (const struct doc_node *top,
                                  const struct doc_node *node);

/* The text in the child at PATH, "" when there is none; caller frees. */
char *doc_string (const struct doc_node *node, const char *path);
/* The same into OUT for short words; cut when longer. */
void doc_word (const struct doc_node *node, const char *path, char *out,
               size_t size);
/* "true" or "false"; OTHER when absent or anything else. */
bool doc_bool (const struct doc_node *node, const char *path, bool other);
/* A decimal number; *OUT stays when absent; malformed: FAULT_PROTO. */
int doc_u64 (const struct doc_node *node, const char *path, uint64_t *out,
             struct fault *f);
/* Attribute of the child at PATH, "" when absent; cut when longer. */
void doc_attr (const struct doc_node *node, const char *path, const char *name,
               char *out, size_t size);
/* The id attribute of the child at PATH: "" when absent; not a UUID:
   FAULT_PROTO. */
int doc_id (const struct doc_node *node, const char *path,
            char out[static UUID_SIZE], struct fault *f);
/* The same where it must be there. */
int doc_need_id (const struct doc_node *node, char out[static UUID_SIZE],
                 struct fault *f);
/* A UUID as text; "" when absent, empty or all zeros. */
int doc_uuid_text (const struct doc_node *node, const char *path,
                   char out[static UUID_SIZE], struct fault *f);

/* Take NODE and all below it out of DOC; pointers into it end. */
void doc_remove (struct doc *doc, const struct doc_node *node);
/* The document as UTF-8 text; caller frees. */
int doc_print (const struct doc *doc, char **text, struct fault *f);
/* Append TEXT escaped for element content; what XML 1.0 cannot hold becomes
   '?'. */
void doc_put_text (struct buf *b, const char *text);
/* Append <NAME>TEXT</NAME>; nothing when TEXT is NULL. */
void doc_put_element (struct buf *b, const char *name, const char *text);
/* What was put into B as a string that the caller frees; NULL with
   FAULT_INTERNAL when it did not fit. */
char *doc_take_body (struct buf *b, struct fault *f);

#endif /* ENGINE_DOC_H */
