#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS = 16, RETRIES = 64 };

static int open_resolved(int root, const char *path, uint64_t flags, uint64_t resolve) {
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve | RESOLVE_NO_MAGICLINKS};
    /* EAGAIN: something was renamed or mounted meanwhile, and the kernel could not be sure. */
    for (int i = 0; i < RETRIES; i++) {
        long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        if (errno != EAGAIN && errno != EINTR)
            break;
    }
    return -errno;
}

int aiod_open_in(int root, const char *path, uint64_t flags) {
    return open_resolved(root, path, flags, RESOLVE_IN_ROOT);
}

int aiod_open_beneath(int root, const char *path, uint64_t flags) {
    return open_resolved(root, path, flags, RESOLVE_BENEATH);
}

/* `path` with the link `name` (read in `parent`) replaced by where it leads. The result is made
 * of names below the root, whatever the link says: ".." is resolved by whoever opens it. */
static int follow(int parent, const char *name, const char *prefix, size_t prefix_length,
                  const char *rest, char *out) {
    char target[PATH_MAX];
    ssize_t length = readlinkat(parent, name, target, sizeof target - 1);
    if (length < 0)
        return -errno;
    size_t used = 0, rest_length = strlen(rest);
    if (target[0] == '/')
        prefix_length = 0;
    if (prefix_length + 1 + (size_t)length + rest_length + 1 > PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(out, prefix, prefix_length);
    used = prefix_length;
    out[used++] = '/';
    memcpy(out + used, target, (size_t)length);
    used += (size_t)length;
    memcpy(out + used, rest, rest_length + 1);
    return 0;
}

static int make_directory(int root, const char *path, int links) {
    int fd = aiod_open_in(root, path, O_PATH | O_DIRECTORY);
    if (fd != -ENOENT)
        return fd;
    if (strlen(path) >= PATH_MAX)
        return -ENAMETOOLONG;
    char prefix[PATH_MAX], followed[PATH_MAX];
    int parent = aiod_open_in(root, "/", O_PATH | O_DIRECTORY);
    for (const char *at = path; parent >= 0;) {
        at += strspn(at, "/");
        size_t length = strcspn(at, "/");
        if (length == 0)
            return parent;
        size_t before = (size_t)(at - path);
        memcpy(prefix, path, before + length);
        prefix[before + length] = 0;
        const char *name = prefix + before;
        int next = aiod_open_in(root, prefix, O_PATH | O_DIRECTORY);
        if (next == -ENOENT) {
            if (mkdirat(parent, name, 0755) == 0 || errno == EEXIST)
                next = aiod_open_in(root, prefix, O_PATH | O_DIRECTORY);
            else
                next = -errno;
        }
        if (next == -ENOENT) { /* a link that leads nowhere yet */
            int error = links == 0 ? -ELOOP
                                   : follow(parent, name, path, before, at + length, followed);
            close(parent);
            return error ? error : make_directory(root, followed, links - 1);
        }
        close(parent);
        parent = next;
        at += length;
    }
    return parent;
}

int aiod_make_directory_in(int root, const char *path) { return make_directory(root, path, LINKS); }

int aiod_open_parent_in(int root, const char *path, const char **name) {
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    char directory[PATH_MAX];
    if (length >= sizeof directory)
        return -ENAMETOOLONG;
    memcpy(directory, path, length);
    directory[length] = 0;
    *name = slash ? slash + 1 : path;
    if (**name == 0 || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0)
        return -EINVAL;
    return aiod_make_directory_in(root, length ? directory : "/");
}

static int make_file(int root, const char *path, int links) {
    int fd = aiod_open_in(root, path, O_PATH);
    if (fd != -ENOENT)
        return fd;
    const char *name;
    char followed[PATH_MAX];
    int parent = aiod_open_parent_in(root, path, &name);
    if (parent < 0)
        return parent;
    int made = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    int error = made < 0 ? -errno : 0;
    if (made >= 0)
        close(made);
    bool dangling = error == -EEXIST && links > 0;
    if (dangling)
        error = follow(parent, name, path, (size_t)(name - path), "", followed);
    close(parent);
    if (error)
        return error;
    return dangling ? make_file(root, followed, links - 1) : aiod_open_in(root, path, O_PATH);
}

int aiod_make_file_in(int root, const char *path) { return make_file(root, path, LINKS); }
