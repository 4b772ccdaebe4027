#define _GNU_SOURCE
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READY = 16, STACK = 128 * 1024, PLACE = 4096, WORDS = 256 };
enum { MOST_PARTS = 2 };
static const struct net_part *const parts[MOST_PARTS + 1] = {&net_proxy, &net_dns}; /* NULL at the end */

/* A process is one shim, so there is one of this. `running` is the caller's side of the thread's
 * life, everything below `orders` the thread's own. */
static struct {
    bool running;
    pthread_t thread;
    sem_t started;
    char directory[PLACE];
    int pid, result;
    char failed[WORDS];
    int orders; /* eventfd */
    atomic_bool reload, end;
    int epoll, outside, inside;
    bool loaded[MOST_PARTS];
    struct epoll_event ready[READY];
    int ready_count;
} net = {.orders = -1, .epoll = -1, .outside = -1, .inside = -1};

/* ---- for the parts ---- */

int64_t net_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int net_fail(int error, const char *format, ...) {
    va_list words;
    if (net.failed[0] == 0) {
        va_start(words, format);
        vsnprintf(net.failed, sizeof net.failed, format, words);
        va_end(words);
    }
    return error;
}

static int control(int operation, int fd, uint32_t events, struct net_source *source) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(net.epoll, operation, fd, &event) < 0 ? -errno : 0;
}

int net_watch(int fd, uint32_t events, struct net_source *source) {
    return control(EPOLL_CTL_ADD, fd, events, source);
}

int net_rewatch(int fd, uint32_t events, struct net_source *source) {
    return control(EPOLL_CTL_MOD, fd, events, source);
}

void net_unwatch(int fd, struct net_source *source) {
    epoll_ctl(net.epoll, EPOLL_CTL_DEL, fd, NULL);
    for (int i = 0; i < net.ready_count; i++)
        if (net.ready[i].data.ptr == source)
            net.ready[i].data.ptr = NULL;
}

void net_close(int *fd, struct net_source *source) {
    if (*fd < 0)
        return;
    net_unwatch(*fd, source);
    close(*fd);
    *fd = -1;
}

int net_enter(void) {
    return setns(net.inside, CLONE_NEWNET) < 0 ? -errno : 0;
}

void net_leave(void) {
    /* To go on in a container's network would be wrong in every way; the kernel may want memory. */
    while (setns(net.outside, CLONE_NEWNET) < 0)
        usleep(1000);
}

int net_socket(bool inside, int domain, int type, int protocol) {
    int error = inside ? net_enter() : 0;
    if (error < 0)
        return error;
    int fd = socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    error = errno;
    if (inside)
        net_leave();
    return fd < 0 ? -error : fd;
}

ssize_t net_read_file(const char *path, char *buffer, size_t size) {
    size_t length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (;;) {
        ssize_t got = read(fd, buffer + length, size - length);
        if (got < 0 && errno == EINTR)
            continue;
        int error = got < 0 ? -errno : 0;
        if (got > 0 && (length += (size_t)got) == size)
            error = -EFBIG;
        if (got > 0 && error == 0)
            continue;
        close(fd);
        if (error < 0)
            return error;
        buffer[length] = 0;
        return (ssize_t)length;
    }
}

/* ---- the thread's life ---- */

static void place(char *path, const char *name) {
    snprintf(path, PLACE + 32, "%s/%s", net.directory, name);
}

static void hear_orders(struct net_source *source, uint32_t events) {
    uint64_t count;
    ssize_t ignored = read(net.orders, &count, sizeof count);
    (void)ignored, (void)source, (void)events;
}

static struct net_source orders = {hear_orders};

static int open_all(void) {
    char path[64];
    net.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (net.epoll < 0)
        return net_fail(-errno, "epoll");
    net.outside = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/ns/net", net.pid);
    net.inside = open(path, O_RDONLY | O_CLOEXEC);
    if (net.outside < 0 || net.inside < 0)
        return net_fail(-errno, "open the network namespace");
    return net_watch(net.orders, EPOLLIN, &orders);
}

static int load_part(int number) {
    char path[PLACE + 32];
    place(path, parts[number]->file);
    if (!net.loaded[number] && access(path, F_OK) < 0)
        return 0;
    int result = parts[number]->load(path);
    if (result >= 0)
        net.loaded[number] = true;
    return result < 0 ? net_fail(result, "read %s", parts[number]->file) : 0;
}

