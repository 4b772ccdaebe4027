#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

int aiod_change_propagation(const char *path, uint64_t flags) {
    return syscall(SYS_mount, NULL, path, NULL, (unsigned long)flags, NULL) < 0 ? -errno : 0;
}

/* The new mount API cannot do it: the lower directories one by one came with Linux 6.7, and a
 * string has at most 255 characters there. */
static bool needs_old_mount(const struct aiod_step *step, int error) {
    return step->type && strcmp(step->type, "overlay") == 0 && (error == -EINVAL || error == -ENOSYS);
}

static int mount_root(struct child *child, const struct aiod_step *step) {
    int tree = -EINVAL;
    if (step->flags & AIOD_PREPARED)
        tree = step->fd;
    else if (!(step->flags & AIOD_OLD_MOUNT))
        tree = aiod_mount_prepare(step, &child->report);
    if (tree < 0) {
        if (!needs_old_mount(step, tree))
            return tree;
        int error = aiod_mount_old(step);
        if (!error)
            memset(child->report.detail, 0, sizeof child->report.detail);
        return error;
    }
    int target = open(step->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int error = target < 0 ? -errno : aiod_attach(tree, target);
    if (target >= 0)
        close(target);
    close(tree);
    return error;
}

int aiod_step_root(struct child *child, const struct aiod_step *step) {
    const char *path = step->op == AIOD_ROOT_HERE ? "/" : step->path;
    int error = step->op == AIOD_ROOT_HERE ? 0 : mount_root(child, step);
    if (error)
        return error;
    child->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return child->root < 0 ? -errno : 0;
}

/* pivot_root(".", ".") puts the old root over the new one, from where it is taken away
 * (pivot_root(2), NOTES). */
int aiod_step_pivot(struct child *child) {
    if (fchdir(child->root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return -errno;
    if (syscall(SYS_umount2, ".", 2 /* MNT_DETACH */) < 0 || chdir("/") < 0)
        return -errno;
    return 0;
}

static bool absent(int error) { return error == -ENOENT || error == -ENOTDIR; }

static int null_device(struct child *child) {
    struct stat status;
    int fd = aiod_open_in(child->root, "/dev/null", O_PATH | O_NOFOLLOW);
    if (fd < 0)
        return fd;
    if (fstat(fd, &status) < 0 || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) {
        close(fd);
        return -ENODEV; /* something else under its name would be what the mask shows */
    }
    int tree = (int)syscall(SYS_open_tree, fd, "", 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC |
                                                       AT_EMPTY_PATH);
    int error = -errno;
    close(fd);
    return tree < 0 ? error : tree;
}

int aiod_step_mask(struct child *child, const struct aiod_step *step) {
    struct stat status;
    int target = aiod_open_in(child->root, step->path, O_PATH);
    if (target < 0)
        return absent(target) ? 0 : target;
    int tree = fstat(target, &status) < 0 ? -errno : 0;
    if (!tree && S_ISDIR(status.st_mode)) {
        struct aiod_step empty = {
            .op = AIOD_MOUNT, .type = "tmpfs", .source = "tmpfs", .set = MOUNT_ATTR_RDONLY};
        tree = aiod_mount_prepare(&empty, &child->report);
    } else if (!tree) {
        tree = null_device(child);
    }
    int error = tree < 0 ? tree : aiod_attach(tree, target);
    if (tree >= 0)
        close(tree);
    close(target);
    return error;
}

int aiod_step_readonly(struct child *child, const struct aiod_step *step) {
    int target = aiod_open_in(child->root, step->path, O_PATH);
    if (target < 0)
        return absent(target) ? 0 : target;
    int tree = (int)syscall(SYS_open_tree, target, "",
                            1 | O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    int error = tree < 0 ? -errno
                         : aiod_set_attributes(tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
                                               MOUNT_ATTR_RDONLY, 0, 0);
    if (!error)
        error = aiod_attach(tree, target);
    if (tree >= 0)
        close(tree);
    close(target);
    return error;
}
