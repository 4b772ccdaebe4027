#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x04
#define MOVE_MOUNT_T_EMPTY_PATH 0x40
#endif

/* The kernel's own words on why a file system refused, as far as it has any. */
static void read_complaint(int context, struct aiod_report *report) {
    char text[sizeof report->detail];
    ssize_t length = read(context, text, sizeof text - 1);
    if (length <= 2)
        return;
    text[length] = 0;
    text[strcspn(text, "\n")] = 0;
    aiod_detail(report, text + 2);
}

struct text {
    char bytes[4096]; /* the page mount(2) takes */
    size_t used;
};

static int append(struct text *text, const char *more) {
    size_t length = strlen(more);
    if (text->used + length >= sizeof text->bytes)
        return -E2BIG;
    memcpy(text->bytes + text->used, more, length + 1);
    text->used += length;
    return 0;
}

static int append_option(struct text *text, const char *key, const char *value) {
    int error = text->used ? append(text, ",") : 0;
    if (!error)
        error = append(text, key);
    if (!error && value)
        error = append(text, "=");
    return error || !value ? error : append(text, value);
}

static int append_layer(struct text *text, const char *directory, int index, bool first) {
    char name[] = {'l', '0' + index / 100 % 10, '0' + index / 10 % 10, '0' + index % 10, 0};
    if (index > 999)
        return -E2BIG;
    if (symlinkat(directory, AT_FDCWD, name) < 0)
        return -errno;
    if (first)
        return append_option(text, "lowerdir", name);
    int error = append(text, ":");
    return error ? error : append(text, name);
}

/* Before Linux 6.7 overlay takes its lower directories as one string of at most a page: they are
 * given short names in a tmpfs that is covered by the overlay, and gone with the old root. */
int aiod_mount_old(const struct aiod_step *step) {
    struct text options = {.used = 0};
    bool layer = false, before;
    int error = 0;
    if (syscall(SYS_mount, "layers", step->path, "tmpfs", 0, "mode=700") < 0 ||
        syscall(SYS_chdir, step->path) < 0)
        return -errno;
    for (int i = 0; i < step->count && !error; i++) {
        before = layer;
        layer = strcmp(step->keys[i], "lowerdir+") == 0;
        error = layer ? append_layer(&options, step->values[i], i, !before)
                      : append_option(&options, step->keys[i], step->values[i]);
    }
    unsigned long flags = step->set & MOUNT_ATTR_RDONLY ? MS_RDONLY : 0;
    if (!error && syscall(SYS_mount, "overlay", step->path, "overlay", flags, options.bytes) < 0)
        error = -errno;
    return error;
}

static int make_filesystem(const struct aiod_step *step, struct aiod_report *report) {
    int context = (int)syscall(SYS_fsopen, step->type, 1 /* FSOPEN_CLOEXEC */);
    if (context < 0)
        return -errno;
    long failed = step->source ? syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "source",
                                         step->source, 0)
                               : 0;
    for (int i = 0; i < step->count && !failed; i++)
        failed = step->values[i] ? syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING,
                                           step->keys[i], step->values[i], 0)
                                 : syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG,
                                           step->keys[i], NULL, 0);
    if (!failed)
        failed = syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    int mount = failed ? -errno
                       : (int)syscall(SYS_fsmount, context, 1 /* FSMOUNT_CLOEXEC */,
                                      (unsigned)step->set);
    if (!failed && mount < 0)
        mount = -errno;
    if (mount < 0)
        read_complaint(context, report);
    close(context);
    return mount;
}

/* The part `step->type` of the source, wherever its links lead within it: what others rename
 * meanwhile cannot lead out (openat2(2), RESOLVE_BENEATH). */
