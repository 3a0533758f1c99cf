/* Runs a kernel on this CPU: work-groups one after another, the items of a group as threads where they wait for each
 * other. CALL and BARRIERS come from the command line. */
#include <math.h>
#include <pthread.h>

extern void kernel_under_test();

typedef struct {
    void* const* arguments;
    int group[3], item[3];
} Item;

static _Thread_local const Item* self;
static pthread_barrier_t meeting;

int get_group_id(unsigned axis)
{
    return self->group[axis];
}

int get_local_id(unsigned axis)
{
    return self->item[axis];
}

void barrier(int fence)
{
    (void)fence;
    pthread_barrier_wait(&meeting);
}

float harness_exp(float x)
{
    return expf(x);
}

static void* run_item(void* item)
{
    self = item;
    void* const* a = self->arguments;
    kernel_under_test(CALL);
    return 0;
}

static int run_group(Item* items, int count)
{
    if (!BARRIERS) {
        for (int i = 0; i < count; ++i)
            run_item(&items[i]);
        return 0;
    }
    pthread_t threads[1024];
    pthread_barrier_init(&meeting, 0, (unsigned)count);
    for (int i = 0; i < count; ++i)
        if (pthread_create(&threads[i], 0, run_item, &items[i]) != 0)
            return -1;
    for (int i = 0; i < count; ++i)
        pthread_join(threads[i], 0);
    return pthread_barrier_destroy(&meeting);
}

/* `groups` and `local` along x, y and z; a group has at most 1024 items. */
int launch(void* const* arguments, const int* groups, const int* local)
{
    static Item items[1024];
    for (int g = 0; g < groups[0] * groups[1] * groups[2]; ++g) {
        const int group[3] = {g % groups[0], g / groups[0] % groups[1], g / groups[0] / groups[1]};
        const int count = local[0] * local[1] * local[2];
        for (int i = 0; i < count; ++i)
            items[i] = (Item){arguments,
                              {group[0], group[1], group[2]},
                              {i % local[0], i / local[0] % local[1], i / local[0] / local[1]}};
        if (run_group(items, count) != 0)
            return -1;
    }
    return 0;
}
