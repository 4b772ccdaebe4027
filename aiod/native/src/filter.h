/* libseccomp (seccomp_init(3), seccomp_rule_add(3), seccomp_export_bpf(3)) as Python calls it.
 *
 * Never called between clone3 and execve: programs are made before.
 */
#ifndef AIOD_FILTER_H
#define AIOD_FILTER_H

#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>

#endif
