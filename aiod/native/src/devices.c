#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

/* A user namespace may make no nodes: the host's is bound instead, if it has one there. */
static int bind_device(struct child *child, const struct aiod_step *step) {
    struct stat status;
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, step->path, 1 | O_CLOEXEC);
    if (tree < 0)
        return -errno;
    int error = fstat(tree, &status) < 0 ? -errno : 0;
    if (!error && (status.st_rdev != step->number ||
                   (status.st_mode & S_IFMT) != (step->mode & S_IFMT)))
        error = -ENODEV;
    int target = error ? error : aiod_make_file_in(child->root, step->path);
    error = target < 0 ? target : aiod_attach(tree, target);
    if (target >= 0)
        close(target);
    close(tree);
    return error;
}

int aiod_step_device(struct child *child, const struct aiod_step *step) {
    const char *name;
    int parent = aiod_open_parent_in(child->root, step->path, &name);
    if (parent < 0)
        return parent;
    int error = 0;
    if (mknodat(parent, name, step->mode, step->number) < 0)
        error = -errno;
    else if ((step->uid || step->gid) &&
             fchownat(parent, name, step->uid, step->gid, AT_SYMLINK_NOFOLLOW) < 0)
        error = -errno;
    if (error == -EEXIST) {
        struct stat status;
        if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            status.st_rdev == step->number &&
            (status.st_mode & S_IFMT) == (step->mode & S_IFMT))
            error = 0;
    }
    close(parent);
    return error == -EPERM ? bind_device(child, step) : error;
}

int aiod_step_link(struct child *child, const struct aiod_step *step) {
    const char *name;
    int parent = aiod_open_parent_in(child->root, step->path, &name);
    if (parent < 0)
        return parent;
    int error = symlinkat(step->source, parent, name) < 0 && errno != EEXIST ? -errno : 0;
    close(parent);
    return error;
}

static int bind_console(struct child *child, const char *path) {
    int tree = (int)syscall(SYS_open_tree, child->slave, "", 1 | O_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0)
        return -errno;
    int target = aiod_make_file_in(child->root, path);
    int error = target < 0 ? target : aiod_attach(tree, target);
    if (target >= 0)
        close(target);
    close(tree);
    return error;
}

int aiod_step_console(struct child *child, const struct aiod_step *step) {
    int zero = 0;
    child->console = aiod_open_in(child->root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY);
    if (child->console < 0)
        return child->console;
    if (ioctl(child->console, TIOCSPTLCK, &zero) < 0)
        return -errno;
    child->slave = ioctl(child->console, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (child->slave < 0)
        return -errno;
    struct winsize size = {.ws_row = (unsigned short)(step->number >> 16),
                           .ws_col = (unsigned short)step->number};
    if (step->number && ioctl(child->slave, TIOCSWINSZ, &size) < 0)
        return -errno;
    return step->path ? bind_console(child, step->path) : 0;
}

/* Only ever into proc: an image that has a plain file there gets no say. */
int aiod_step_write(struct child *child, const struct aiod_step *step) {
    struct statfs status;
    int fd = aiod_open_in(child->root, step->path, O_WRONLY);
    if (fd < 0)
        return fd;
    int error = fstatfs(fd, &status) < 0 ? -errno : 0;
    if (!error && status.f_type != PROC_SUPER_MAGIC)
        error = -EXDEV;
    size_t length = strlen(step->source);
    if (!error && write(fd, step->source, length) != (ssize_t)length)
        error = errno ? -errno : -EIO;
    close(fd);
    return error;
}
