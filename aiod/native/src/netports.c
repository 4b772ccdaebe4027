#define _GNU_SOURCE
#include "netproxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE = 256, BACKLOG = 4096 };

/* ---- the file ---- */

static bool read_address(const char *text, unsigned port, union net_address *address) {
    memset(address, 0, sizeof *address);
    if (port > 0xFFFF)
        return false;
    if (inet_pton(AF_INET, text, &address->four.sin_addr) == 1) {
        address->four.sin_family = AF_INET;
        address->four.sin_port = htons((uint16_t)port);
        return true;
    }
    address->six.sin6_family = AF_INET6;
    address->six.sin6_port = htons((uint16_t)port);
    return inet_pton(AF_INET6, text, &address->six.sin6_addr) == 1;
}

/* Whether the line is a port: those that begin with another word are for later releases. */
static int read_line(const char *line, struct listener *port) {
    char protocol[8], host[64], container[64];
    unsigned from, to;
    if (sscanf(line, "%7s", protocol) != 1 ||
        (strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0))
        return 0;
    if (sscanf(line, "%*s %63s %u %63s %u", host, &from, container, &to) != 4)
        return -EINVAL;
    *port = (struct listener){.fd = -1, .datagrams = protocol[0] == 'u'};
    if (!read_address(host, from, &port->host) || !read_address(container, to, &port->container))
        return -EINVAL;
    return 1;
}

static int read_lines(const char *text, size_t size, struct listener *ports, size_t *count) {
    char line[LINE];
    for (const char *end = text + size; text < end;) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((stop ? stop : end) - text);
        if (length >= sizeof line)
            return -EINVAL;
        memcpy(line, text, length);
        line[length] = 0;
        int found = read_line(line, &ports[*count]);
        if (found < 0)
            return found;
        *count += (size_t)found;
        text += length + 1;
    }
    return 0;
}

static size_t lines_of(const char *text, size_t size) {
    size_t lines = 1;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    return lines;
}

/* At least a byte, as nothing cannot be mapped. */
static struct listener *room_for(size_t count) {
    void *room = mmap(NULL, count * sizeof(struct listener) + 1, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return room == MAP_FAILED ? NULL : room;
}

static int read_text(const char *text, size_t size, struct listener **ports, size_t *count) {
    size_t most = lines_of(text, size), used = 0;
    struct listener *whole = room_for(most), *fitting = NULL;
    int result = whole ? read_lines(text, size, whole, &used) : -ENOMEM;
    if (result == 0 && (fitting = room_for(used)) == NULL)
        result = -ENOMEM;
    if (result == 0)
        memcpy(fitting, whole, used * sizeof *whole);
    if (whole)
        ports_free(whole, most);
    *ports = fitting;
    *count = used;
    return result;
}

int ports_read(const char *path, struct listener **ports, size_t *count) {
    struct stat state;
    int fd = open(path, O_RDONLY | O_CLOEXEC), result = 0;
    if (fd < 0)
        return -errno;
    if (fstat(fd, &state) < 0)
        result = -errno;
    size_t size = result == 0 ? (size_t)state.st_size : 0;
    const char *text = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : "";
    if (text == MAP_FAILED)
        result = -errno;
    if (result == 0)
        result = read_text(text, size, ports, count);
    if (size && text != MAP_FAILED)
        munmap((void *)text, size);
    close(fd);
    return result;
}

void ports_free(struct listener *ports, size_t count) {
    munmap(ports, count * sizeof *ports + 1);
}

/* ---- the host's sockets ---- */

/* As Go says it, and so dockerd's users know it. */
static int fail(const struct listener *port, int error, const char *step) {
    char text[INET6_ADDRSTRLEN];
    const char *protocol = port->datagrams ? "udp" : "tcp";
    if (port->host.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &port->host.four.sin_addr, text, sizeof text);
        return net_fail(error, "listen %s4 %s:%d: %s", protocol, text,
                        ntohs(port->host.four.sin_port), step);
    }
    inet_ntop(AF_INET6, &port->host.six.sin6_addr, text, sizeof text);
    return net_fail(error, "listen %s6 [%s]:%d: %s", protocol, text,
                    ntohs(port->host.six.sin6_port), step);
}

static int set(int fd, int level, int option) {
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof one);
}

static int prepare(const struct listener *port) {
    int fd = port->fd, result = 0;
    bool six = port->host.any.sa_family == AF_INET6;
    if (six)
        result |= set(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (port->datagrams && six) /* so that answers come from the address that was asked */
        result |= set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
    else if (port->datagrams)
        result |= set(fd, IPPROTO_IP, IP_PKTINFO);
    else
        result |= set(fd, SOL_SOCKET, SO_REUSEADDR) | set(fd, IPPROTO_TCP, TCP_NODELAY);
    return result < 0 ? -errno : 0;
}

static int attach(const struct listener *port) {
    int result = prepare(port);
    if (result < 0)
        return fail(port, result, "set socket options");
    if (bind(port->fd, &port->host.any, address_size(&port->host)) < 0)
        return fail(port, -errno, "bind");
    if (!port->datagrams && listen(port->fd, BACKLOG) < 0)
        return fail(port, -errno, "bind");
    return 0;
}

int port_open(struct listener *port) {
    int type = port->datagrams ? SOCK_DGRAM : SOCK_STREAM;
    int fd = net_socket(false, port->host.any.sa_family, type, 0);
    if (fd < 0)
        return fail(port, fd, "socket");
    port->fd = fd;
    int result = attach(port);
    if (result < 0) {
        close(port->fd);
        port->fd = -1;
    }
    return result;
}
