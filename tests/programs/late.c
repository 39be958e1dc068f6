// late SECONDS: ends that long after TERM, at the price of a program in C: a thousand of them fit a small machine.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static unsigned seconds;

static void on_term(int number) {
    (void)number;
    alarm(seconds);  // SIGALRM ends it
}

int main(int argc, char **argv) {
    seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    signal(SIGTERM, on_term);
    printf("ready (pid: %d)\n", (int)getpid());
    fflush(stdout);
    for (;;) pause();
}
