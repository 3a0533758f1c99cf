/* Permission for the tile registers of x86_64 (AMX): Linux gives a process the 8 KiB that they take only on request. */
#ifndef MNV3C_TILES_H
#define MNV3C_TILES_H

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>

/* 0, or -1 where the kernel or the CPU has no tiles. */
static inline int mnv3c_allow_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 }; /* asm/prctl.h, since Linux 5.16 */
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 ? 0 : -1;
}
#else
static inline int mnv3c_allow_tiles(void)
{
    return -1;
}
#endif

#endif
