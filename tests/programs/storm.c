/* storm CHAINS MICROSECONDS BOUND: a main process that forks a child every MICROSECONDS, which ends as soon, and CHAINS
 * processes in sessions of their own, each of which forks its successor every MICROSECONDS and ends. After BOUND forks
 * in all nobody forks any more, and whoever lives then lives on. A dot on stdout for each fork. TERM ends each of them.
 * Where somebody has ended the main process and missed the others, these end 3 s later: nothing rages on after a test.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static atomic_int *left;
static atomic_long *orphaned; /* since when, in seconds */
static pid_t main_pid;

/* Ends a process whose main process has been gone for too long. */
static void outlive_main_for_a_while(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long none = 0;
    if (kill(main_pid, 0) != 0 && !atomic_compare_exchange_strong(orphaned, &none, now.tv_sec) && now.tv_sec - none > 3)
        _exit(0);
}

/* Forks where that is still allowed: 0 in the child, -1 where it is not. */
static int fork_within_bound(void) {
    return atomic_fetch_sub(left, 1) > 0 && write(1, ".", 1) == 1 ? fork() : -1;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    int chains = atoi(argv[1]);
    useconds_t pause_for = atoi(argv[2]);
    left = mmap(NULL, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *left = atoi(argv[3]);
    orphaned = mmap(NULL, sizeof *orphaned, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    main_pid = getpid();
    signal(SIGCHLD, SIG_IGN);
    for (int number = 0; number < chains; number++)
        if (fork_within_bound() == 0) {
            setsid();
            for (;;) {
                usleep(pause_for);
                outlive_main_for_a_while();
                if (fork_within_bound() > 0)
                    _exit(0);
            }
        }
    printf("ready (pid: %d)\n", getpid());
    fflush(stdout);
    for (;;) {
        usleep(pause_for);
        if (fork_within_bound() == 0) {
            usleep(pause_for);
            _exit(0);
        }
    }
}
