/* The command line of NAME-bench. */
#ifndef MNV3C_BENCH_OPTIONS_H
#define MNV3C_BENCH_OPTIONS_H

#include "option_table.h"

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

/* What every bench takes: the first rows of its table, for Options or a struct that begins with one. */
#define BENCH_COMMON_OPTIONS                                                                                        \
    {"--runs", offsetof(Options, runs), OPTION_NUMBER, 0, 1000000,                                                  \
     "N  timed runs (default 50); 0: run once, time nothing"},                                                      \
    {"--warmup", offsetof(Options, warmup), OPTION_NUMBER, 0, 1000000,                                              \
     "N  runs before the timed ones (default 10)"},                                                                 \
    {"--profile", offsetof(Options, profile), OPTION_FLAG, 0, 0, "  time each layer"},                              \
    {"--check", offsetof(Options, check), OPTION_FLAG, 0, 0,                                                        \
     "  run once and compare with the stored outputs; exit 1 if they differ"},                                      \
    {"--json", offsetof(Options, json), OPTION_FLAG, 0, 0, "  print one JSON object"},                              \
    {"--input", offsetof(Options, input), OPTION_TEXT, 0, 0,                                                        \
     "FILE  raw little-endian float32 (default: built-in numbers)"},                                                \
    {"--output", offsetof(Options, output), OPTION_TEXT, 0, 0,                                                      \
     "FILE  write the outputs there, raw little-endian float32"}

#define BENCH_DEFAULTS {.runs = 50, .warmup = 10, .threads = 1, .cpu = -1}

/* Parses as option_table_parse does. */
Options bench_parse_options(int count, char** arguments);

#endif
