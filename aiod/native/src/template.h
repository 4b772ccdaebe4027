/* The shim template: forks shims, and from each its maker, without touching a Python object.
 *
 * Owns the two forks and what a shim must not inherit. What a maker does is Python; what a shim
 * does all its life is core.c. Knows neither requests nor containers.
 */
#ifndef AIOD_TEMPLATE_H
#define AIOD_TEMPLATE_H

#include "core.h"
#include "template.cdef"

#endif
