#define _GNU_SOURCE
#include "corestate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* What was sent to all is punched out of the file in steps of at least this. */
static const int64_t PUNCH = 256 << 10;
/* So much waits in memory, which a full disk is no matter for; more goes to disk. */
static const int64_t IN_MEMORY = 1 << 20;
/* Blocks that one reader is sent before others have their turn. */
enum { TURN = 4 };
enum { HEADER = AIOD_FRAME_HEADER };

/* Output of one process that some reader was not sent yet: frames, at offsets that count all output
 * since there are readers. What nobody lags behind is not in the file, which is a memfd, or one in
 * `directory`; -1: nobody lags. */
struct backlog {
    int file, readers;
    bool on_disk;
    int64_t written, punched;
    char directory[];
};

/* `left` bytes of a frame that was begun are at `position`; 0: a frame begins there. After a cut
 * only `tail` is sent, of which `left` bytes are to go. */
struct reader {
    int process, streams, socket;
    bool ended, waiting;
    int64_t limit, position;
    size_t left, tail_size;
    char *tail;
    struct backlog *backlog;
};

/* ---- the file ---- */

/* An unlinked file; where the file system has no O_TMPFILE, one that is unlinked at once. */
static int anonymous_file(const char *directory) {
    char path[4096];
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
        return fd;
    snprintf(path, sizeof path, "%s/.backlog-XXXXXX", directory);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static struct backlog *backlog_new(const char *directory) {
    size_t size = strlen(directory) + 1;
    struct backlog *backlog = calloc(1, sizeof *backlog + size);
    if (backlog == NULL)
        return NULL;
    backlog->file = -1;
    memcpy(backlog->directory, directory, size);
    return backlog;
}

static void backlog_free(struct backlog *backlog) {
    core_close_fd(&backlog->file);
    free(backlog);
}

/* Where the reader that is farthest behind is. */
static int64_t lowest(const aiod_core *core, const struct backlog *backlog) {
    int64_t found = backlog->written;
    for (int i = 0; i < core->reader_count; i++) {
        struct reader *reader = core->readers[i];
        if (reader && reader->backlog == backlog && !reader->tail && reader->position < found)
            found = reader->position;
    }
    return found;
}

/* Give back the room of what every reader was sent. */
static void punch(const aiod_core *core, struct backlog *backlog) {
    int64_t sent = lowest(core, backlog);
    if (sent == backlog->written && backlog->on_disk) {
        core_close_fd(&backlog->file);
        backlog->on_disk = false;
    }
    if (backlog->file < 0 || sent - backlog->punched < PUNCH)
        return;
    fallocate(backlog->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, backlog->punched,
              sent - backlog->punched);
    backlog->punched = sent;
}

/* Copy what is in memory from `from` on to a file on disk; false if there is no room. */
static bool copy(int memory, int disk, int64_t from, int64_t to) {
    static char block[16384]; /* under the core's lock */
    while (from < to) {
        size_t size = to - from < (int64_t)sizeof block ? (size_t)(to - from) : sizeof block;
        ssize_t got = pread(memory, block, size, from);
        if (got <= 0 || pwrite(disk, block, (size_t)got, from) != got)
            return false;
        from += got;
    }
    return true;
}

static bool spill(struct backlog *backlog, int64_t from) {
    int disk = anonymous_file(backlog->directory);
    if (disk < 0)
        return false;
    if (backlog->file >= 0 && !copy(backlog->file, disk, from, backlog->written)) {
        close(disk);
        return false;
    }
    core_close_fd(&backlog->file);
    backlog->file = disk;
    backlog->on_disk = true;
    backlog->punched = from;
    return true;
}

/* Whether a frame was stored for those who are behind. */
static bool store(const aiod_core *core, struct backlog *backlog, const struct iovec *frame) {
    ssize_t total = (ssize_t)(frame[0].iov_len + frame[1].iov_len);
    int64_t from = lowest(core, backlog);
    if (!backlog->on_disk && backlog->written + total - from > IN_MEMORY && !spill(backlog, from))
        return false;
    if (backlog->file < 0) {
        backlog->file = memfd_create("aiod-backlog", MFD_CLOEXEC);
        backlog->punched = backlog->written;
    }
    return pwritev(backlog->file, frame, 2, backlog->written) == total;
}

/* ---- readers ---- */

static void reader_free(struct reader *reader) {
    core_close_fd(&reader->socket);
    free(reader->tail);
    free(reader);
}

/* The end of what a reader is sent; its input goes on with whoever else holds the socket. */
static void reader_close(aiod_core *core, int number) {
    struct reader *reader = core->readers[number];
    struct backlog *backlog = reader->backlog;
    core->readers[number] = NULL;
    core_unwatch(core, reader->socket);
    shutdown(reader->socket, SHUT_WR);
    if (--backlog->readers > 0) {
        punch(core, backlog);
    } else {
        if (reader->process >= 0)
            core->processes[reader->process]->backlog = NULL;
        backlog_free(backlog);
    }
    reader_free(reader);
}

/* Watched for a hang-up always, for room only while there is something to send. */
static void reader_wait(aiod_core *core, int number, bool waiting) {
    struct reader *reader = core->readers[number];
    struct epoll_event event = {.events = waiting ? EPOLLOUT : 0};
    event.data.u64 = ((uint64_t)SOURCE_READER << 48) | (uint32_t)number;
    if (reader->waiting == waiting)
        return;
    reader->waiting = waiting;
    epoll_ctl(core->epoll, EPOLL_CTL_MOD, reader->socket, &event);
}

static size_t frame_size(const char *header) {
    const unsigned char *raw = (const unsigned char *)header + 4;
    return HEADER + (((size_t)raw[0] << 24) | ((size_t)raw[1] << 16) | ((size_t)raw[2] << 8) |
                     raw[3]);
}

static void put_header(char *header, int stream, size_t length) {
    const char made[HEADER] = {(char)stream, 0, 0, 0, (char)(length >> 24), (char)(length >> 16),
                               (char)(length >> 8), (char)length};
    memcpy(header, made, HEADER);
}

/* The rest of the frame that was begun, and a frame that says why there is no other. */
static bool make_tail(struct reader *reader) {
    static const char why[] = "the client was too slow: it lagged too far behind the output";
    size_t size = reader->left + HEADER + sizeof why - 1;
    reader->tail = malloc(size);
    if (reader->tail == NULL ||
        pread(reader->backlog->file, reader->tail, reader->left, reader->position) !=
            (ssize_t)reader->left)
        return false;
    put_header(reader->tail + reader->left, AIOD_FRAME_ERROR, sizeof why - 1);
    memcpy(reader->tail + reader->left + HEADER, why, sizeof why - 1);
    reader->left = reader->tail_size = size;
    return true;
}

static void reader_cut(aiod_core *core, int number) {
    if (make_tail(core->readers[number]))
        reader_wait(core, number, true);
    else
        reader_close(core, number);
}

/* ---- sending ---- */

/* How many bytes a socket took; 0: none now; -1: its peer is gone. */
static ssize_t push(int socket, struct iovec *parts, size_t count) {
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM))
        return 0;
    return sent;
}