static int open_part(const struct aiod_step *step, struct aiod_report *report) {
    int base = open(step->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (base < 0)
        return -errno;
    int part = aiod_open_beneath(base, step->type, O_PATH);
    close(base);
    if (part == -EXDEV || part == -ELOOP)
        aiod_detail(report, "its path leads out of it");
    return part;
}

static int open_source(const struct aiod_step *step, unsigned flags, struct aiod_report *report) {
    bool whole = !step->type;
    int part = whole ? AT_FDCWD : open_part(step, report);
    if (!whole && part < 0)
        return part;
    int tree = (int)syscall(SYS_open_tree, part, whole ? step->source : "",
                            whole ? flags : flags | AT_EMPTY_PATH);
    int error = tree < 0 ? -errno : 0;
    if (!whole)
        close(part);
    return error ? error : tree;
}

static int clone_tree(const struct aiod_step *step, struct aiod_report *report) {
    unsigned flags = OPEN_TREE_CLONE | O_CLOEXEC;
    if (step->flags & AIOD_RECURSIVE)
        flags |= AT_RECURSIVE;
    int tree = open_source(step, flags, report);
    if (tree < 0)
        return tree;
    unsigned below = step->flags & AIOD_ATTRIBUTES_BELOW ? AT_RECURSIVE : 0;
    int error = aiod_set_attributes(tree, "", AT_EMPTY_PATH | below, step->set, step->clear, 0);
    if (error) {
        close(tree);
        return error;
    }
    return tree;
}

int aiod_mount_prepare(const struct aiod_step *step, struct aiod_report *report) {
    bool tree = step->op == AIOD_BIND || step->op == AIOD_ROOT_BIND;
    return tree ? clone_tree(step, report) : make_filesystem(step, report);
}

int aiod_set_attributes(int fd, const char *path, unsigned flags, uint64_t set, uint64_t clear,
                        uint64_t propagation) {
    if (set == 0 && clear == 0 && propagation == 0)
        return 0;
    struct mount_attr attributes = {
        .attr_set = set, .attr_clr = clear, .propagation = propagation};
    if (syscall(SYS_mount_setattr, fd, path, flags, &attributes, sizeof attributes) < 0)
        return -errno;
    return 0;
}

int aiod_attach(int tree, int target) {
    if (syscall(SYS_move_mount, tree, "", target, "",
                MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return -errno;
    return 0;
}

/* What is mounted decides whether it goes on a file or on a directory. */
static int make_target(struct child *child, int tree, const char *path) {
    struct stat status;
    if (fstat(tree, &status) < 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return aiod_make_directory_in(child->root, path);
    return aiod_make_file_in(child->root, path);
}

static int finish(int tree, int target, const struct aiod_step *step) {
    struct stat status;
    if (step->flags & AIOD_KEEP_MODE) {
        if (fstat(target, &status) < 0 || fchmodat(tree, ".", status.st_mode & 07777, 0) < 0)
            return -errno;
    }
    int error = aiod_attach(tree, target);
    if (error || step->propagation == 0)
        return error;
    unsigned below = step->flags & AIOD_PROPAGATION_BELOW ? AT_RECURSIVE : 0;
    return aiod_set_attributes(tree, "", AT_EMPTY_PATH | below, 0, 0, step->propagation);
}

int aiod_step_mount(struct child *child, const struct aiod_step *step) {
    int tree = step->flags & AIOD_PREPARED ? step->fd : aiod_mount_prepare(step, &child->report);
    if (tree < 0)
        return tree;
    int target = make_target(child, tree, step->path);
    int error = target < 0 ? target : finish(tree, target, step);
    if (target >= 0)
        close(target);
    close(tree);
    return error;
}

int aiod_step_attributes(struct child *child, const struct aiod_step *step) {
    int fd = aiod_open_in(child->root, step->path, O_PATH);
    if (fd < 0)
        return fd;
    unsigned below = step->flags & AIOD_ATTRIBUTES_BELOW ? AT_RECURSIVE : 0;
    int error = aiod_set_attributes(fd, "", AT_EMPTY_PATH | below, step->set, step->clear, 0);
    close(fd);
    return error;
}
