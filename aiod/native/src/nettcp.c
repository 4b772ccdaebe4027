#define _GNU_SOURCE
#include "netproxy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* A connection has two descriptors, and a pipe for each way only while that holds something. */
enum { MOST = 32768, AT_ONCE = 64, POOL = 16, SPARE = 128, ROUNDS = 16 };
enum { CHUNK = 1 << 19, LITTLE = 1 << 14 };
static const int64_t RETRY_NS = 10000000;

struct end {
    struct net_source source;
    struct connection *of;
    int fd;
    bool readable, writable;
};

/* One way: from the end of the same number to the other. `held` bytes are in the pipe. */
struct way {
    int pipe[2];
    size_t held;
    bool ended, done;
};

struct connection {
    struct end ends[2]; /* the client's, the container's */
    struct way ways[2];
    struct connection *next; /* of the free or of the busy ones */
    bool connecting, broken, busy;
};

static struct {
    struct connection *all; /* MOST of them, touched as they are used */
    struct connection *unused, *busy;
    size_t begun; /* how many were ever used */
    size_t count, most;
    int pool[POOL][2];
    int pooled;
} tcp;

/* ---- pipes ---- */

static int take_pipe(int fds[2]) {
    if (tcp.pooled > 0) {
        tcp.pooled--;
        fds[0] = tcp.pool[tcp.pooled][0];
        fds[1] = tcp.pool[tcp.pooled][1];
        return 0;
    }
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    (void)fcntl(fds[1], F_SETPIPE_SZ, CHUNK); /* a smaller one does, too */
    return 0;
}

static void close_pipe(int fds[2]) {
    close(fds[0]);
    close(fds[1]);
    fds[0] = fds[1] = -1;
}

static void give_pipe(struct way *way) {
    if (way->pipe[0] < 0)
        return;
    if (way->held > 0 || tcp.pooled == POOL) {
        close_pipe(way->pipe);
    } else {
        tcp.pool[tcp.pooled][0] = way->pipe[0];
        tcp.pool[tcp.pooled][1] = way->pipe[1];
        tcp.pooled++;
    }
    way->pipe[0] = way->pipe[1] = -1;
}

/* ---- connections ---- */

/* Descriptors for others of the shim's, and for pipes, are left. */
static size_t most_connections(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= 3 * (rlim_t)MOST + SPARE)
        return MOST;
    return limit.rlim_cur > SPARE + 3 ? (size_t)(limit.rlim_cur - SPARE) / 3 : 1;
}

