/* The shim's core: what a container needs all its life, as a loop that touches no Python object.
 *
 * Owns the containers' and execs' output descriptors (to log and subscribers), and the reaping of
 * every child, adopted orphans included, and when the network thread (net.h) begins and ends.
 * Knows nothing of gRPC, exit records or how processes are
 * made. One thread is in aiod_core_run; any thread may call the rest.
 *
 * Functions return a negative errno on failure.
 */
#ifndef AIOD_CORE_H
#define AIOD_CORE_H

#include "core.cdef"

#endif