static bool wants(const struct reader *reader, int stream) {
    return (reader->streams & stream) != 0;
}

/* How much of `data`, which begins at the position, is for the reader without a break. */
static size_t wanted(const struct reader *reader, const char *data, size_t size) {
    size_t end = reader->left < size ? reader->left : size;
    while (size - end >= HEADER && wants(reader, data[end])) {
        size_t frame = frame_size(data + end);
        end = size - end < frame ? size : end + frame;
    }
    return end;
}

/* So much of `data` was sent. */
static void advance(struct reader *reader, const char *data, size_t count) {
    reader->position += (int64_t)count;
    while (count > 0) {
        if (reader->left == 0)
            reader->left = frame_size(data);
        size_t step = count < reader->left ? count : reader->left;
        data += step;
        count -= step;
        reader->left -= step;
    }
}

/* One block from the file. False when the reader is to wait, or is closed. */
static bool pump_block(aiod_core *core, int number) {
    struct reader *reader = core->readers[number];
    ssize_t got = pread(reader->backlog->file, core->chunk, CHUNK, reader->position);
    if (got <= 0 || (reader->left == 0 && got < HEADER)) {
        reader_close(core, number);
        return false;
    }
    size_t length = wanted(reader, core->chunk, (size_t)got);
    if (length == 0) {
        reader->position += (int64_t)frame_size(core->chunk);
        return true;
    }
    struct iovec part = {core->chunk, length};
    ssize_t sent = push(reader->socket, &part, 1);
    if (sent < 0) {
        reader_close(core, number);
        return false;
    }
    advance(reader, core->chunk, (size_t)sent);
    return (size_t)sent == length;
}

static void pump_tail(aiod_core *core, int number) {
    struct reader *reader = core->readers[number];
    struct iovec part = {reader->tail + reader->tail_size - reader->left, reader->left};
    ssize_t sent = push(reader->socket, &part, 1);
    if (sent > 0)
        reader->left -= (size_t)sent;
    if (sent < 0 || reader->left == 0)
        reader_close(core, number);
}

static void settle(aiod_core *core, int number) {
    struct reader *reader = core->readers[number];
    if (reader->position < reader->backlog->written)
        return;
    if (reader->ended)
        reader_close(core, number);
    else
        reader_wait(core, number, false);
}

void core_serve_reader(aiod_core *core, int number, uint32_t events) {
    struct reader *reader = core->readers[number];
    if (reader == NULL)
        return;
    if (events & (EPOLLHUP | EPOLLERR)) {
        reader_close(core, number);
        return;
    }
    if (reader->tail) {
        pump_tail(core, number);
        return;
    }
    core->warm = true;
    for (int i = 0; i < TURN && reader->position < reader->backlog->written; i++)
        if (!pump_block(core, number))
            break;
    if (core->readers[number] != reader)
        return;
    punch(core, reader->backlog);
    settle(core, number);
}

/* ---- output ---- */

