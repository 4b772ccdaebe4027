#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ENDED = 125, SIGNALS = 64 };

static long make_process(uint64_t flags, int exit_signal, int cgroup, int *pidfd) {
    struct clone_args args = {.flags = flags | CLONE_PIDFD,
                              .pidfd = (uint64_t)(uintptr_t)pidfd,
                              .exit_signal = (uint64_t)exit_signal};
    if (cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup;
    }
    return syscall(SYS_clone3, &args, sizeof args);
}

static _Noreturn void fail(struct child *child, int step, int error) {
    child->report.kind = AIOD_FAILED;
    child->report.step = step;
    child->report.error = -error;
    aiod_tell(child->channel, &child->report, -1);
    _exit(ENDED);
}

/* What Python ignores or the shim blocks is not the container's affair. */
static void reset_signals(void) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int signal = 1; signal <= SIGNALS; signal++)
        sigaction(signal, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int sync_parent(struct child *child, int index, const struct aiod_step *step) {
    if (step->flags & AIOD_TELL) {
        child->report.kind = AIOD_REACHED;
        child->report.step = index;
        int error = aiod_tell(child->channel, &child->report, -1);
        if (error)
            return error;
    }
    return aiod_await(child->channel);
}

static int result(long value) { return value < 0 ? -errno : 0; }

static int set_name(long call, const char *name) {
    return result(syscall(call, name, strlen(name)));
}

/* A session keyring of its own; kernels without keys, or a sandbox that forbids them, have none
 * to share. */
static int new_keyring(void) {
    if (syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL) >= 0)
        return 0;
    return errno == ENOSYS || errno == EPERM || errno == EACCES || errno == EDQUOT ? 0 : -errno;
}

static int run_process_step(struct child *child, const struct aiod_step *step) {
    switch (step->op) {
    case AIOD_KEYRING:
        return new_keyring();
    case AIOD_SESSION:
        return result(setsid());
    case AIOD_RLIMIT:
        return aiod_step_rlimit(step);
    case AIOD_UMASK:
        umask(step->mode);
        return 0;
    case AIOD_STDIO:
        return aiod_step_stdio(child, step);
    case AIOD_CWD:
        return aiod_step_cwd(child, step);
    case AIOD_BOUNDING:
        return aiod_step_bounding(step);
    case AIOD_IDENTITY:
        return aiod_step_identity(step);
    case AIOD_NO_NEW_PRIVS:
        return result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    case AIOD_SECCOMP:
        return aiod_step_seccomp(step);
    case AIOD_CAPABILITIES:
        return aiod_step_capabilities(step);
    case AIOD_LOOKUP:
        return aiod_step_lookup(child, step);
    case AIOD_READY:
        return aiod_step_ready(child, step);
    case AIOD_EXEC:
        return aiod_step_exec(child);
    case AIOD_HOME:
        return aiod_step_home(child, step);
    default:
        return -ENOSYS;
    }
}

static int run_step(struct child *child, int index, const struct aiod_step *step) {
    switch (step->op) {
    case AIOD_SYNC:
        return sync_parent(child, index, step);
    case AIOD_SETNS:
        return result(syscall(SYS_setns, step->fd, (int)step->flags));
    case AIOD_UNSHARE:
        return result(syscall(SYS_unshare, step->flags));
    case AIOD_USERNS_ROOT:
        return aiod_step_userns_root();
    case AIOD_PROPAGATION:
    case AIOD_ROOT_PROPAGATION:
        return aiod_change_propagation("/", step->flags);
    case AIOD_ROOT_BIND:
    case AIOD_ROOT_MOUNT:
    case AIOD_ROOT_HERE:
        return aiod_step_root(child, step);
    case AIOD_MOUNT:
    case AIOD_BIND:
        return aiod_step_mount(child, step);
    case AIOD_ATTRIBUTES:
        return aiod_step_attributes(child, step);
    case AIOD_DEVICE:
        return aiod_step_device(child, step);
    case AIOD_LINK:
        return aiod_step_link(child, step);
    case AIOD_CONSOLE:
        return aiod_step_console(child, step);
    case AIOD_WRITE:
        return aiod_step_write(child, step);
    case AIOD_PIVOT:
        return aiod_step_pivot(child);
    case AIOD_MASK:
        return aiod_step_mask(child, step);
    case AIOD_READONLY:
        return aiod_step_readonly(child, step);
    case AIOD_HOSTNAME:
        return set_name(SYS_sethostname, step->source);
    case AIOD_DOMAINNAME:
        return set_name(SYS_setdomainname, step->source);
    default:
        return run_process_step(child, step);
    }
}

static void begin(struct child *child, const struct aiod_spawn *spawn) {
    *child = (struct child){
        .spawn = spawn, .channel = spawn->channel, .root = -1, .console = -1, .slave = -1};
    reset_signals();
    if (spawn->peer >= 0)
        close(spawn->peer);
    /* Until execve nobody of the container may look into a copy of the shim. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    umask(0);
}

static void run_steps(struct child *child, int from, int until) {
    for (int i = from; i < until; i++) {
        int error = run_step(child, i, &child->spawn->steps[i]);
        if (error)
            fail(child, i, error);
    }
}

static _Noreturn void run_child(const struct aiod_spawn *spawn) {
    struct child child;
    begin(&child, spawn);
    int error = aiod_close_on_exec();
    if (error)
        fail(&child, -1, error);
    run_steps(&child, spawn->leading, spawn->step_count);
    fail(&child, -1, -EINVAL); /* the last step was no EXEC */
}

/* Joins a pid namespace, which only children made afterwards are in; they become the caller's. */
static _Noreturn void run_intermediate(const struct aiod_spawn *spawn) {
    struct child child;
    int pidfd = -1;
    begin(&child, spawn);
    run_steps(&child, 0, spawn->leading);
    long pid = make_process(spawn->clone_flags | CLONE_PARENT, 0, -1, &pidfd);
    if (pid == 0)
        run_child(spawn);
    if (pid < 0)
        fail(&child, -1, -errno);
    child.report.kind = AIOD_SPAWNED;
    child.report.pid = (int)pid;
    aiod_tell(spawn->channel, &child.report, pidfd);
    _exit(0);
}

int aiod_prepare(struct aiod_spawn *spawn, struct aiod_report *report) {
    for (int i = 0; i < spawn->step_count; i++) {
        struct aiod_step *step = &spawn->steps[i];
        bool mounts = step->op == AIOD_ROOT_BIND || step->op == AIOD_ROOT_MOUNT ||
                      step->op == AIOD_MOUNT || step->op == AIOD_BIND;
        if (!mounts || !(step->flags & AIOD_PREPARED))
            continue;
        step->fd = aiod_mount_prepare(step, report);
        if (step->fd < 0) {
            report->kind = AIOD_FAILED;
            report->step = i;
            report->error = -step->fd;
            return step->fd;
        }
    }
    return 0;
}

int aiod_spawn(struct aiod_spawn *spawn, int *pid, int *pidfd) {
    sigset_t all, old;
    sigfillset(&all); /* no handler of Python's may run in the child */
    sigprocmask(SIG_SETMASK, &all, &old);
    bool joins = spawn->leading > 0;
    uint64_t flags = (joins ? 0 : spawn->clone_flags) | (spawn->sibling ? CLONE_PARENT : 0);
    long made = make_process(flags, spawn->sibling ? 0 : SIGCHLD, spawn->cgroup_fd, pidfd);
    if (made == 0) {
        if (joins)
            run_intermediate(spawn);
        run_child(spawn);
    }
    int error = made < 0 ? -errno : 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    *pid = (int)made;
    return error;
}