/* Every part, whether or not another fails. */
static int load_all(void) {
    int result = 0;
    for (int i = 0; parts[i]; i++) {
        int part = load_part(i);
        result = result < 0 ? result : part;
    }
    return result;
}

static void close_all(void) {
    for (int i = 0; parts[i]; i++) {
        parts[i]->close(); /* what a failed load has opened, too */
        net.loaded[i] = false;
    }
    int *const held[] = {&net.epoll, &net.outside, &net.inside};
    for (int i = 0; i < 3; i++) {
        if (*held[i] >= 0)
            close(*held[i]);
        *held[i] = -1;
    }
}

/* A file, as nobody waits for the answer at the time it is known. */
static void tell(int result) {
    char path[PLACE + 32], temporary[PLACE + 32], text[WORDS + 32];
    place(path, "net");
    place(temporary, "net.tmp");
    int length = snprintf(text, sizeof text, "%d %s\n", -result, result < 0 ? net.failed : "");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t written = fd < 0 ? -1 : write(fd, text, (size_t)length);
    if (fd >= 0)
        close(fd);
    if (written == length)
        rename(temporary, path);
}

static void obey(void) {
    if (!atomic_exchange(&net.reload, false))
        return;
    net.failed[0] = 0;
    tell(load_all());
}

/* Milliseconds until the next thing is due, -1 for never. */
static int due(void) {
    int64_t now = net_now(), next = NET_NEVER;
    for (int i = 0; parts[i]; i++) {
        int64_t at = net.loaded[i] ? parts[i]->due(now) : NET_NEVER;
        next = at < next ? at : next;
    }
    if (next == NET_NEVER)
        return -1;
    return next <= now ? 0 : (int)((next - now) / 1000000 + 1);
}

static void serve(void) {
    while (!atomic_load(&net.end)) {
        obey();
        net.ready_count = epoll_wait(net.epoll, net.ready, READY, due());
        for (int i = 0; i < net.ready_count; i++) {
            struct net_source *source = net.ready[i].data.ptr;
            if (source)
                source->ready(source, net.ready[i].events);
        }
        net.ready_count = 0;
    }
}

static void *run(void *unused) {
    (void)unused;
    prctl(PR_SET_NAME, "aiod-shim-net");
    int result = open_all();
    if (result == 0)
        result = load_all();
    if (result < 0)
        close_all();
    net.result = result;
    sem_post(&net.started);
    if (result < 0)
        return NULL;
    serve();
    close_all();
    return NULL;
}

static int make_thread(void) {
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&net.thread, &attributes, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}

static void give_orders(void) {
    uint64_t one = 1;
    ssize_t ignored = write(net.orders, &one, sizeof one);
    (void)ignored;
}

static bool asked_for(void) {
    char path[PLACE + 32];
    for (int i = 0; parts[i]; i++) {
        place(path, parts[i]->file);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}

/* Have the thread, with everything open. */
static int begin(const char *directory, int pid) {
    snprintf(net.directory, sizeof net.directory, "%s", directory);
    net.pid = pid;
    net.failed[0] = 0;
    if (!asked_for())
        return 0;
    if (net.orders < 0 && (net.orders = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return net_fail(-errno, "eventfd");
    atomic_store(&net.end, false);
    atomic_store(&net.reload, false);
    sem_init(&net.started, 0, 0);
    int result = make_thread();
    if (result < 0)
        return net_fail(result, "make the network thread");
    while (sem_wait(&net.started) < 0 && errno == EINTR)
        ;
    if (net.result < 0)
        pthread_join(net.thread, NULL);
    net.running = net.result == 0;
    return net.result;
}

int aiod_net_start(const char *directory, int pid, char *failed, int size) {
    int result = begin(directory, pid);
    if (size > 0)
        snprintf(failed, (size_t)size, "%s", result < 0 ? net.failed : "");
    return result;
}

void aiod_net_reload(const char *directory, int pid) {
    if (net.running) {
        atomic_store(&net.reload, true);
        give_orders();
    } else {
        tell(begin(directory, pid));
    }
}

void aiod_net_end(void) {
    if (!net.running)
        return;
    atomic_store(&net.end, true);
    give_orders();
}

void aiod_net_join(void) {
    if (!net.running)
        return;
    aiod_net_end();
    pthread_join(net.thread, NULL);
    net.running = false;
}
