/* errno as the headers of musl, which this is compiled with, reach it; on Android it is bionic that has it. */
int* __errno(void);
int* __errno_location(void);

__attribute__((visibility("hidden"))) int* __errno_location(void)
{
    return __errno();
}
