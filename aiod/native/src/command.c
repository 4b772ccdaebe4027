#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

int aiod_close_on_exec(void) {
    struct rlimit limit;
    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        return 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    /* Before Linux 5.11. Python's own descriptors are all close-on-exec already; what this
     * catches is what the process inherited, which has low numbers. */
    for (int fd = 3; (rlim_t)fd < limit.rlim_cur && fd < 65536; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC))
            fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
    }
    return 0;
}

/* The user may reopen them (/dev/stderr): pipes and terminals, not what others share. */
static int give(int fd, unsigned uid) {
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_uid == uid || !(S_ISFIFO(status.st_mode) || isatty(fd)))
        return 0;
    if (fchown(fd, uid, (gid_t)-1) == 0 || errno == EINVAL || errno == EPERM || errno == EROFS)
        return 0; /* EINVAL, EPERM: not mapped in this user namespace; EROFS: not ours */
    return -errno;
}

int aiod_step_stdio(struct child *child, const struct aiod_step *step) {
    int sources[3], high[3];
    for (int i = 0; i < 3; i++) {
        sources[i] = child->slave >= 0 ? child->slave : child->spawn->stdio[i];
        if (sources[i] < 0)
            return -EBADF;
        high[i] = fcntl(sources[i], F_DUPFD_CLOEXEC, 3); /* none may be run over by another */
        if (high[i] < 0)
            return -errno;
    }
    for (int i = 0; i < 3; i++) {
        if (dup2(high[i], i) < 0)
            return -errno;
        close(high[i]);
        int error = give(i, step->uid);
        if (error)
            return error;
    }
    if (child->slave >= 0 && ioctl(0, TIOCSCTTY, 0) < 0)
        return -errno;
    return 0;
}

static int enter(struct child *child, const char *path) {
    int fd = aiod_open_in(child->root, path, O_PATH | O_DIRECTORY);
    if (fd < 0)
        return fd;
    int error = fchdir(fd) < 0 ? -errno : 0;
    close(fd);
    return error;
}

/* Comes twice: as root, when a container's may be made, and as the user, for one that only the user may
 * enter (a FUSE or NFS mount). */
int aiod_step_cwd(struct child *child, const struct aiod_step *step) {
    if (step->flags & AIOD_TELL)
        return child->cwd_later ? enter(child, step->path) : 0;
    int error = enter(child, step->path);
    if (error == -ENOENT && (step->flags & AIOD_MAKE)) {
        int made = aiod_make_directory_in(child->root, step->path);
        if (made < 0)
            return made;
        error = fchdir(made) < 0 ? -errno : 0;
        close(made);
    }
    child->cwd_later = error == -EACCES || error == -EPERM;
    return child->cwd_later ? 0 : error;
}

static int executable(const char *path) {
    struct stat status;
    if (stat(path, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return S_ISDIR(status.st_mode) ? -EISDIR : -EACCES;
    if (syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS) == 0)
        return 0;
    if (errno != ENOSYS && errno != EPERM)
        return -errno;
    return syscall(SYS_faccessat, AT_FDCWD, path, X_OK) < 0 ? -errno : 0;
}

/* As execvp(3) searches: a candidate that may not be executed hides no later one. */
int aiod_step_lookup(struct child *child, const struct aiod_step *step) {
    int worst = -ENOENT;
    for (int i = 0; i < step->count; i++) {
        int error = executable(step->keys[i]);
        if (error == 0) {
            child->command = step->keys[i];
            return 0;
        }
        if ((error != -ENOENT && error != -ENOTDIR) || step->count == 1)
            worst = error;
    }
    return worst;
}

/* Whoever connects and goes without a word has started nothing. */
static int await_visitor(struct child *child) {
    close(child->channel);
    for (;;) {
        child->channel = accept4(child->spawn->listener, NULL, NULL, SOCK_CLOEXEC);
        if (child->channel < 0 && errno != EINTR && errno != ECONNABORTED)
            return -errno;
        if (child->channel < 0)
            continue;
        if (aiod_hear(child->channel) > 0)
            return 0;
        close(child->channel);
    }
}

int aiod_step_ready(struct child *child, const struct aiod_step *step) {
    /* Only now: a change of credentials would have cleared it (prctl(2)). A parent that died
     * before is noticed at the channel's end of file. */
    if (prctl(PR_SET_PDEATHSIG, (int)step->number, 0, 0, 0) < 0)
        return -errno;
    child->report.kind = AIOD_CREATED;
    int error = aiod_tell(child->channel, &child->report, child->console);
    if (child->console >= 0)
        close(child->console);
    if (error)
        return error;
    return child->spawn->listener < 0 ? aiod_await(child->channel) : await_visitor(child);
}

int aiod_step_exec(struct child *child) {
    syscall(SYS_execve, child->command, child->spawn->argv, child->spawn->envp);
    return -errno;
}
