/* What Android's libc.so has and glibc has not, so that a program for Android can be tried on glibc. */
#include <errno.h>
#include <stdlib.h>

int* __errno(void);
void __libc_init(void** arguments, void (*at_exit)(void), int (*program)(int, char**), const void* lists);

int* __errno(void)
{
    return &errno;
}

void __libc_init(void** arguments, void (*at_exit)(void), int (*program)(int, char**), const void* lists)
{
    (void)at_exit;
    (void)lists;
    exit(program((int)(long)arguments[0], (char**)(arguments + 1)));
}
