#define _GNU_SOURCE
#include "netproxy.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* A flow is what one client says to one port, from its first datagram until a while after the
 * last; of too many, the one that has been silent for longest goes. */
enum { MOST = 1024, BUCKETS = 1024, AT_ONCE = 64, LARGEST = 65536 };
static const int64_t SILENCE_NS = 90000000000; /* as long as Docker's proxy waits */

/* Which of the host's addresses a datagram came to. */
union place {
    struct in_addr four;
    struct in6_pktinfo six;
};

struct flow {
    struct net_source source;
    const struct listener *port;
    union net_address client;
    union place place;
    int fd;
    int64_t last;
    struct flow *older, *newer; /* by their last datagrams; `older` also of the unused */
    struct flow *chain;         /* of one bucket */
};

static struct {
    struct flow *all; /* MOST of them */
    unsigned char *datagram;
    size_t begun;
    struct flow *unused, *oldest, *newest;
    struct flow *buckets[BUCKETS];
} udp;

/* ---- finding ---- */

static struct flow **bucket(const struct listener *port, const union net_address *client) {
    const unsigned char *bytes = (const void *)client;
    uint32_t sum = (uint32_t)((uintptr_t)port >> 4) * 2654435761u;
    for (socklen_t i = 0; i < address_size(client); i++)
        sum = (sum ^ bytes[i]) * 16777619u;
    return &udp.buckets[(sum ^ sum >> 16) % BUCKETS];
}

static bool same_place(const struct flow *flow, const union place *place) {
    return memcmp(&flow->place, place, sizeof *place) == 0;
}

static struct flow *find(const struct listener *port, const union net_address *client,
                         const union place *place) {
    struct flow *flow = *bucket(port, client);
    while (flow && !(flow->port == port && same_address(&flow->client, client) &&
                     same_place(flow, place)))
        flow = flow->chain;
    return flow;
}

/* ---- beginning and end ---- */

static void take_out(struct flow *flow) {
    *(flow->older ? &flow->older->newer : &udp.oldest) = flow->newer;
    *(flow->newer ? &flow->newer->older : &udp.newest) = flow->older;
}

static void put_last(struct flow *flow) {
    flow->older = udp.newest;
    flow->newer = NULL;
    *(udp.newest ? &udp.newest->newer : &udp.oldest) = flow;
    udp.newest = flow;
}

static void unlink_chain(struct flow *flow) {
    struct flow **place = bucket(flow->port, &flow->client);
    while (*place != flow)
        place = &(*place)->chain;
    *place = flow->chain;
}

static void link_chain(struct flow *flow) {
    struct flow **place = bucket(flow->port, &flow->client);
    flow->chain = *place;
    *place = flow;
}

static void forget(struct flow *flow) {
    unlink_chain(flow);
    take_out(flow);
    net_close(&flow->fd, &flow->source);
    flow->older = udp.unused;
    udp.unused = flow;
}

/* With the last one goes the memory that they took. */
static void cool(void) {
    if (udp.begun == 0 || udp.oldest)
        return;
    madvise(udp.datagram, LARGEST + udp.begun * sizeof *udp.all, MADV_DONTNEED);
    udp.unused = NULL;
    udp.begun = 0;
}

static bool have_memory(void) {
    const size_t size = MOST * sizeof *udp.all + LARGEST;
    if (udp.all)
        return true;
    void *room = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return false;
    udp.datagram = room; /* first, so that both begin with a page */
    udp.all = (struct flow *)(udp.datagram + LARGEST);
    return true;
}

