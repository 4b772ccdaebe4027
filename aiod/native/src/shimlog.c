#define _GNU_SOURCE
#include "shimlog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Batches and pending lines above this are given back, so that an idle shim stays small. */
enum { KEEP_CAPACITY = 8192 };
enum { LOCAL_HEADER = 4, LOCAL_FIXED = 10, LOCAL_TRAILER = 4 };

static bool reserve(struct shimlog_buffer *buffer, size_t more) {
    if (buffer->length + more <= buffer->capacity)
        return true;
    size_t capacity = buffer->capacity ? buffer->capacity : 512;
    while (capacity < buffer->length + more)
        capacity *= 2;
    char *data = realloc(buffer->data, capacity);
    if (data == NULL)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

static void empty(struct shimlog_buffer *buffer) {
    buffer->length = 0;
    if (buffer->capacity > KEEP_CAPACITY) {
        free(buffer->data);
        *buffer = (struct shimlog_buffer){0};
    }
}

/* The caller has reserved the room. */
static void put(struct shimlog_buffer *buffer, const void *data, size_t length) {
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
}

static void put_text(struct shimlog_buffer *buffer, const char *text) {
    put(buffer, text, strlen(text));
}

/* ---- UTF-8 (RFC 3629, table 3-7 of the Unicode standard) ---- */

/* Length of the well-formed sequence at `text`, or 0. */
static size_t utf8_length(const unsigned char *text, size_t available) {
    unsigned char lead = text[0], low = 0x80, high = 0xbf;
    size_t length;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        length = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        length = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        length = 4;
    else
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (available < length || text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (text[i] < 0x80 || text[i] > 0xbf)
            return 0;
    return length;
}

/* A cut at `length` that does not tear a character: up to 3 bytes less. */
static size_t character_boundary(const char *data, size_t length) {
    size_t back = 0;
    while (back < 3 && back + 1 < length && ((unsigned char)data[length - 1 - back] & 0xc0) == 0x80)
        back++;
    unsigned char lead = (unsigned char)data[length - 1 - back];
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return need > back + 1 && length > back + 1 ? length - back - 1 : length;
}

/* ---- json-file: byte for byte what Docker's driver writes ---- */

static void escape_ascii(struct shimlog_buffer *out, unsigned char byte) {
    static const char digits[] = "0123456789abcdef";
    char code[] = "\\u0000";
    switch (byte) {
    case '\\': put_text(out, "\\\\"); return;
    case '"': put_text(out, "\\\""); return;
    case '\n': put_text(out, "\\n"); return;
    case '\r': put_text(out, "\\r"); return;
    default:
        code[4] = digits[byte >> 4];
        code[5] = digits[byte & 15];
        put(out, code, 6);
    }
}

static bool plain(unsigned char byte) {
    return byte >= 0x20 && byte < 0x80 && byte != '\\' && byte != '"' && byte != '<' &&
           byte != '>' && byte != '&';
}

static void escape(struct shimlog_buffer *out, const char *data, size_t length) {
    const unsigned char *text = (const unsigned char *)data;
    for (size_t i = 0; i < length;) {
        size_t run = i;
        while (run < length && plain(text[run]))
            run++;
        put(out, text + i, run - i);
        if ((i = run) == length)
            return;
        size_t size = utf8_length(text + i, length - i);
        if (size == 1)
            escape_ascii(out, text[i]);
        else if (size == 0)
            put_text(out, "\\ufffd");
        else if (size == 3 && text[i] == 0xe2 && text[i + 1] == 0x80 && (text[i + 2] | 1) == 0xa9)
            put_text(out, text[i + 2] == 0xa8 ? "\\u2028" : "\\u2029");
        else
            put(out, text + i, size);
        i += size ? size : 1;
    }
}

/* RFC 3339 in UTC, the fraction without trailing zeros. */
static size_t format_time(char *out, size_t size, const struct timespec *when) {
    struct tm parts;
    gmtime_r(&when->tv_sec, &parts);
    size_t length = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &parts);
    if (when->tv_nsec) {
        length += (size_t)snprintf(out + length, size - length, ".%09ld", when->tv_nsec);
        while (out[length - 1] == '0')
            length--;
    }
    out[length++] = 'Z';
    return length;
}

static bool frame_json(struct shimlog *log, int stream, const char *data, size_t length,
                       bool partial, const struct timespec *when) {
    struct shimlog_buffer *out = &log->batch;
    char time[64];
    if (!reserve(out, length * 6 + 128))
        return false;
    put_text(out, "{\"log\":\"");
    escape(out, data, length);
    put_text(out, partial ? "\",\"stream\":\"" : "\\n\",\"stream\":\"");
    put_text(out, stream == 1 ? "stdout" : "stderr");
    put_text(out, "\",\"time\":\"");
    put(out, time, format_time(time, sizeof time, when));
    put_text(out, "\"}\n");
    return true;
}

/* ---- local: length, stream, flags, time, bytes, length again (all big-endian) ---- */

static void put_number(struct shimlog_buffer *out, uint64_t value, int bytes) {
    unsigned char raw[8];
    for (int i = 0; i < bytes; i++)
        raw[i] = (unsigned char)(value >> (8 * (bytes - 1 - i)));
    put(out, raw, (size_t)bytes);
}

static bool frame_local(struct shimlog *log, int stream, const char *data, size_t length,
                        bool partial, const struct timespec *when) {
    struct shimlog_buffer *out = &log->batch;
    uint64_t payload = LOCAL_FIXED + length;
    if (!reserve(out, LOCAL_HEADER + payload + LOCAL_TRAILER))
        return false;
    put_number(out, payload, 4);
    put_number(out, (uint64_t)stream, 1);
    put_number(out, partial ? 1 : 0, 1);
    put_number(out, (uint64_t)when->tv_sec * 1000000000u + (uint64_t)when->tv_nsec, 8);
    put(out, data, length);
    put_number(out, payload, 4);
    return true;
}

/* ---- the file ---- */

/* Whether the length before `end` leads to a record's beginning that says the same. */
static bool local_ends_at(int fd, int64_t end) {
    unsigned char head[4], tail[4];
    if (end < LOCAL_HEADER + LOCAL_FIXED + LOCAL_TRAILER || pread(fd, tail, 4, end - 4) != 4)
        return false;
    int64_t payload = ((int64_t)tail[0] << 24) | (tail[1] << 16) | (tail[2] << 8) | tail[3];
    int64_t begin = end - LOCAL_TRAILER - payload - LOCAL_HEADER;
    return payload >= LOCAL_FIXED && begin >= 0 && pread(fd, head, 4, begin) == 4 &&
           memcmp(head, tail, 4) == 0;
}

/* Offset at which the last whole record of a local log ends. A damaged one farther on costs none
 * of those behind it: readers find them. */
static int64_t local_end(int fd, int64_t size) {
    int64_t offset = size, lowest = size - 2 * SHIMLOG_PARTIAL;
    while (offset > 0 && offset > lowest && !local_ends_at(fd, offset))
        offset--;
    if (offset > 0 && offset > lowest)
        return offset;
    unsigned char raw[4];
    offset = 0;
    while (size - offset >= LOCAL_HEADER + LOCAL_FIXED + LOCAL_TRAILER &&
           pread(fd, raw, 4, offset) == 4) {
        int64_t payload = ((int64_t)raw[0] << 24) | (raw[1] << 16) | (raw[2] << 8) | raw[3];
        int64_t next = offset + LOCAL_HEADER + payload + LOCAL_TRAILER;
        if (payload < LOCAL_FIXED || next > size)
            break;
        offset = next;
    }
    return offset;
}

/* A writer that was killed in the middle of a record must not spoil the next one. */
static int mend_tail(struct shimlog *log) {
    char last;
    if (log->size == 0)
        return 0;
    if (log->driver == SHIMLOG_LOCAL) {
        int64_t end = local_end(log->fd, log->size);
        if (end != log->size && ftruncate(log->fd, end) < 0)
            return -errno;
        log->size = end;
        return 0;
    }
    if (pread(log->fd, &last, 1, log->size - 1) != 1)
        return -errno;
    if (last != '\n' && write(log->fd, "\n", 1) == 1)
        log->size++;
    return 0;
}

static int open_file(struct shimlog *log, int flags) {
    struct stat status;
    log->fd = open(log->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | flags, 0640);
    if (log->fd < 0)
        return -errno;
    if (fstat(log->fd, &status) < 0)
        return -errno;
    log->size = status.st_size;
    return mend_tail(log);
}

int shimlog_open(struct shimlog *log, enum shimlog_driver driver, const char *path,
                 int64_t max_size, int max_file) {
    *log = (struct shimlog){.driver = driver, .max_size = max_size, .fd = -1,
                            .max_file = max_file < 1 ? 1 : max_file};
    if (driver == SHIMLOG_NONE)
        return 0;
    log->path = strdup(path);
    if (log->path == NULL)
        return -ENOMEM;
    int result = open_file(log, 0);
    if (result < 0)
        shimlog_close(log);
    return result;
}

static void numbered(char *out, size_t size, const char *path, int number) {
    snprintf(out, size, "%s.%d", path, number);
}

/* Readers that hold the old file keep it: nothing is ever truncated below them. */
static void rotate(struct shimlog *log) {
    char from[4096], to[4096];
    for (int number = log->max_file - 1; number > 1; number--) {
        numbered(from, sizeof from, log->path, number - 1);
        numbered(to, sizeof to, log->path, number);
        rename(from, to);
    }
    if (log->max_file > 1) {
        numbered(to, sizeof to, log->path, 1);
        rename(log->path, to);
    } else {
        unlink(log->path);
    }
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
    log->size = 0;
    open_file(log, 0);
}

/* How much of the first `written` bytes of the batch are whole records. */
static size_t whole_records(const struct shimlog *log, size_t written) {
    const char *data = log->batch.data;
    size_t end = 0;
    if (log->driver == SHIMLOG_JSON) {
        const char *last = written ? memrchr(data, '\n', written) : NULL;
        return last ? (size_t)(last - data) + 1 : 0;
    }
    while (end + LOCAL_HEADER <= written) {
        const unsigned char *raw = (const unsigned char *)data + end;
        size_t payload = ((size_t)raw[0] << 24) | ((size_t)raw[1] << 16) |
                         ((size_t)raw[2] << 8) | raw[3];
        if (end + LOCAL_HEADER + payload + LOCAL_TRAILER > written)
            break;
        end += LOCAL_HEADER + payload + LOCAL_TRAILER;
    }
    return end;
}

/* Of a batch that did not go in whole, keep the whole records, and count the others as lost. */
static void lose(struct shimlog *log, size_t written) {
    size_t kept = whole_records(log, written);
    log->lost += (int64_t)(log->batch.length - kept);
    if (log->fd >= 0 && written > kept && ftruncate(log->fd, log->size + (int64_t)kept) < 0)
        kept = written;
    log->size += (int64_t)kept;
}

/* The container never waits for a log that cannot be written. */
static void flush(struct shimlog *log) {
    size_t done = 0;
    if (log->batch.length == 0)
        return;
    if (log->fd < 0)
        open_file(log, 0);
    while (log->fd >= 0 && done < log->batch.length) {
        ssize_t count = write(log->fd, log->batch.data + done, log->batch.length - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    if (done == log->batch.length)
        log->size += (int64_t)done;
    else
        lose(log, done);
    empty(&log->batch);
}

static void record(struct shimlog *log, int stream, const char *data, size_t length,
                   bool partial) {
    struct shimlog_stream *state = &log->streams[stream - 1];
    if (!state->partial)
        clock_gettime(CLOCK_REALTIME, &state->first);
    if (log->max_size > 0 && log->size + (int64_t)log->batch.length >= log->max_size) {
        flush(log);
        if (log->size >= log->max_size)
            rotate(log);
    }
    bool (*frame)(struct shimlog *, int, const char *, size_t, bool, const struct timespec *) =
        log->driver == SHIMLOG_LOCAL ? frame_local : frame_json;
    if (!frame(log, stream, data, length, partial, &state->first))
        log->lost += (int64_t)length;
    state->partial = partial;
}

/* Record `length` more bytes, the end of this line, together with what is pending of it. */
static void finish(struct shimlog *log, int stream, const char *data, size_t length) {
    struct shimlog_buffer *pending = &log->streams[stream - 1].pending;
    if (pending->length == 0) {
        record(log, stream, data, length, false);
        return;
    }
    if (reserve(pending, length))
        put(pending, data, length);
    else
        log->lost += (int64_t)length;
    record(log, stream, pending->data, pending->length, false);
    empty(pending);
}

/* Record one full piece of a line that goes on; returns how many bytes of `data` it took. */
static size_t cut(struct shimlog *log, int stream, const char *data, size_t room) {
    struct shimlog_buffer *pending = &log->streams[stream - 1].pending;
    if (pending->length == 0) {
        size_t length = character_boundary(data, room);
        record(log, stream, data, length, true);
        return length;
    }
    if (!reserve(pending, room)) {
        log->lost += (int64_t)room;
        return room;
    }
    put(pending, data, room);
    size_t length = character_boundary(pending->data, pending->length);
    size_t rest = pending->length - length;
    record(log, stream, pending->data, length, true);
    memmove(pending->data, pending->data + length, rest);
    pending->length = rest;
    return room;
}

void shimlog_feed(struct shimlog *log, int stream, const char *data, size_t length) {
    struct shimlog_buffer *pending = &log->streams[stream - 1].pending;
    if (log->driver == SHIMLOG_NONE)
        return;
    while (length > 0) {
        const char *end = memchr(data, '\n', length);
        size_t line = end ? (size_t)(end - data) : length;
        size_t room = SHIMLOG_PARTIAL - pending->length;
        if (end && line < room) {
            finish(log, stream, data, line);
            line++;
        } else if (line >= room) {
            line = cut(log, stream, data, room);
        } else if (reserve(pending, line)) {
            put(pending, data, line);
        } else {
            log->lost += (int64_t)line;
        }
        data += line;
        length -= line;
    }
    flush(log);
}

void shimlog_end(struct shimlog *log, int stream) {
    struct shimlog_stream *state = &log->streams[stream - 1];
    if (log->driver == SHIMLOG_NONE)
        return;
    if (state->pending.length > 0)
        record(log, stream, state->pending.data, state->pending.length, true);
    empty(&state->pending);
    state->partial = false;
    flush(log);
}

static void shrink(struct shimlog_buffer *buffer) {
    if (buffer->length > 0)
        return;
    free(buffer->data);
    *buffer = (struct shimlog_buffer){0};
}

void shimlog_shrink(struct shimlog *log) {
    shrink(&log->batch);
    shrink(&log->streams[0].pending);
    shrink(&log->streams[1].pending);
}

void shimlog_close(struct shimlog *log) {
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
    free(log->path);
    free(log->batch.data);
    free(log->streams[0].pending.data);
    free(log->streams[1].pending.data);
    *log = (struct shimlog){.fd = -1};
}
