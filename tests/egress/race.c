/* Connect COUNT times while a second thread changes what is connected, or where to; and on for up to SECONDS
 * as long as all tries had the same end, which was no race yet.
 *
 *     race address|descriptor ALLOWED OTHER PORT COUNT SECONDS
 *
 * `address`: it writes the one and the other address into the structure that connect(2) is given.
 * `descriptor`: it puts one socket and another at the descriptor's number: a fresh one, one that is connected
 * to ALLOWED, one of UDP, one of Unix. ALLOWED and OTHER are connected to by turns.
 * Prints how many tries connected and how many were refused. Who was really reached is for others to say: the
 * servers' side is watched. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static volatile struct sockaddr_in address = {.sin_family = AF_INET};
static in_addr_t allowed, other;
static volatile int over;
static int slot, sockets[4]; /* the first one is made anew each time */

static void *rewrite(void *unused)
{
    for (unsigned n = 0; !over; n++)
        address.sin_addr.s_addr = n % 2 ? allowed : other;
    return unused;
}

static int stream(void)
{
    /* Closed with a reset, so that no port stays taken. */
    struct linger linger = {1, 0};
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0 || setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof linger)) {
        perror("socket");
        exit(1);
    }
    return s;
}

static void *swap(void *unused)
{
    for (unsigned n = 0; !over; n++) {
        if (n % 4)
            dup2(sockets[n % 4], slot);
        else {
            int s = stream();
            dup2(s, slot);
            close(s);
        }
    }
    return unused;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    int swaps = !strcmp(argv[1], "descriptor");
    allowed = inet_addr(argv[2]);
    other = inet_addr(argv[3]);
    address.sin_port = htons(atoi(argv[4]));
    long count = atol(argv[5]), connected = 0, refused = 0;
    pthread_t second;
    if (swaps) {
        address.sin_addr.s_addr = allowed;
        sockets[1] = stream();
        if (connect(sockets[1], (struct sockaddr *)&address, sizeof address)) {
            perror("connect");
            return 1;
        }
        sockets[2] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockets[3] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        slot = stream();
    }
    pthread_create(&second, NULL, swaps ? swap : rewrite, NULL);
    time_t end = time(NULL) + atol(argv[6]);
    for (long n = 0; n < count || ((!connected || !refused) && time(NULL) < end); n++) {
        int s = swaps ? slot : stream();
        if (swaps)
            address.sin_addr.s_addr = n % 2 ? allowed : other;
        if (connect(s, (struct sockaddr *)&address, sizeof address) == 0) {
            connected++;
            send(s, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else if (errno == ECONNREFUSED || errno == ECONNRESET || errno == EISCONN || errno == EAGAIN
                   || errno == ECONNABORTED || errno == EAFNOSUPPORT || errno == EINVAL) {
            refused++;
        } else {
            perror("connect");
            return 1;
        }
        if (!swaps)
            close(s);
    }
    over = 1;
    pthread_join(second, NULL);
    printf("%ld connected, %ld refused\n", connected, refused);
    return 0;
}