static struct connection *take_connection(void) {
    if (tcp.all == NULL) {
        void *room = mmap(NULL, MOST * sizeof *tcp.all, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (room == MAP_FAILED)
            return NULL;
        tcp.all = room;
        tcp.most = most_connections();
    }
    if (tcp.count >= tcp.most)
        return NULL;
    struct connection *found = tcp.unused;
    if (found)
        tcp.unused = found->next;
    else
        found = &tcp.all[tcp.begun++];
    tcp.count++;
    *found = (struct connection){.connecting = true};
    for (int i = 0; i < 2; i++) {
        found->ends[i].of = found;
        found->ends[i].fd = found->ways[i].pipe[0] = found->ways[i].pipe[1] = -1;
    }
    return found;
}

/* With the last one goes the memory that they took. */
static void cool(void) {
    while (tcp.pooled > 0)
        close_pipe(tcp.pool[--tcp.pooled]);
    if (tcp.all)
        madvise(tcp.all, tcp.begun * sizeof *tcp.all, MADV_DONTNEED);
    tcp.unused = NULL;
    tcp.begun = 0;
}

static void leave_busy(struct connection *connection) {
    struct connection **place = &tcp.busy;
    if (!connection->busy)
        return;
    while (*place != connection)
        place = &(*place)->next;
    *place = connection->next;
    connection->busy = false;
}

/* A peer learns of a failure as it would from the other itself: by a reset, unless that would
 * take what is on its way. */
static void reset_on_close(int fd) {
    struct linger now = {1, 0};
    int unsent = 0;
    if (ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void finish(struct connection *connection) {
    leave_busy(connection);
    for (int i = 0; i < 2; i++) {
        if (connection->broken && connection->ends[i].fd >= 0)
            reset_on_close(connection->ends[i].fd);
        net_close(&connection->ends[i].fd, &connection->ends[i].source);
        give_pipe(&connection->ways[i]);
    }
    connection->next = tcp.unused;
    tcp.unused = connection;
    if (--tcp.count == 0)
        cool();
    listeners_resume();
}

static void stay_busy(struct connection *connection) {
    if (connection->busy)
        return;
    connection->busy = true;
    connection->next = tcp.busy;
    tcp.busy = connection;
}

/* ---- what goes through ---- */

enum moved { MOVED, WAITING, STARVED };

static ssize_t splice_in(struct way *way, struct end *from) {
    return splice(from->fd, NULL, way->pipe[1], NULL, CHUNK, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

/* The kernel may stop within a packet; what is left of it comes along, and is no small one of its
 * own on the other side. */
static enum moved fill(struct way *way, struct end *from, struct connection *connection) {
    if (!from->readable)
        return WAITING;
    if (way->pipe[0] < 0 && take_pipe(way->pipe) < 0)
        return STARVED;
    ssize_t got = splice_in(way, from);
    if (got > 0) {
        way->held = (size_t)got;
        ssize_t more = got >= LITTLE ? splice_in(way, from) : 0;
        way->held += more > 0 ? (size_t)more : 0;
        return MOVED;
    }
    if (got < 0 && errno == EINTR)
        return MOVED;
    if (got < 0 && errno == EAGAIN) {
        from->readable = false;
        return WAITING;
    }
    if (got < 0) /* it has reset the connection */
        connection->broken = connection->ways[0].done = connection->ways[1].done = true;
    way->ended = true;
    return MOVED;
}

static enum moved drain(struct way *way, struct end *to, struct connection *connection) {
    if (!to->writable)
        return WAITING;
    ssize_t put = splice(way->pipe[0], NULL, to->fd, NULL, way->held,
                         SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (put > 0) {
        way->held -= (size_t)put;
        return MOVED;
    }
    if (put < 0 && errno == EINTR)
        return MOVED;
    if (put < 0 && errno == EAGAIN) {
        to->writable = false;
        return WAITING;
    }
    connection->broken = true; /* nobody is there who reads: what it has said comes yet */
    way->done = true;
    return MOVED;
}

/* One step of one way. */
static enum moved step(struct connection *connection, int which) {
    struct way *way = &connection->ways[which];
    struct end *from = &connection->ends[which], *to = &connection->ends[!which];
    if (way->done)
        return WAITING;
    if (way->held > 0)
        return drain(way, to, connection);
    if (!way->ended)
        return fill(way, from, connection);
    shutdown(to->fd, SHUT_WR);
    way->done = true;
    return MOVED;
}

/* As much as there is, but not so much that others wait for long. */
static enum moved pump(struct connection *connection, int which) {
    enum moved moved = MOVED;
    for (int i = 0; i < 2 * ROUNDS && moved == MOVED; i++)
        moved = step(connection, which);
    struct way *way = &connection->ways[which];
    if (moved == WAITING && (way->held == 0 || way->done))
        give_pipe(way);
    return moved;
}

/* Whether it is to be called again before anything happens; it may be gone afterwards. */
static enum moved work(struct connection *connection) {
    enum moved up = pump(connection, 0), down = pump(connection, 1);
    if (connection->ways[0].done && connection->ways[1].done) {
        finish(connection);
        return WAITING;
    }
    return up == MOVED || down == MOVED ? MOVED : up == STARVED || down == STARVED ? STARVED
                                                                                   : WAITING;
}

/* Do all that can be done at once; whether it is gone. */
static bool settled(struct connection *connection) {
    size_t before = tcp.count;
    enum moved moved = MOVED;
    for (int i = 0; i < ROUNDS && moved == MOVED; i++)
        moved = work(connection);
    return tcp.count < before;
}

static void work_on(struct connection *connection) {
    if (!connection->busy && work(connection) != WAITING)
        stay_busy(connection);
}

int64_t tcp_due(int64_t now) {
    struct connection *connection = tcp.busy;
    bool again = false;
    tcp.busy = NULL;
    while (connection) {
        struct connection *next = connection->next;
        connection->busy = false;
        enum moved moved = work(connection);
        if (moved != WAITING)
            stay_busy(connection);
        again = again || moved == MOVED;
        connection = next;
    }
    return tcp.busy == NULL ? NET_NEVER : again ? now : now + RETRY_NS;
}

/* ---- events ---- */

static void connected(struct connection *connection) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(connection->ends[1].fd, SOL_SOCKET, SO_ERROR, &error, &size);
    connection->connecting = false;
    if (error == 0)
        return;
    connection->broken = true;
    connection->ways[0].done = connection->ways[1].done = true;
}

static void end_ready(struct net_source *source, uint32_t events) {
    struct end *end = (struct end *)source;
    struct connection *connection = end->of;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        end->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        end->writable = true;
    if (connection->connecting) {
        if (end != &connection->ends[1])
            return; /* what the client says waits until somebody listens */
        connected(connection);
    }
    work_on(connection);
}

static void set(int fd, int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof value);
}

/* A peer that is gone without a word is noticed within two minutes. */
static void tune(int fd) {
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 6);
}

static int connect_to(const union net_address *container) {
    int fd = net_socket(false, container->any.sa_family, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    tune(fd);
    set(fd, IPPROTO_TCP, TCP_SYNCNT, 4); /* half a minute */
    if (connect(fd, &container->any, address_size(container)) < 0 && errno != EINPROGRESS) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static int watch_end(struct end *end) {
    end->source.ready = end_ready;
    return net_watch(end->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &end->source);
}

static int begin(struct connection *connection, int client, const struct listener *port) {
    connection->ends[0].fd = client;
    tune(client);
    int server = connect_to(&port->container);
    if (server < 0)
        return server;
    connection->ends[1].fd = server;
    int result = watch_end(&connection->ends[0]);
    return result < 0 ? result : watch_end(&connection->ends[1]);
}

/* Whether there may be more. */
static bool accept_one(const struct listener *port) {
    struct connection *connection = take_connection();
    if (connection == NULL) {
        listeners_pause();
        return false;
    }
    int client = accept4(port->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int error = client < 0 ? errno : 0;
    int result = client < 0 ? -error : begin(connection, client, port);
    if (result < 0) {
        connection->broken = true;
        finish(connection);
    }
    if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
        listeners_pause();
    return client >= 0 || error == ECONNABORTED || error == EINTR;
}

void tcp_accept(struct net_source *source, uint32_t events) {
    const struct listener *port = (const struct listener *)source;
    (void)events;
    for (int i = 0; i < AT_ONCE; i++)
        if (!accept_one(port))
            return;
}

void tcp_close(void) {
    for (size_t i = 0; i < tcp.begun; i++) {
        struct connection *connection = &tcp.all[i];
        if (connection->ends[0].fd < 0)
            continue;
        if (connection->connecting) /* it may have been made meanwhile */
            connected(connection);
        for (int end = 0; end < 2; end++)
            connection->ends[end].readable = connection->ends[end].writable = true;
        if (!settled(connection)) /* what the container has said at last has passed */
            finish(connection);
    }
    cool();
    if (tcp.all)
        munmap(tcp.all, MOST * sizeof *tcp.all);
    tcp.all = NULL;
}
