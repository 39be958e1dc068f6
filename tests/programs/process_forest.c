// process_forest N MIN MAX: N idle processes whose argv looks like a JVM's, of MIN to MAX bytes each, until it is killed.
// Half are "java", half "worker"; every tenth runs as uid 12345; process i holds -Dservice.id=svc-0000i. Each has an
// environment of 2 KB besides.
// Needs root and a pid namespace of its own: unshare --pid --fork --kill-child --mount-proc process_forest 10000 4096 16384
// 10,000 take about 3 s and 1 GB; 30,000 about 8 s and 3 GB (first: sysctl -w kernel.pid_max=200000).
#define _GNU_SOURCE
#include <linux/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { AREA = 1 << 17, LONGEST = 65000, ENVIRONMENT = 2000 };

static char *put(char *at, const char *text) {
    size_t size = strlen(text) + 1;
    memcpy(at, text, size);
    return at + size;
}

// PR_SET_MM_MAP replaces the whole map at once, and needs no CAP_SYS_RESOURCE, unlike PR_SET_MM_ARG_START.
static struct prctl_mm_map own_map(void) {
    char text[2048];
    FILE *file = fopen("/proc/self/stat", "r");
    if (!file) exit(9);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    unsigned long field[64] = {0};
    int number = 2;
    for (char *word = strtok(strrchr(text, ')') + 2, " "); word && number < 60; word = strtok(0, " "))
        field[++number] = strtoul(word, 0, 10);
    return (struct prctl_mm_map){
        .start_code = field[26], .end_code = field[27], .start_stack = field[28], .start_data = field[45],
        .end_data = field[46], .start_brk = field[47], .brk = (unsigned long)sbrk(0), .exe_fd = -1};
}

static void become(int i, int padding, const char *pad, char *area, struct prctl_mm_map map) {
    int other_user = i % 10 == 0, java = i % 2 == 0;
    char id[64];
    snprintf(id, sizeof id, "-Dservice.id=svc-%05d", i);
    char *end = put(area, java ? "/usr/lib/jvm/java-17/bin/java" : "/opt/app/bin/worker");
    end = put(end, id);
    memcpy(end, pad, padding);
    end += padding;
    *end++ = 0;
    end = put(end, "com.example.Main");
    map.arg_start = (unsigned long)area;
    map.arg_end = map.env_start = (unsigned long)end;
    end = put(end, "LANG=C.UTF-8");
    end = put(end, "JAVA_TOOL_OPTIONS=");
    memset(end - 1, '-', ENVIRONMENT);
    end += ENVIRONMENT;
    end[-1] = 0;
    map.env_end = (unsigned long)end;
    if (other_user && setgid(12345)) _exit(9);
    if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0)) {
        if (i < 1) perror("PR_SET_MM_MAP");
        _exit(9);
    }
    prctl(PR_SET_NAME, java ? "java" : "worker");
    if (other_user && setuid(12345)) _exit(9);
    prctl(PR_SET_DUMPABLE, 1);              // setuid has made its /proc entry root's
    prctl(PR_SET_PDEATHSIG, SIGKILL);       // setuid has cleared an earlier one
    for (;;) pause();
}

int main(int argc, char **argv) {
    if (argc != 4) { fprintf(stderr, "usage: process_forest N MIN MAX\n"); return 2; }
    int count = atoi(argv[1]), least = atoi(argv[2]), most = atoi(argv[3]);
    if (most > LONGEST) most = LONGEST;
    char *pad = malloc(most + 1);
    for (int i = 0; i < most; i++) pad[i] = "/opt/app/lib/some-library-1.2.3.jar:"[i % 36];
    char *area = mmap(0, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct prctl_mm_map map = own_map();
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0) { perror("fork"); return 1; }
        if (child == 0) become(i, least + (int)((long)(most - least) * (i % 97) / 96), pad, area, map);
    }
    printf("ready (pid: %d)\n", (int)getpid());
    fflush(stdout);
    for (;;) pause();
}
