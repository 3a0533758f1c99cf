/* A pool of threads for the parallel loops of kernels. One pool per library; one launch at a time. */
#ifndef MNV3C_POOL_H
#define MNV3C_POOL_H

#include "tvm_abi.h"

enum { MNV3C_POOL_MAX_THREADS = 64 };

/* Makes the pool `threads` strong, the calling thread included, so that 1 means no other thread at all.
 * Returns 0, or -1 when `threads` is out of 1..MNV3C_POOL_MAX_THREADS or the system gives no more threads; the pool
 * then consists of the calling thread alone. */
int mnv3c_pool_resize(int threads);

/* Tells the workers that jobs will follow one another closely (1), or no longer (0): they spin longer meanwhile. */
void mnv3c_pool_expect_jobs(int expected);

/* Runs lambda(0) .. lambda(tasks - 1), where `num_task` 0 means as many tasks as threads, and returns when all have
 * ended: 0, or the result of one that failed. A launch from within a task runs on the thread that asks. */
int mnv3c_pool_launch(TVMParallelLambda* lambda, void* closure, int num_task);

#endif
