#define _GNU_SOURCE
#include "bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int call(int command, union bpf_attr *attributes) {
    long result = syscall(SYS_bpf, command, attributes, sizeof *attributes);
    return result < 0 ? -errno : (int)result;
}

int aiod_bpf_load_device_filter(const void *instructions, unsigned count, char *log,
                                unsigned log_size) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uint64_t)(uintptr_t)instructions;
    attributes.insn_cnt = count;
    attributes.license = (uint64_t)(uintptr_t)"Apache-2.0";
    int program = call(BPF_PROG_LOAD, &attributes);
    if (program >= 0 || program == -EPERM)
        return program;
    attributes.log_buf = (uint64_t)(uintptr_t)log;
    attributes.log_size = log_size;
    attributes.log_level = 1;
    return call(BPF_PROG_LOAD, &attributes);
}

static int change(int command, int cgroup, int program, unsigned flags) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.target_fd = (uint32_t)cgroup;
    attributes.attach_bpf_fd = (uint32_t)program;
    attributes.attach_type = BPF_CGROUP_DEVICE;
    attributes.attach_flags = flags;
    return call(command, &attributes);
}

int aiod_bpf_attach(int cgroup, int program) {
    return change(BPF_PROG_ATTACH, cgroup, program, BPF_F_ALLOW_MULTI);
}

int aiod_bpf_detach(int cgroup, int program) {
    return change(BPF_PROG_DETACH, cgroup, program, 0);
}

int aiod_bpf_attached(int cgroup, uint32_t *ids, unsigned count) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.query.target_fd = (uint32_t)cgroup;
    attributes.query.attach_type = BPF_CGROUP_DEVICE;
    attributes.query.prog_ids = (uint64_t)(uintptr_t)ids;
    attributes.query.prog_cnt = count;
    int error = call(BPF_PROG_QUERY, &attributes);
    return error < 0 ? error : (int)attributes.query.prog_cnt;
}

int aiod_bpf_open(uint32_t id) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_id = id;
    return call(BPF_PROG_GET_FD_BY_ID, &attributes);
}
