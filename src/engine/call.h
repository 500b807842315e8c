/* SPDX-License-Identifier: Apache-2.0 */
/* One call of the API: headers, token, retries of reads, and what an answer
   means. */
#ifndef ENGINE_CALL_H
#define ENGINE_CALL_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/doc.h"

#define CALL_TEXT_MAX 512

struct engine;
struct fault;

enum call_effect {
  CALL_NONE,    /* refused, or it never left: nothing has happened */
  CALL_DONE,    /* accepted */
  CALL_UNKNOWN, /* the answer got lost or makes no sense */
};

/* PATTERN below /api without a slash in front; each '%' in it is replaced by
   A, then B, which must be UUIDs (FAULT_PROTO otherwise).  Caller frees; NULL
   on a fault. */
char *call_path (const char *pattern, const char *a, const char *b,
                 struct fault *f);

/* GET PATH (as call_path gives it).  Network trouble, 5xx and answers that
   are not XML are tried again for retry_s with growing pauses; a 404 counts
   only when it is repeated while the engine answers for itself
   (FAULT_NOTFOUND).  FAULT_REMOTE and FAULT_AUTH carry the engine's text. */
int call_get (struct engine *engine, const char *path, struct doc **doc,
              struct fault *f);
/* The same with a correct path pattern; the common case. */
int call_get_at (struct engine *engine, const char *pattern, const char *a,
                 const char *b, struct doc **doc, struct fault *f);
/* With the header All-Content: true as well (OVF). */
int call_get_all_content (struct engine *engine, const char *path,
                          struct doc **doc, struct fault *f);

/* One attempt to change something.  BODY may be NULL (DELETE).  *REPLY (may
   be NULL when the body is empty) only with CALL_DONE.  Returns 0 for
   CALL_DONE, else -1 with a fault: busy, space, remote, auth, notfound for
   CALL_NONE, net for CALL_UNKNOWN or for a request that never left. */
int call_send (struct engine *engine, const char *method, const char *path,
               const char *body, const char *correlation,
               enum call_effect *effect, struct doc **reply, struct fault *f);

/* Each ITEM of a collection.  A negative return ends the walk. */
typedef int (*call_item) (const struct doc_node *item, void *opaque,
                          struct fault *f);
/* Call FN for each child ITEM_NAME of the collection at PATH. */
int call_each (struct engine *engine, const char *path, const char *item_name,
               call_item fn, void *opaque, struct fault *f);
/* All VMs by pages sorted by name, FOLLOW being the value of follow=; an item
   may come twice or not at all when VMs change meanwhile. */
int call_each_vm (struct engine *engine, const char *follow, size_t page,
                  call_item fn, void *opaque, struct fault *f);

/* For tests: what the engine says in an error body, without brackets; "" when
   it says nothing. */
void call_fault_text (const char *body, size_t size, char *out,
                      size_t out_size);
/* For tests: fault code of a refused change. */
int call_refusal (int status, const char *text);

#endif /* ENGINE_CALL_H */
