/* The most float32 operations that one core can do: independent fused multiply-adds in registers. Prints GFLOP/s. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

/* Enough to cover 4 cycles of latency on 2 pipes; with both operands they fit 16 registers. */
#define CHAINS 12
/* Some 7 ms each, so that others on the machine spoil a few and not all. */
#define STEPS 4000000
#define REPEATS 40

typedef float Vector __attribute__((vector_size(4 * LANES)));

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double gflops(Vector scale, Vector shift, float* sum)
{
    Vector chain[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        chain[i] = scale * (float)i;
    double begin = now_s();
    for (long step = 0; step < STEPS; step++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < CHAINS; i++)
            chain[i] = chain[i] * scale + shift;
    }
    double seconds = now_s() - begin;
    for (int i = 0; i < CHAINS; i++)
        for (int lane = 0; lane < LANES; lane++)
            *sum += chain[i][lane];
    return 2.0 * LANES * CHAINS * STEPS / seconds * 1e-9;
}

int main(int argc, char** argv)
{
    (void)argv;
    /* Values that the compiler cannot know, and that converge. */
    Vector scale = {0}, shift = {0};
    scale += 0.5f * (float)argc;
    shift += 1.0f * (float)argc;
    double best = 0.0;
    float sum = 0.0f;
    for (int i = 0; i < REPEATS; i++) {
        double rate = gflops(scale, shift, &sum);
        best = rate > best ? rate : best;
    }
    printf("%.2f\n", best);
    return sum == 0.0f;
}
