#define _GNU_SOURCE
#include "cpu_info.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* When `line` is "key : value", returns the value without its newline. */
static char* value_of(char* line, const char* key)
{
    const size_t length = strlen(key);
    if (strncmp(line, key, length) != 0 || line[length + strspn(line + length, " \t")] != ':')
        return NULL;
    char* value = strchr(line, ':') + 1;
    value += strspn(value, " \t");
    value[strcspn(value, "\n")] = '\0';
    return value;
}

static void set_model(CpuInfo* info, const char* text)
{
    snprintf(info->model, sizeof(info->model), "%s", text);
    for (char* c = info->model; *c != '\0'; ++c)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

/* Reads the lines of /proc/cpuinfo that belong to `cpu`: cores differ from each other on phones. x86 gives a name and a
 * clock; aarch64 gives the implementer's and the part's number; riscv64 a microarchitecture. */
static void read_cpuinfo(FILE* file, int cpu, CpuInfo* info)
{
    char line[4096]; /* x86 lists its flags in lines of 2 to 3 thousand characters */
    char implementer[16] = "";
    int processor = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        char* value;
        if ((value = value_of(line, "processor")) != NULL)
            processor = atoi(value);
        if (processor != cpu)
            continue;
        if ((value = value_of(line, "model name")) != NULL || (value = value_of(line, "uarch")) != NULL)
            set_model(info, value);
        if ((value = value_of(line, "cpu MHz")) != NULL)
            info->frequency_hz = atof(value) * 1e6;
        if ((value = value_of(line, "CPU implementer")) != NULL)
            snprintf(implementer, sizeof(implementer), "%s", value);
        if ((value = value_of(line, "CPU part")) != NULL) {
            char text[64];
            snprintf(text, sizeof(text), "implementer %s part %s", implementer, value);
            set_model(info, text);
        }
    }
}

static void read_frequency(int cpu, CpuInfo* info)
{
    char path[96];
    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", cpu);
    FILE* file = fopen(path, "r");
    if (file == NULL)
        return;
    double frequency_khz = 0;
    if (fscanf(file, "%lf", &frequency_khz) == 1 && frequency_khz > 0)
        info->frequency_hz = frequency_khz * 1e3;
    fclose(file);
}

CpuInfo cpu_info(int cpu)
{
    CpuInfo info = {"unknown", 0};
    FILE* file = fopen("/proc/cpuinfo", "r");
    if (file != NULL) {
        read_cpuinfo(file, cpu, &info);
        fclose(file);
    }
    read_frequency(cpu, &info);
    return info;
}

int cpu_pin(int first, int count)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu = first; cpu < first + count && cpu < CPU_SETSIZE; ++cpu)
        CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set);
}

int cpu_current(void)
{
    const int cpu = sched_getcpu();
    return cpu >= 0 ? cpu : 0;
}
