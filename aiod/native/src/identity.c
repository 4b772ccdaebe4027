#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* All by system call: glibc's wrappers would change the threads of the process that was cloned. */

struct sets {
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct data[2];
};

static int read_sets(struct sets *sets) {
    sets->header.version = _LINUX_CAPABILITY_VERSION_3;
    sets->header.pid = 0;
    return syscall(SYS_capget, &sets->header, sets->data) < 0 ? -errno : 0;
}

static int set_ids(unsigned uid, unsigned gid) {
    if (syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
        return -errno;
    return 0;
}

/* Unmapped (EINVAL): the process stays the overflow user, with every capability there. */
int aiod_step_userns_root(void) {
    int error = set_ids(0, 0);
    if (!error && syscall(SYS_setgroups, 0, NULL) < 0 && errno != EPERM)
        return -errno;
    return error == -EINVAL ? 0 : error;
}

int aiod_step_bounding(const struct aiod_step *step) {
    for (int cap = 0; cap < 64; cap++) {
        int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (held < 0)
            return 0; /* past the kernel's last */
        if (held && !(step->set >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return -errno;
    }
    return 0;
}

/* Leaves the process its permitted capabilities, effective too, for the steps still to come. */
int aiod_step_identity(const struct aiod_step *step) {
    struct sets sets;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return -errno;
    /* Where setgroups is denied (user_namespaces(7)) there are none to give up either. */
    if (syscall(SYS_setgroups, step->group_count, step->groups) < 0 &&
        !(errno == EPERM && step->group_count == 0))
        return -errno;
    int error = set_ids(step->uid, step->gid);
    if (!error && prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        error = -errno;
    if (!error)
        error = read_sets(&sets);
    if (error)
        return error;
    sets.data[0].effective = sets.data[0].permitted;
    sets.data[1].effective = sets.data[1].permitted;
    return syscall(SYS_capset, &sets.header, sets.data) < 0 ? -errno : 0;
}

static int raise_ambient(uint64_t ambient) {
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    for (unsigned cap = 0; cap < 64; cap++)
        if (ambient >> cap & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
            return -errno;
    return 0;
}

int aiod_step_capabilities(const struct aiod_step *step) {
    struct sets sets = {.header = {.version = _LINUX_CAPABILITY_VERSION_3}};
    for (int half = 0; half < 2; half++) {
        sets.data[half].effective = (uint32_t)(step->capabilities[0] >> 32 * half);
        sets.data[half].permitted = (uint32_t)(step->capabilities[1] >> 32 * half);
        sets.data[half].inheritable = (uint32_t)(step->capabilities[2] >> 32 * half);
    }
    if (syscall(SYS_capset, &sets.header, sets.data) < 0)
        return -errno;
    return raise_ambient(step->capabilities[3]);
}

int aiod_step_seccomp(const struct aiod_step *step) {
    struct sock_fprog program = {
        .len = (unsigned short)(step->program_size / (int)sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)step->program,
    };
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned)step->flags, &program) < 0)
        return -errno;
    return 0;
}

int aiod_step_rlimit(const struct aiod_step *step) {
    struct rlimit64 limit = {.rlim_cur = step->set, .rlim_max = step->clear};
    return syscall(SYS_prlimit64, 0, (int)step->number, &limit, NULL) < 0 ? -errno : 0;
}
