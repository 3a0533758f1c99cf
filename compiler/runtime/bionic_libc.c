/* The functions of Android's libc.so that a library may use: all of them are in every 64-bit Android (API level 21).
 *
 * zig has no bionic. Linking against this stub records libc.so as needed, lets the device's own libc complete the
 * library, and turns any other undefined function into an error here instead of there. Only the names matter.
 */
#define STUB(name) void name(void) {}

STUB(abort)
STUB(clock_gettime)
STUB(free)
STUB(memcmp)
STUB(memcpy)
STUB(memmove)
STUB(memset)
STUB(posix_memalign)
STUB(pthread_create)
STUB(pthread_join)
STUB(strlen)
STUB(syscall)
