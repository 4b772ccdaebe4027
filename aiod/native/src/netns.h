/* The calling thread's network namespace.
 *
 * Owns the change; who calls it sees to it that the thread ends there, or that it is welcome to
 * stay: the way back may fail, and is not taken.
 */
#ifndef AIOD_NETNS_H
#define AIOD_NETNS_H

#include "netns.cdef"

#endif
