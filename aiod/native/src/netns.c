#define _GNU_SOURCE
#include "netns.h"

#include <errno.h>
#include <sched.h>

int aiod_netns_enter(int descriptor) {
    return setns(descriptor, CLONE_NEWNET) < 0 ? -errno : 0;
}
