// deaf: ignores TERM, at the price of a program in C: a thousand of them fit a small machine.
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    signal(SIGTERM, SIG_IGN);
    printf("ready (pid: %d)\n", (int)getpid());
    fflush(stdout);
    for (;;) pause();
}
