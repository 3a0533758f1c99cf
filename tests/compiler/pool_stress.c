/* Launches many parallel loops, with pools of changing size and with pauses in which the workers fall asleep. */
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "pool.h"

enum { SLOTS = 16, LAUNCHES = 1000 };

static int visits[SLOTS]; /* plain memory: the pool has to order the accesses */
static _Atomic int total;

static int nested(int task, TVMParallelGroupEnv* env, void* closure)
{
    (void)task, (void)env, (void)closure;
    atomic_fetch_add(&total, 1);
    return 0;
}

static int visit(int task, TVMParallelGroupEnv* env, void* closure)
{
    const int failing = *(const int*)closure;
    visits[task] += env->num_task;
    if (mnv3c_pool_launch(nested, NULL, 2) != 0)
        return 1;
    return task == failing ? 42 : 0;
}

static int launch(int threads, int num_task, int failing)
{
    const int tasks = num_task > 0 ? num_task : threads;
    for (int i = 0; i < SLOTS; ++i)
        visits[i] = 0;
    atomic_store(&total, 0);
    const int code = mnv3c_pool_launch(visit, &failing, num_task);
    for (int i = 0; i < SLOTS; ++i)
        if (visits[i] != (i < tasks ? tasks : 0))
            return -1;
    return total == 2 * tasks && code == (failing < tasks ? 42 : 0) ? 0 : -1;
}

int main(void)
{
    const int sizes[] = {4, 1, 2, 4, 3, 8, 4};
    for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); ++s) {
        if (mnv3c_pool_resize(sizes[s]) != 0)
            return 1;
        for (int i = 0; i < LAUNCHES; ++i) {
            if (i % 100 == 0)
                nanosleep(&(struct timespec){0, 2000000}, NULL);
            mnv3c_pool_expect_jobs(i / 50 % 2); /* awake and drowsy workers, and changes between the two */
            if (launch(sizes[s], i % SLOTS, i % 7 == 0 ? i % 3 : SLOTS) != 0) {
                printf("launch %d with %d threads went wrong\n", i, sizes[s]);
                return 1;
            }
        }
    }
    mnv3c_pool_expect_jobs(0);
    for (int i = 0; i < 50; ++i)
        if (mnv3c_pool_resize(1 + i % 4) != 0)
            return 1;
    if (mnv3c_pool_resize(65) != -1 || mnv3c_pool_resize(0) != -1)
        return 1;
    puts("done");
    return 0;
}
