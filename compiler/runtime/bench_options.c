#include "bench_options.h"

#include <stddef.h>

#include "bench_common.h"
#include "pool.h"

static const Option known[] = {
    BENCH_COMMON_OPTIONS,
    {"--threads", offsetof(Options, threads), OPTION_NUMBER, 1, MNV3C_POOL_MAX_THREADS, "N  threads (default 1)"},
    {"--cpu", offsetof(Options, cpu), OPTION_NUMBER, 0, 1023, "N  run on CPU N only, with T threads on N to N+T-1"},
};

static const OptionTable table = {
    known, sizeof(known) / sizeof(known[0]), "Exit status: 0 done, 1 the check or a run failed, 2 wrong usage or file."};

Options bench_parse_options(int count, char** arguments)
{
    Options options = BENCH_DEFAULTS;
    option_table_parse(&table, count, arguments, &options);
    bench_reject_contradictions(&options);
    return options;
}
