#include "gpu_tuning.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gpu_error.h"
#include "gpu_network.h"

static const char first_line[] = "mnv3c-opencl-tuning/1";

enum { LINE_BYTES = 1024 };

static void device_line(const GpuDevice* device, char* line)
{
    snprintf(line, LINE_BYTES, "device %s: %s, %s", device->platform, device->name, device->driver);
}

/* Returns whether there is a line; without its newline. */
static int next_line(FILE* file, char* line)
{
    if (fgets(line, LINE_BYTES, file) == NULL)
        return 0;
    line[strcspn(line, "\n")] = '\0';
    return 1;
}

static int require_head(const char* path, FILE* file, const GpuDevice* device)
{
    char line[LINE_BYTES], expected[LINE_BYTES];
    if (!next_line(file, line) || strcmp(line, first_line) != 0)
        return gpu_fail(GPU_UNSUITABLE, "%s: not a file that --tune wrote", path);
    snprintf(expected, sizeof(expected), "source %s", mnv3c_gpu.source_digest);
    if (!next_line(file, line) || strcmp(line, expected) != 0)
        return gpu_fail(GPU_UNSUITABLE, "%s: belongs to another network; tune this one anew", path);
    device_line(device, expected);
    if (!next_line(file, line) || strcmp(line, expected) != 0)
        return gpu_fail(GPU_UNSUITABLE, "%s: belongs to \"%s\", this is \"%s\"; tune anew", path, line, expected);
    return 0;
}

static int find_kernel(const char* name)
{
    for (int i = 0; i < mnv3c_gpu.kernel_count; ++i)
        if (strcmp(mnv3c_gpu.kernels[i].name, name) == 0)
            return i;
    return -1;
}

/* A work-group that divides the work, or the driver's choice; another than the compiler's only where that may change. */
static int is_possible(const GpuKernel* kernel, const WorkGroup* group)
{
    const size_t* size = group->size;
    if (memcmp(size, kernel->local_size, sizeof(kernel->local_size)) == 0)
        return 1;
    if (!kernel->movable)
        return 0;
    if (size[0] == 0 && size[1] == 0 && size[2] == 0)
        return 1;
    for (int i = 0; i < 3; ++i)
        if (size[i] == 0 || kernel->global_size[i] % size[i] != 0)
            return 0;
    return 1;
}

static int read_kernels(const char* path, FILE* file, WorkGroup* groups)
{
    char line[LINE_BYTES], name[LINE_BYTES], more;
    for (int number = 4; next_line(file, line); ++number) {
        WorkGroup group;
        const int parts =
            sscanf(line, "kernel %s %zu %zu %zu %c", name, &group.size[0], &group.size[1], &group.size[2], &more);
        const int kernel = parts == 4 ? find_kernel(name) : -1;
        if (kernel < 0 || !is_possible(&mnv3c_gpu.kernels[kernel], &group))
            return gpu_fail(GPU_UNSUITABLE, "%s: line %d: must be \"kernel NAME X Y Z\" with a work-group that divides"
                            " the kernel's work items", path, number);
        groups[kernel] = group;
    }
    return 0;
}

int gpu_tuning_read(const char* path, const GpuDevice* device, WorkGroup* groups)
{
    FILE* file = fopen(path, "r");
    if (file == NULL)
        return gpu_fail(GPU_UNSUITABLE, "cannot read %s: %s", path, strerror(errno));
    const int status = require_head(path, file, device) != 0 ? -1 : read_kernels(path, file, groups);
    fclose(file);
    return status;
}

int gpu_tuning_write(const char* path, const GpuDevice* device, const WorkGroup* groups)
{
    char temporary[LINE_BYTES], line[LINE_BYTES];
    if (snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= (int)sizeof(temporary))
        return gpu_fail(GPU_UNSUITABLE, "cannot write %s: the name is too long", path);
    FILE* file = fopen(temporary, "w");
    if (file == NULL)
        return gpu_fail(GPU_UNSUITABLE, "cannot write %s: %s", temporary, strerror(errno));
    device_line(device, line);
    fprintf(file, "%s\nsource %s\n%s\n", first_line, mnv3c_gpu.source_digest, line);
    for (int i = 0; i < mnv3c_gpu.kernel_count; ++i)
        fprintf(file, "kernel %s %zu %zu %zu\n", mnv3c_gpu.kernels[i].name, groups[i].size[0], groups[i].size[1],
                groups[i].size[2]);
    int written = !ferror(file);
    written = fclose(file) == 0 && written;
    if (written && rename(temporary, path) == 0)
        return 0;
    const int reason = errno;
    remove(temporary);
    return gpu_fail(GPU_UNSUITABLE, "cannot write %s: %s", path, strerror(reason));
}
