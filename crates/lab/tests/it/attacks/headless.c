// A program whose second thread asks for an identity; with `ends` its first thread has ended by then.
#include "ask.h"
#include <pthread.h>

static void *ask(void *unused) {
    (void)unused;
    usleep(200000);
    int s = open_socket(SOCK_CLOEXEC, 5);
    if (dial(s, getenv("SOCKET"))) exit(1);
    send_question(s);
    // The settings come with any answer; a connection that is dropped ends at once.
    char first;
    if (recv(s, &first, 1, MSG_PEEK) == 1) dprintf(1, "answered\n");
    exit(!read_answer(s));
}

int main(int count, char **arguments) {
    (void)arguments;
    pthread_t thread;
    if (pthread_create(&thread, 0, ask, 0)) return 2;
    if (count > 1) pthread_exit(0);
    pthread_join(thread, 0);
}
