/* The command line of NAME-bench. */
#ifndef MNV3C_BENCH_OPTIONS_H
#define MNV3C_BENCH_OPTIONS_H

typedef struct {
    int runs;
    int warmup;
    int threads;
    int cpu; /* the first CPU to run on, -1 for any */
    int profile;
    int check;
    int json;
    const char* input;
    const char* output;
} Options;

enum { EXIT_USAGE = 2 };

/* Ends the program with 0 after --help, and with EXIT_USAGE and one line on stderr for anything wrong. */
Options bench_parse_options(int count, char** arguments);

/* Prints "NAME-bench: " and the message as one line on stderr and ends the program. */
_Noreturn void bench_die(int status, const char* format, ...) __attribute__((format(printf, 2, 3)));

#endif