/* Send a frame to a reader that has had all before. True if some of it is left to be sent. */
static bool offer(aiod_core *core, int number, struct iovec *frame, int64_t end, int stream) {
    struct reader *reader = core->readers[number];
    if (!wants(reader, stream)) {
        reader->position = end;
        return false;
    }
    ssize_t sent = push(reader->socket, frame, 2);
    if (sent < 0) {
        reader_close(core, number);
        return false;
    }
    reader->position += sent;
    reader->left = sent > 0 ? (size_t)(end - reader->position) : 0;
    return reader->position < end;
}

static bool behind(aiod_core *core, int i, const struct backlog *backlog, int64_t end) {
    struct reader *reader = core->readers[i];
    return reader && reader->backlog == backlog && !reader->tail && reader->position < end;
}

static void release(aiod_core *core, int number) {
    struct backlog *backlog = core->processes[number]->backlog;
    if (--backlog->readers > 0)
        return;
    core->processes[number]->backlog = NULL;
    backlog_free(backlog);
}

void core_broadcast(aiod_core *core, int number, int stream, size_t length) {
    struct backlog *backlog = core->processes[number]->backlog;
    char header[HEADER];
    struct iovec frame[] = {{header, HEADER}, {core->chunk, length}};
    bool needed = false;
    if (backlog == NULL)
        return;
    put_header(header, stream, length);
    int64_t begin = backlog->written, end = begin + (int64_t)(HEADER + length);
    backlog->readers++; /* it stays, whoever closes */
    for (int i = 0; i < core->reader_count; i++)
        if (core->readers[i] && core->readers[i]->backlog == backlog && !core->readers[i]->tail)
            needed |= core->readers[i]->position < begin || offer(core, i, frame, end, stream);
    bool stored = !needed || store(core, backlog, frame);
    backlog->written = end;
    for (int i = 0; i < core->reader_count; i++) {
        if (!behind(core, i, backlog, end))
            continue;
        if (!stored || end - core->readers[i]->position > core->readers[i]->limit)
            reader_cut(core, i);
        else
            reader_wait(core, i, true);
    }
    release(core, number);
}

void core_end_readers(aiod_core *core, int number) {
    for (int i = 0; i < core->reader_count; i++) {
        struct reader *reader = core->readers[i];
        if (reader == NULL || reader->process != number || reader->ended)
            continue;
        reader->ended = true;
        if (!reader->tail)
            settle(core, i);
    }
}

void core_orphan_readers(aiod_core *core, int number) {
    for (int i = 0; i < core->reader_count; i++)
        if (core->readers[i] && core->readers[i]->process == number)
            core->readers[i]->process = -1;
    core->processes[number]->backlog = NULL;
}

void core_free_readers(aiod_core *core) {
    for (int i = 0; i < core->reader_count; i++)
        if (core->readers[i])
            reader_close(core, i);
    free(core->readers);
}

/* ---- joining ---- */

static struct reader *reader_new(int process, int streams, int socket, int64_t limit) {
    struct reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return NULL;
    *reader = (struct reader){.process = process, .streams = streams, .limit = limit};
    reader->socket = fcntl(socket, F_DUPFD_CLOEXEC, 3);
    if (reader->socket >= 0)
        return reader;
    int saved = errno;
    reader_free(reader);
    errno = saved;
    return NULL;
}

static int enlist(aiod_core *core, struct reader *reader, const char *directory) {
    bool known = reader->process >= 0 && reader->process < core->process_count &&
                 core->processes[reader->process];
    if (!known)
        return -ESRCH;
    int number = core_place((void ***)&core->readers, &core->reader_count);
    if (number < 0)
        return number;
    struct process *process = core->processes[reader->process];
    struct backlog *backlog = process->backlog ? process->backlog : backlog_new(directory);
    if (backlog == NULL)
        return -ENOMEM;
    process->backlog = reader->backlog = backlog;
    backlog->readers++;
    reader->position = backlog->written;
    core->readers[number] = reader;
    return number;
}

static int greet(aiod_core *core, int number, const char *greeting, size_t size) {
    struct reader *reader = core->readers[number];
    struct epoll_event event = {.data.u64 = ((uint64_t)SOURCE_READER << 48) | (uint32_t)number};
    struct iovec part = {(void *)greeting, size};
    if (epoll_ctl(core->epoll, EPOLL_CTL_ADD, reader->socket, &event) < 0)
        return -errno;
    if (size > 0 && push(reader->socket, &part, 1) != (ssize_t)size)
        return -EPIPE;
    return 0;
}

int aiod_reader_join(aiod_core *core, int process, int streams, const char *directory,
                     int64_t limit, int socket, const char *greeting, size_t size) {
    struct reader *reader = reader_new(process, streams, socket, limit);
    if (reader == NULL)
        return -errno;
    pthread_mutex_lock(&core->lock);
    int number = enlist(core, reader, directory);
    int result = number < 0 ? number : greet(core, number, greeting, size);
    if (number < 0)
        reader_free(reader);
    else if (result < 0)
        reader_close(core, number);
    else if (core->processes[process]->announced) {
        reader->ended = true;
        settle(core, number);
    }
    pthread_mutex_unlock(&core->lock);
    return result;
}
