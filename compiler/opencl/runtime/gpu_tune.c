#include "gpu_tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_error.h"

enum { REPEATS = 5, MOST_WORK_ITEMS = 1024, LEAST_WORK_ITEMS = 16 };

/* A work-group and its distance from the compiler's. */
typedef struct {
    WorkGroup group;
    double doublings;
} Near;

typedef struct {
    Near* found;
    int count, most;
} Nearest;

/* Work-groups are made of powers of two, which fill waves of any width, and of small divisors for odd sizes. */
static int is_candidate(size_t extent, size_t size)
{
    const int power_of_two = (extent & (extent - 1)) == 0;
    return size % extent == 0 && (power_of_two || extent <= 8 || (extent == size && size <= 64));
}

/* The fastest of a few runs after a first one, since what disturbs only adds; the first one's where that is hopeless
 * already. UINT64_MAX where the device does not take the work-group. */
static uint64_t fastest(int kernel, const WorkGroup* group, uint64_t best_known_ns)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 1 + REPEATS; ++i) {
        uint64_t ns = 0;
        if (gpu_time_kernel(kernel, group, &ns) != 0)
            return UINT64_MAX;
        if (ns < best)
            best = ns;
        if (i == 0 && ns / 2 > best_known_ns)
            break;
    }
    return best;
}

static void try_group(int kernel, const WorkGroup* group, Tuned* found, WorkGroup* best)
{
    const uint64_t ns = fastest(kernel, group, found->best_ns);
    found->tried += ns != UINT64_MAX;
    if (ns < found->best_ns) {
        found->best_ns = ns;
        *best = *group;
    }
}

static int is_large_enough(const size_t* global_size, size_t work_items)
{
    return work_items >= LEAST_WORK_ITEMS || global_size[0] * global_size[1] * global_size[2] < 16 * LEAST_WORK_ITEMS;
}

/* How far a work-group is from the compiler's: in doublings along the three axes together. */
static double distance(const WorkGroup* group, const GpuKernel* kernel)
{
    double doublings = 0;
    for (int i = 0; i < 3; ++i)
        doublings += fabs(log2((double)group->size[i]) - log2((double)kernel->local_size[i]));
    return doublings;
}

/* Keeps the nearest few, in order of distance. */
static void keep_near(Nearest* nearest, const WorkGroup* group, double doublings)
{
    int place = nearest->count < nearest->most ? nearest->count++ : nearest->most;
    for (; place > 0 && nearest->found[place - 1].doublings > doublings; --place)
        if (place < nearest->most)
            nearest->found[place] = nearest->found[place - 1];
    if (place < nearest->most)
        nearest->found[place] = (Near){*group, doublings};
}

static void find_near(int kernel, size_t limit, Nearest* nearest)
{
    const GpuKernel* description = &mnv3c_gpu.kernels[kernel];
    const size_t* size = description->global_size;
    const size_t* most = gpu_device()->max_work_items;
    for (size_t x = 1; x <= size[0] && x <= most[0] && x <= limit; ++x)
        for (size_t y = 1; is_candidate(x, size[0]) && y <= size[1] && y <= most[1] && x * y <= limit; ++y)
            for (size_t z = 1; is_candidate(y, size[1]) && z <= size[2] && z <= most[2] && x * y * z <= limit; ++z)
                if (is_candidate(z, size[2]) && is_large_enough(size, x * y * z)) {
                    const WorkGroup group = {{x, y, z}};
                    const double doublings = distance(&group, description);
                    if (doublings > 0)
                        keep_near(nearest, &group, doublings);
                }
}

static int tune_kernel(int kernel, Nearest* nearest, Tuned* found)
{
    const GpuKernel* description = &mnv3c_gpu.kernels[kernel];
    WorkGroup compilers, best, drivers = {{0, 0, 0}};
    size_t limit = 0;
    memcpy(compilers.size, description->local_size, sizeof(compilers.size));
    best = compilers;
    *found = (Tuned){.best_ns = UINT64_MAX};
    try_group(kernel, &compilers, found, &best);
    found->compiler_ns = found->tried > 0 ? found->best_ns : 0;
    if (description->movable) {
        if (gpu_kernel_limit(kernel, &limit) != 0)
            return -1;
        try_group(kernel, &drivers, found, &best);
        nearest->count = 0;
        find_near(kernel, limit < MOST_WORK_ITEMS ? limit : MOST_WORK_ITEMS, nearest);
        for (int i = 0; i < nearest->count; ++i)
            try_group(kernel, &nearest->found[i].group, found, &best);
    }
    gpu_work_groups()[kernel] = best;
    return 0;
}

int gpu_tune(int tries, Tuned* found)
{
    Nearest nearest = {.found = calloc((size_t)tries, sizeof(Near)), .most = tries};
    int status = nearest.found != NULL ? 0 : gpu_fail(GPU_MISSING, "out of memory");
    for (int i = 0; i < mnv3c_gpu.kernel_count && status == 0; ++i)
        status = tune_kernel(i, &nearest, &found[i]);
    free(nearest.found);
    return status;
}
