/* bpf(2), which no C library wraps. Python fills the attributes: they are the kernel's interface.
 */
#ifndef AIOD_BPF_H
#define AIOD_BPF_H

#include <linux/bpf.h>
#include <stdint.h>

#include "bpf.cdef"

#endif
