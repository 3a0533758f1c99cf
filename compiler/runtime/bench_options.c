#include "bench_options.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "pool.h"

_Noreturn void bench_die(int status, const char* format, ...)
{
    va_list values;
    va_start(values, format);
    fprintf(stderr, "%s-bench: ", mnv3c_network.name);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(status);
}

typedef struct {
    const char* name;
    size_t offset;  /* of the field in Options */
    enum { FLAG, NUMBER, TEXT } type;
    long least, most;
    const char* help;
} Option;

static const Option known[] = {
    {"--runs", offsetof(Options, runs), NUMBER, 0, 1000000, "N  timed runs (default 50); 0: run once, time nothing"},
    {"--warmup", offsetof(Options, warmup), NUMBER, 0, 1000000, "N  runs before the timed ones (default 10)"},
    {"--threads", offsetof(Options, threads), NUMBER, 1, MNV3C_POOL_MAX_THREADS, "N  threads (default 1)"},
    {"--cpu", offsetof(Options, cpu), NUMBER, 0, 1023, "N  run on CPU N only, with T threads on N to N+T-1"},
    {"--profile", offsetof(Options, profile), FLAG, 0, 0, "  time each layer"},
    {"--check", offsetof(Options, check), FLAG, 0, 0, "  run once and compare with the stored outputs; exit 1 if they differ"},
    {"--json", offsetof(Options, json), FLAG, 0, 0, "  print one JSON object"},
    {"--input", offsetof(Options, input), TEXT, 0, 0, "FILE  raw little-endian float32 (default: built-in numbers)"},
    {"--output", offsetof(Options, output), TEXT, 0, 0, "FILE  write the outputs there, raw little-endian float32"},
};
enum { KNOWN = sizeof(known) / sizeof(known[0]) };

static void print_help(void)
{
    printf("usage: %s-bench [OPTION]...\nRuns the compiled network %s, times it and checks it.\n\n", mnv3c_network.name,
           mnv3c_network.name);
    for (int i = 0; i < KNOWN; ++i)
        printf("  %s %s\n", known[i].name, known[i].help);
    printf("  --help   print this\n\nExit status: 0 done, 1 the check or a run failed, 2 wrong usage or file.\n");
}

static int parse_number(const Option* option, const char* text)
{
    char* end = NULL;
    const long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < option->least || number > option->most)
        bench_die(EXIT_USAGE, "%s takes a number from %ld to %ld, not \"%s\"", option->name, option->least, option->most,
                  text);
    return (int)number;
}

/* Finds the option that `argument` names, as "--name" or "--name=value". */
static const Option* find(const char* argument)
{
    const size_t length = strcspn(argument, "=");
    for (int i = 0; i < KNOWN; ++i)
        if (strlen(known[i].name) == length && strncmp(known[i].name, argument, length) == 0)
            return &known[i];
    bench_die(EXIT_USAGE, "unknown option %s (see --help)", argument);
}

static void store(Options* options, const Option* option, const char* value)
{
    char* field = (char*)options + option->offset;
    if (option->type == TEXT)
        memcpy(field, &value, sizeof(value));
    else
        *(int*)(void*)field = option->type == FLAG ? 1 : parse_number(option, value);
}

static void reject_contradictions(const Options* options)
{
    if (options->check && options->input != NULL)
        bench_die(EXIT_USAGE, "--check compares the built-in input's outputs: leave --input out");
    if (options->check && options->profile)
        bench_die(EXIT_USAGE, "--check times nothing: leave --profile out");
    if (options->profile && options->runs == 0)
        bench_die(EXIT_USAGE, "--profile needs --runs 1 or more");
}

Options bench_parse_options(int count, char** arguments)
{
    Options options = {.runs = 50, .warmup = 10, .threads = 1, .cpu = -1};
    for (int i = 1; i < count; ++i) {
        if (strcmp(arguments[i], "--help") == 0) {
            print_help();
            exit(EXIT_SUCCESS);
        }
        const Option* option = find(arguments[i]);
        const char* value = strchr(arguments[i], '=');
        if (option->type == FLAG && value != NULL)
            bench_die(EXIT_USAGE, "%s takes no value", option->name);
        if (option->type != FLAG) {
            value = value != NULL ? value + 1 : ++i < count ? arguments[i] : NULL;
            if (value == NULL)
                bench_die(EXIT_USAGE, "%s needs a value", option->name);
        }
        store(&options, option, value);
    }
    reject_contradictions(&options);
    return options;
}
