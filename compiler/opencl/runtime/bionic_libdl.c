/* The same for Android's libdl.so: see bionic_libc.c of the runtime for CPUs. */
#define STUB(name) void name(void) {}

STUB(dlclose)
STUB(dlopen)
STUB(dlsym)
