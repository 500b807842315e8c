/* SPDX-License-Identifier: Apache-2.0 */
/* Scope-bound ownership.  Declare with an initial value; hand out with
   steal_ptr or steal_fd.  Not to be mixed with an err: ladder in a function.

     CLEANUP_FREE char *path = NULL;
     CLEANUP_CLOSE int fd = -1;
     CLEANUP (doc_free) struct doc *d = NULL;      calls doc_free (d)
*/
#ifndef CLEANUP_H
#define CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void
cleanup_free (void *pp)
{
  free (*(void **)pp);
}

static inline void
cleanup_close (int *fd)
{
  if (*fd >= 0)
    close (*fd);
}

static inline void
cleanup_unlock (pthread_mutex_t **m)
{
  if (*m != NULL)
    pthread_mutex_unlock (*m);
}

#define CLEANUP_FREE __attribute__ ((cleanup (cleanup_free)))
#define CLEANUP_CLOSE __attribute__ ((cleanup (cleanup_close)))

/* A function that takes the pointer itself gets its cleanup form from
   CLEANUP_DEFINE (foo_free, struct foo) beside its declaration. */
#define CLEANUP_DEFINE(function, type)                                         \
  static inline void function##_cleanup (type **pp)                            \
  {                                                                            \
    if (*pp != NULL)                                                           \
      function (*pp);                                                          \
  }                                                                            \
  struct cleanup_semicolon
#define CLEANUP(function) __attribute__ ((cleanup (function##_cleanup)))

#define CLEANUP_JOIN2(a, b) a##b
#define CLEANUP_JOIN(a, b) CLEANUP_JOIN2 (a, b)
/* Hold MUTEX to the end of the scope. */
#define SCOPED_LOCK(mutex)                                                     \
  __attribute__ ((cleanup (cleanup_unlock), unused)) pthread_mutex_t *         \
  CLEANUP_JOIN (scoped_lock_, __LINE__)                                        \
      = (pthread_mutex_lock (mutex), (mutex))

#define steal_ptr(pp)                                                          \
  ({                                                                           \
    __typeof__ (*(pp)) steal_value_ = *(pp);                                   \
    *(pp) = NULL;                                                              \
    steal_value_;                                                              \
  })

static inline int
steal_fd (int *fd)
{
  int value = *fd;

  *fd = -1;
  return value;
}

#endif /* CLEANUP_H */
