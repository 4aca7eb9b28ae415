/* Fetch http://HOST/page and print its body: as most programs do, with the descriptor in an epoll set before
 * it is connected (-e), or by io_uring where that is to be had (-u, built with -DURING). */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef URING
#include <liburing.h>
#endif

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int plain(const struct addrinfo *to, const char *request)
{
    int s = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0 || connect(s, to->ai_addr, to->ai_addrlen) || write(s, request, strlen(request)) < 0)
        fail("connect");
    return s;
}

static int polled(const struct addrinfo *to, const char *request)
{
    int s = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0), set = epoll_create1(0), error;
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    if (s < 0 || set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, s, &event))
        fail("epoll");
    if (connect(s, to->ai_addr, to->ai_addrlen) && errno != EINPROGRESS)
        fail("connect");
    socklen_t size = sizeof error;
    for (;;) {
        if (epoll_wait(set, &event, 1, 20000) != 1)
            fail("epoll_wait");
        getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            errno = error;
            fail("connect");
        }
        if (event.events & EPOLLOUT && write(s, request, strlen(request)) > 0)
            break;
    }
    /* The registration holds on for what comes. */
    event.events = EPOLLIN;
    if (epoll_ctl(set, EPOLL_CTL_MOD, s, &event) || epoll_wait(set, &event, 1, 20000) != 1)
        fail("epoll_wait");
    return s;
}

#ifdef URING
static int by_ring(const struct addrinfo *to, const char *request)
{
    struct io_uring ring;
    int error = io_uring_queue_init(4, &ring, 0);
    if (error < 0) {
        fprintf(stderr, "no ring: %s\n", strerror(-error));
        return plain(to, request);
    }
    int s = socket(to->ai_family, SOCK_STREAM, 0);
    for (int step = 0; step < 2; step++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        struct io_uring_cqe *cqe;
        if (step == 0)
            io_uring_prep_connect(sqe, s, to->ai_addr, to->ai_addrlen);
        else
            io_uring_prep_send(sqe, s, request, strlen(request), 0);
        io_uring_submit(&ring);
        if (io_uring_wait_cqe(&ring, &cqe))
            fail("io_uring");
        if (cqe->res < 0) {
            errno = -cqe->res;
            fail("connect");
        }
        io_uring_cqe_seen(&ring, cqe);
    }
    fprintf(stderr, "by the ring\n");
    return s;
}
#endif

int main(int argc, char **argv)
{
    const char *host = argv[argc - 1];
    struct addrinfo *to, hints = {.ai_socktype = SOCK_STREAM};
    int error = getaddrinfo(host, "80", &hints, &to);
    if (error) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
        return 1;
    }
    char request[512], answer[4096];
    snprintf(request, sizeof request, "GET /page HTTP/1.0\r\nHost: %s\r\n\r\n", host);
    int s;
    if (argc > 2 && !strcmp(argv[1], "-e"))
        s = polled(to, request);
#ifdef URING
    else if (argc > 2 && !strcmp(argv[1], "-u"))
        s = by_ring(to, request);
#endif
    else
        s = plain(to, request);
    size_t length = 0;
    while (length < sizeof answer - 1) {
        ssize_t got = read(s, answer + length, sizeof answer - 1 - length);
        if (got < 0 && errno == EAGAIN)
            continue;
        if (got < 0)
            fail("read");
        if (got == 0)
            break;
        length += got;
    }
    answer[length] = 0;
    char *body = strstr(answer, "\r\n\r\n");
    if (!body)
        return 1;
    fputs(body + 4, stdout);
    return 0;
}
