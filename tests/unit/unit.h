/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test needs: cmocka in the order that it wants. */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof (array) / sizeof (array)[0])

#endif /* UNIT_H */
