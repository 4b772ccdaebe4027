#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* passwd(5): name:password:uid:gid:comment:directory:shell */
enum { UID = 2, DIRECTORY = 5, FIELD = 1024 };

struct line {
    int field;
    size_t length;
    bool too_long;
    char uid[16], directory[FIELD];
};

static void take(struct line *line, char byte) {
    char *into = line->field == UID         ? line->uid
                 : line->field == DIRECTORY ? line->directory
                                            : NULL;
    size_t room = line->field == UID ? sizeof line->uid : sizeof line->directory;
    if (byte == ':') {
        line->field++;
        line->length = 0;
    } else if (into && line->length + 1 < room) {
        into[line->length++] = byte;
        into[line->length] = 0;
    } else if (into) {
        line->too_long = true;
    }
}

static bool is_number(const char *text, unsigned number) {
    unsigned long value = 0;
    if (*text == 0)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (unsigned long)(*text - '0');
    }
    return value == number;
}

static bool finish(const struct line *line, const struct aiod_spawn *spawn, unsigned uid) {
    size_t length = strlen(line->directory);
    if (line->field < DIRECTORY || line->too_long || !is_number(line->uid, uid))
        return false;
    if (length > 0 && length + sizeof "HOME=" <= (size_t)spawn->home_size)
        memcpy(spawn->home + 5, line->directory, length + 1);
    return true;
}

/* A user that is not there, or no such file: "/", as it is already. */
int aiod_step_home(struct child *child, const struct aiod_step *step) {
    char chunk[4096];
    struct line line;
    int fd = aiod_open_in(child->root, "/etc/passwd", O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return 0;
    memset(&line, 0, sizeof line);
    bool found = false;
    ssize_t got = 0;
    while (!found && (got = read(fd, chunk, sizeof chunk)) > 0) {
        for (ssize_t i = 0; i < got && !found; i++) {
            if (chunk[i] != '\n') {
                take(&line, chunk[i]);
                continue;
            }
            found = finish(&line, child->spawn, step->uid);
            memset(&line, 0, sizeof line);
        }
    }
    if (!found)
        finish(&line, child->spawn, step->uid);
    close(fd);
    return 0;
}
