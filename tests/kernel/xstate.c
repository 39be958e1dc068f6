/* Preloaded into user-mode Linux: makes its PTRACE_SETREGSET of the processor's extended state whole.

   User-mode Linux 6.1 saves and restores the first 2696 bytes of that state, which is all up to AVX-512. A host whose
   processor has more (AMX: 11008 bytes) takes only the whole: xstateregs_set() in arch/x86/kernel/fpu/regset.c. What
   lies beyond is left out of the header's bitmap, so zeros will do for it. */
#include <cpuid.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

static char whole[1 << 16];

static unsigned host_size(void) {
    unsigned eax, size, ecx, edx;
    __cpuid_count(0xd, 0, eax, size, ecx, edx); /* ebx: the size for what the kernel has enabled */
    return size;
}

/* As in glibc, the three PEEK requests return what they have read. */
long ptrace(enum __ptrace_request request, ...) {
    va_list rest;
    va_start(rest, request);
    long pid = va_arg(rest, int);
    void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
    va_end(rest);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        long value, failed = syscall(SYS_ptrace, request, pid, address, &value);
        return failed ? failed : value;
    }
    struct iovec *part = data, larger = {whole, host_size()};
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE && part->iov_len < larger.iov_len &&
        larger.iov_len <= sizeof whole) {
        memcpy(whole, part->iov_base, part->iov_len);
        data = &larger;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
