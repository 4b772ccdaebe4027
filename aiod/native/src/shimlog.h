/* A container's log as the shim writes it: bytes of two streams in, framed lines in a file out.
 *
 * Owns line splitting, partial lines, the two formats and rotation. Knows nothing of processes,
 * descriptors of containers or Python. Not thread-safe: the caller serialises.
 */
#ifndef AIOD_SHIMLOG_H
#define AIOD_SHIMLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum shimlog_driver { SHIMLOG_NONE = 0, SHIMLOG_JSON = 1, SHIMLOG_LOCAL = 2 };

/* Longest piece of a line in one record, as Docker's copier cuts them. */
#define SHIMLOG_PARTIAL 16384

struct shimlog_buffer {
    char *data;
    size_t length, capacity;
};

struct shimlog_stream {
    struct shimlog_buffer pending; /* a line not yet terminated */
    bool partial;                  /* earlier pieces of this line are already written */
    struct timespec first;         /* time of the line's first piece, shared by all of them */
};

struct shimlog {
    enum shimlog_driver driver;
    char *path;
    int64_t max_size; /* rotate at this many bytes; 0: never */
    int max_file;     /* files kept, the current one included */
    int fd;           /* -1: none, or could not be opened and is tried again */
    int64_t size;
    int64_t lost; /* bytes that could not be written */
    struct shimlog_buffer batch;
    struct shimlog_stream streams[2]; /* stdout, stderr */
};

/* Open or append to the log; 0, or -errno with nothing held. */
int shimlog_open(struct shimlog *log, enum shimlog_driver driver, const char *path,
                 int64_t max_size, int max_file);
/* Take output of stream 1 or 2; whole lines reach the file before it returns. */
void shimlog_feed(struct shimlog *log, int stream, const char *data, size_t length);
/* Write what is left of an unterminated last line. */
void shimlog_end(struct shimlog *log, int stream);
/* Give back the memory that is not needed while there is no output. */
void shimlog_shrink(struct shimlog *log);
void shimlog_close(struct shimlog *log);

#endif
