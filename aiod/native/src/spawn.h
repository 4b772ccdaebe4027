/* The runtime's core: one child made from a flat list of steps that Python built beforehand.
 *
 * Owns everything between clone3 and execve. The child allocates nothing, takes no lock and
 * calls nothing of glibc that would speak to other threads: the process it was cloned from may
 * have had several. Must not know config.json, nor what a container is.
 */
#ifndef AIOD_SPAWN_H
#define AIOD_SPAWN_H

#include <stdint.h>

#include "spawn.cdef"

#endif
