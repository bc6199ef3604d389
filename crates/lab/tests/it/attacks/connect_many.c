// Opens as many connections to the agent as its argument says, asks on each, and keeps them.
#include "ask.h"
#include <signal.h>

int main(int count, char **arguments) {
    if (count < 2) return 2;
    signal(SIGPIPE, SIG_IGN);
    printf("ready started\n");
    fflush(stdout);
    // The test stops the file system that this program comes from.
    sleep(1);
    for (int left = atoi(arguments[1]); left; left--) {
        int s = open_socket(SOCK_CLOEXEC, 1);
        if (!dial(s, getenv("SOCKET"))) send_question(s);
    }
    printf("full\n");
    fflush(stdout);
    sleep(120);
    return 0;
}
