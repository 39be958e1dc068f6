// idle: waits for a signal, with nothing around it: an executable to copy, upgrade, delete or give a name of its own.
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("ready (pid: %d)\n", (int)getpid());
    fflush(stdout);
    for (;;) pause();
}