static int connect_to(const union net_address *container) {
    int fd = net_socket(false, container->any.sa_family, SOCK_DGRAM, 0);
    if (fd >= 0 && connect(fd, &container->any, address_size(container)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void answer(struct net_source *source, uint32_t events);

static struct flow *begin(const struct listener *port, const union net_address *client,
                          const union place *place) {
    if (udp.unused == NULL && udp.begun == MOST)
        forget(udp.oldest);
    int fd = connect_to(&port->container);
    if (fd < 0 && udp.oldest) { /* descriptors are short, perhaps */
        forget(udp.oldest);
        fd = connect_to(&port->container);
    }
    if (fd < 0)
        return NULL;
    struct flow *flow = udp.unused;
    if (flow)
        udp.unused = flow->older;
    else
        flow = &udp.all[udp.begun++];
    *flow = (struct flow){{answer}, port, *client, *place, fd, 0, NULL, NULL, NULL};
    link_chain(flow);
    put_last(flow);
    if (net_watch(fd, EPOLLIN, &flow->source) == 0)
        return flow;
    forget(flow);
    return NULL;
}

/* ---- what goes through ---- */

/* Where the kernel says that a datagram came to. */
static void read_place(struct msghdr *head, union place *place) {
    memset(place, 0, sizeof *place);
    for (struct cmsghdr *one = CMSG_FIRSTHDR(head); one; one = CMSG_NXTHDR(head, one)) {
        if (one->cmsg_level == IPPROTO_IP && one->cmsg_type == IP_PKTINFO)
            place->four = ((struct in_pktinfo *)CMSG_DATA(one))->ipi_spec_dst;
        if (one->cmsg_level == IPPROTO_IPV6 && one->cmsg_type == IPV6_PKTINFO)
            place->six = *(struct in6_pktinfo *)CMSG_DATA(one);
    }
}

static void touch(struct flow *flow) {
    flow->last = net_now();
    take_out(flow);
    put_last(flow);
}

/* Whether there may be more. */
static bool receive_one(const struct listener *port) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    } control;
    union net_address client = {0};
    union place place;
    struct iovec part = {udp.datagram, LARGEST};
    struct msghdr head = {.msg_name = &client, .msg_namelen = sizeof client, .msg_iov = &part,
                          .msg_iovlen = 1, .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes};
    ssize_t length = recvmsg(port->fd, &head, MSG_DONTWAIT);
    if (length < 0)
        return errno != EAGAIN;
    read_place(&head, &place);
    struct flow *flow = find(port, &client, &place);
    if (flow == NULL && (flow = begin(port, &client, &place)) == NULL)
        return true; /* it is lost, as datagrams may be */
    touch(flow);
    /* The first may get an error of an earlier one, and is not sent then. */
    if (send(flow->fd, udp.datagram, (size_t)length, MSG_DONTWAIT) < 0 && errno != EAGAIN)
        send(flow->fd, udp.datagram, (size_t)length, MSG_DONTWAIT);
    return true;
}

void udp_receive(struct net_source *source, uint32_t events) {
    const struct listener *port = (const struct listener *)source;
    (void)events;
    if (!have_memory()) {
        recv(port->fd, NULL, 0, MSG_DONTWAIT);
        return;
    }
    for (int i = 0; i < AT_ONCE; i++)
        if (!receive_one(port))
            return;
}

/* From the address that the client has asked. */
static void send_back(const struct flow *flow, size_t length) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    } control = {0};
    union net_address client = flow->client;
    struct iovec part = {udp.datagram, length};
    struct msghdr head = {.msg_name = &client, .msg_namelen = address_size(&client),
                          .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes};
    struct cmsghdr *one = &control.header;
    if (client.any.sa_family == AF_INET) {
        struct in_pktinfo from = {.ipi_spec_dst = flow->place.four};
        *one = (struct cmsghdr){CMSG_LEN(sizeof from), IPPROTO_IP, IP_PKTINFO};
        memcpy(CMSG_DATA(one), &from, sizeof from);
        head.msg_controllen = CMSG_SPACE(sizeof from);
    } else {
        *one = (struct cmsghdr){CMSG_LEN(sizeof flow->place.six), IPPROTO_IPV6, IPV6_PKTINFO};
        memcpy(CMSG_DATA(one), &flow->place.six, sizeof flow->place.six);
        head.msg_controllen = CMSG_SPACE(sizeof flow->place.six);
    }
    sendmsg(flow->port->fd, &head, MSG_DONTWAIT);
}

static void answer(struct net_source *source, uint32_t events) {
    struct flow *flow = (struct flow *)source;
    (void)events;
    for (int i = 0; i < AT_ONCE; i++) {
        ssize_t length = recv(flow->fd, udp.datagram, LARGEST, MSG_DONTWAIT);
        if (length < 0 && errno == ECONNREFUSED) /* nobody listens there, for now */
            continue;
        if (length < 0)
            return;
        touch(flow);
        send_back(flow, (size_t)length);
    }
}

void udp_move(const struct listener *from, struct listener *to) {
    struct flow *next;
    for (struct flow *flow = udp.oldest; flow; flow = next) {
        next = flow->newer;
        if (flow->port != from)
            continue;
        if (to == NULL) {
            forget(flow);
            continue;
        }
        unlink_chain(flow);
        flow->port = to;
        link_chain(flow);
    }
}

int64_t udp_due(int64_t now) {
    while (udp.oldest && udp.oldest->last + SILENCE_NS <= now)
        forget(udp.oldest);
    cool();
    return udp.oldest ? udp.oldest->last + SILENCE_NS : NET_NEVER;
}

void udp_close(void) {
    while (udp.oldest)
        forget(udp.oldest);
    cool();
    if (udp.all)
        munmap(udp.datagram, MOST * sizeof *udp.all + LARGEST);
    udp.all = NULL;
    udp.datagram = NULL;
}
