/* The thread pool: workers spin while a network runs, because the next parallel loop is microseconds away, then sleep.
 *
 * A launch writes the job, sets `pending` to the number of workers and steps `generation`; every worker does its share
 * and counts `pending` down. Both words are futexes. Who sleeps on one first announces itself in a counter and then looks
 * at the word again; who changes the word looks at the counter afterwards. All four accesses are sequentially
 * consistent, so at least one side sees the other and no wake-up is lost.
 *
 * Only pthread_create, pthread_join and syscall are needed from libc, with nothing but pointers and integers passed:
 * this is what glibc, musl and Android's bionic agree on.
 */
#include "pool.h"

#include "float_mode.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A pause takes about 40 to 140 cycles on x86 and only a few elsewhere. SPINS are tens of microseconds: the gap between
 * two runs of a busy program. RUN_SPINS are about a millisecond: the longest layer that one thread computes alone.
 * With more threads than CPUs, spinning would only keep the others from working. */
#if defined(__x86_64__)
enum { SPINS = 1000, RUN_SPINS = 30000 };
#else
enum { SPINS = 10000, RUN_SPINS = 300000 };
#endif
enum { CROWDED_SPINS = 50 };

typedef struct {
    _Alignas(64) _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
} Signal; /* alone on its cache line */

static Signal generation; /* steps with every job */
static Signal pending;    /* workers that have not finished the job */

/* The job: written by the launcher before `generation` steps, read by the workers after. */
static TVMParallelLambda* job_lambda; /* NULL sends the workers home */
static void* job_closure;
static int job_tasks;
static int job_running;
static _Atomic int job_failure;

static int thread_count = 1;
static uint32_t first_generation; /* what the workers of this pool have already seen */
static pthread_t workers[MNV3C_POOL_MAX_THREADS];

static _Atomic int run_active; /* a network is running: more jobs will come */
static int crowded;            /* more threads than CPUs that they may use */

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static void wake(Signal* signal)
{
    if (atomic_load(&signal->sleepers) > 0)
        syscall(SYS_futex, &signal->value, FUTEX_WAKE_PRIVATE, MNV3C_POOL_MAX_THREADS, NULL, NULL, 0);
}

static int spin_limit(void)
{
    if (crowded)
        return CROWDED_SPINS;
    return atomic_load_explicit(&run_active, memory_order_relaxed) ? RUN_SPINS : SPINS;
}

/* Returns the new value once it differs from `old`. */
static uint32_t wait_for_change(Signal* signal, uint32_t old)
{
    for (int spin = 0; spin < spin_limit(); ++spin) {
        const uint32_t now = atomic_load_explicit(&signal->value, memory_order_acquire);
        if (now != old)
            return now;
        relax();
    }
    uint32_t now;
    atomic_fetch_add(&signal->sleepers, 1);
    while ((now = atomic_load(&signal->value)) == old)
        syscall(SYS_futex, &signal->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&signal->sleepers, 1);
    return now;
}

/* Thread t takes the t-th share of the tasks, one after the other: neighbours read neighbouring memory. */
static void run_share(int thread, int threads)
{
    TVMParallelGroupEnv env = {.sync_handle = NULL, .num_task = job_tasks};
    const int end = (int)((int64_t)job_tasks * (thread + 1) / threads);
    for (int task = (int)((int64_t)job_tasks * thread / threads); task < end; ++task) {
        const int code = job_lambda(task, &env, job_closure);
        if (code != 0)
            atomic_store(&job_failure, code);
    }
}

static void* work(void* index)
{
    uint32_t seen = first_generation;
    mnv3c_set_float_mode(mnv3c_flushing(mnv3c_float_mode()));
    for (;;) {
        seen = wait_for_change(&generation, seen);
        if (job_lambda == NULL)
            return NULL;
        run_share((int)(intptr_t)index, thread_count);
        if (atomic_fetch_sub(&pending.value, 1) == 1)
            wake(&pending);
    }
}

static void publish_job(void)
{
    atomic_fetch_add(&generation.value, 1);
    wake(&generation);
}

static void send_home(int worker_count)
{
    job_lambda = NULL;
    publish_job();
    for (int i = 1; i <= worker_count; ++i)
        pthread_join(workers[i], NULL);
}

/* CPUs that this process may use, from the kernel itself: libcs disagree about sysconf's numbers. 0 where it fails. */
static int usable_cpus(void)
{
    unsigned long mask[128]; /* filled as far as the result says */
    const long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    int count = 0;
    for (long i = 0; i < bytes / (long)sizeof mask[0]; ++i)
        for (unsigned long bits = mask[i]; bits != 0; bits &= bits - 1)
            ++count;
    return count;
}

void mnv3c_pool_expect_jobs(int expected)
{
    atomic_store_explicit(&run_active, expected, memory_order_relaxed);
}

int mnv3c_pool_resize(int threads)
{
    crowded = usable_cpus() > 0 && threads > usable_cpus();
    if (threads == thread_count)
        return 0;
    if (thread_count > 1)
        send_home(thread_count - 1);
    thread_count = 1;
    if (threads < 1 || threads > MNV3C_POOL_MAX_THREADS)
        return -1;

    first_generation = atomic_load(&generation.value);
    for (int i = 1; i < threads; ++i) {
        if (pthread_create(&workers[i], NULL, work, (void*)(intptr_t)i) != 0) {
            send_home(i - 1);
            return -1;
        }
    }
    thread_count = threads;
    return 0;
}

static int run_alone(TVMParallelLambda* lambda, void* closure, int tasks)
{
    TVMParallelGroupEnv env = {.sync_handle = NULL, .num_task = tasks};
    int failure = 0;
    for (int task = 0; task < tasks; ++task) {
        const int code = lambda(task, &env, closure);
        if (code != 0)
            failure = code;
    }
    return failure;
}

int mnv3c_pool_launch(TVMParallelLambda* lambda, void* closure, int num_task)
{
    const int tasks = num_task > 0 ? num_task : thread_count;
    if (tasks == 1 || thread_count == 1 || job_running)
        return run_alone(lambda, closure, tasks);

    job_lambda = lambda;
    job_closure = closure;
    job_tasks = tasks;
    job_running = 1;
    atomic_store_explicit(&job_failure, 0, memory_order_relaxed);
    atomic_store_explicit(&pending.value, (uint32_t)(thread_count - 1), memory_order_relaxed);
    publish_job();

    run_share(0, thread_count);
    uint32_t left = atomic_load_explicit(&pending.value, memory_order_acquire);
    while (left != 0)
        left = wait_for_change(&pending, left);
    job_running = 0;
    return atomic_load(&job_failure);
}
