/* A whole file in one call, for layers of thousands of small ones. */
#ifndef AIOD_FILE_H
#define AIOD_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "file.cdef"

#endif
