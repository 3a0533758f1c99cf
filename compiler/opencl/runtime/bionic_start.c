/* The start of a program on Android: what bionic's own crtbegin.c does. zig has none. */
#include <stddef.h>

int main(int count, char** arguments);

/* Lists that only statically linked programs have; the dynamic linker runs constructors by itself. */
typedef struct {
    void (**preinit)(void);
    void (**init)(void);
    void (**fini)(void);
} Structors;

_Noreturn void __libc_init(void* arguments, void (*at_exit)(void), int (*program)(int, char**), const Structors* lists);

__attribute__((used)) _Noreturn void mnv3c_start(void* arguments)
{
    static const Structors none = {NULL, NULL, NULL};
    __libc_init(arguments, NULL, main, &none);
}

/* The kernel leaves the arguments on the stack; zeros end the chain of frames. */
#if defined(__aarch64__)
__asm__(".globl _start\n_start: mov x29, #0\nmov x30, #0\nmov x0, sp\nb mnv3c_start\n");
#elif defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp\nmov %rsp, %rdi\nand $-16, %rsp\ncall mnv3c_start\n");
#endif
