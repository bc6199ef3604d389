// Connects, runs the attested program TARGET in the process that connected, and reads the answer in the parent.
//
// argv: MODE ROUNDS. `kept`: both have the socket. `closed`: the attested program's copy is closed by its exec. `parked`: while
// the agent looks, the parent's copy is on its way from the parent to itself, in no table of descriptors. `thread`: the attested
// program takes its copy for its own, and the parent's is in a table that one of its threads has alone.
#include "ask.h"
#include <pthread.h>
#include <sched.h>
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

static volatile int apart;

static void *ask_apart(void *socket) {
    int s = *(int *)socket;
    if (unshare(CLONE_FILES)) perror("unshare");
    apart = 1;
    // Until the attested program has adopted its copy, and this process has closed its own.
    usleep(300000);
    send_question(s);
    return (void *)(long)read_answer(s);
}

static int read_in_a_thread(int s) {
    pthread_t thread;
    void *read = 0;
    int own = s;
    apart = 0;
    if (pthread_create(&thread, 0, ask_apart, &own)) return 0;
    while (!apart) usleep(1000);
    close(s);
    pthread_join(thread, &read);
    return (int)(long)read;
}

int main(int count, char **arguments) {
    if (count < 3) return 2;
    int won = 0, rounds = atoi(arguments[2]), closed = !strcmp(arguments[1], "closed"), parked = !strcmp(arguments[1], "parked");
    int thread = !strcmp(arguments[1], "thread");
    for (int round = 0; round < rounds; round++) {
        int s = open_socket(closed ? SOCK_CLOEXEC : 0, 2), pair[2];
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair)) return 2;
        pid_t child = vfork();
        if (!child) {
            if (dial(s, getenv("SOCKET"))) _exit(1);
            char number[12];
            snprintf(number, sizeof number, "%d", s);
            execl(getenv("TARGET"), "attested", thread ? "adopt" : "wait", number, (char *)0);
            _exit(2);
        }
        if (!thread) send_question(s);
        if (parked) {
            pass(pair[0], &s, 0);
            usleep(400000);
            pass(pair[1], &s, 1);
        }
        won += thread ? read_in_a_thread(s) : read_answer(s);
        close(s), close(pair[0]), close(pair[1]);
        kill(child, SIGKILL);
        waitpid(child, 0, 0);
    }
    printf("won %d of %d\n", won, rounds);
    return 0;
}
