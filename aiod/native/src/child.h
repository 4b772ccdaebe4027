/* What the parts of the child share. Every step function returns 0 or a negative errno. */
#ifndef AIOD_CHILD_H
#define AIOD_CHILD_H

#include "spawn.h"

#include <linux/mount.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>

struct child {
    const struct aiod_spawn *spawn;
    int channel;
    int root;    /* the container's root, O_PATH */
    int console; /* the terminal's master and slave */
    int slave;
    bool cwd_later; /* the directory may be the user's alone: tried again as that user */
    const char *command;
    struct aiod_report report;
};

/* paths.c: names are looked up as if `root` were "/", so that no link of an image leads out. */
int aiod_open_in(int root, const char *path, uint64_t flags);
/* As that, but what leads out of `root` is an error (EXDEV) and does not end there. */
int aiod_open_beneath(int root, const char *path, uint64_t flags);
int aiod_make_directory_in(int root, const char *path);
/* The directory `path` is in, made if need be; `name` points into `path`. */
int aiod_open_parent_in(int root, const char *path, const char **name);
int aiod_make_file_in(int root, const char *path);

/* report.c */
void aiod_detail(struct aiod_report *report, const char *text);
int aiod_tell(int channel, const struct aiod_report *report, int fd);
int aiod_await(int channel);
int aiod_hear(int channel);

/* mounts.c */
int aiod_mount_prepare(const struct aiod_step *step, struct aiod_report *report);
int aiod_mount_old(const struct aiod_step *step);
int aiod_set_attributes(int fd, const char *path, unsigned flags, uint64_t set, uint64_t clear,
                        uint64_t propagation);
int aiod_step_mount(struct child *child, const struct aiod_step *step);
int aiod_step_attributes(struct child *child, const struct aiod_step *step);
int aiod_attach(int tree, int target);

/* root.c */
int aiod_step_root(struct child *child, const struct aiod_step *step);
int aiod_step_pivot(struct child *child);
int aiod_step_mask(struct child *child, const struct aiod_step *step);
int aiod_step_readonly(struct child *child, const struct aiod_step *step);
int aiod_change_propagation(const char *path, uint64_t flags);

/* devices.c */
int aiod_step_device(struct child *child, const struct aiod_step *step);
int aiod_step_link(struct child *child, const struct aiod_step *step);
int aiod_step_console(struct child *child, const struct aiod_step *step);
int aiod_step_write(struct child *child, const struct aiod_step *step);

/* identity.c */
int aiod_step_userns_root(void);
int aiod_step_bounding(const struct aiod_step *step);
int aiod_step_identity(const struct aiod_step *step);
int aiod_step_capabilities(const struct aiod_step *step);
int aiod_step_seccomp(const struct aiod_step *step);
int aiod_step_rlimit(const struct aiod_step *step);

/* command.c */
int aiod_step_stdio(struct child *child, const struct aiod_step *step);
int aiod_step_cwd(struct child *child, const struct aiod_step *step);
int aiod_step_lookup(struct child *child, const struct aiod_step *step);
int aiod_step_ready(struct child *child, const struct aiod_step *step);
int aiod_step_exec(struct child *child);
int aiod_step_home(struct child *child, const struct aiod_step *step);
int aiod_close_on_exec(void);

#endif
