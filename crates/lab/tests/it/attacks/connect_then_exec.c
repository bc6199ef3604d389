// Connects, runs the attested program TARGET in the process that connected, and reads the answer in the parent.
//
// argv: MODE ROUNDS. `kept`: both have the socket. `closed`: the attested program's copy is closed by its exec. `parked`: while
// the agent looks, the parent's copy is on its way from the parent to itself, in no table of descriptors.
#include "ask.h"
#include <signal.h>
#include <sys/wait.h>

static void pass(int over, int *descriptor, int receive) {
    char byte = 0;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (receive) {
        if (recvmsg(over, &message, MSG_CMSG_CLOEXEC) == 1) *descriptor = *(int *)CMSG_DATA(CMSG_FIRSTHDR(&message));
        return;
    }
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int));
    *(int *)CMSG_DATA(head) = *descriptor;
    if (sendmsg(over, &message, 0) == 1) close(*descriptor);
}

int main(int count, char **arguments) {
    if (count < 3) return 2;
    int won = 0, rounds = atoi(arguments[2]), closed = !strcmp(arguments[1], "closed"), parked = !strcmp(arguments[1], "parked");
    for (int round = 0; round < rounds; round++) {
        int s = open_socket(closed ? SOCK_CLOEXEC : 0, 2), pair[2];
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair)) return 2;
        pid_t child = vfork();
        if (!child) {
            if (dial(s, getenv("SOCKET"))) _exit(1);
            execl(getenv("TARGET"), "attested", "wait", (char *)0);
            _exit(2);
        }
        send_question(s);
        if (parked) {
            pass(pair[0], &s, 0);
            usleep(400000);
            pass(pair[1], &s, 1);
        }
        won += read_answer(s);
        close(s), close(pair[0]), close(pair[1]);
        kill(child, SIGKILL);
        waitpid(child, 0, 0);
    }
    printf("won %d of %d\n", won, rounds);
    return 0;
}
