/* What the system says about the processor. */
#ifndef MNV3C_CPU_INFO_H
#define MNV3C_CPU_INFO_H

typedef struct {
    char model[128];     /* printable ASCII; "unknown" where the system does not say */
    double frequency_hz; /* of now; 0 where the system does not say */
} CpuInfo;

CpuInfo cpu_info(int cpu);

/* Restricts this process to the CPUs first .. first + count - 1. Returns 0, or -1 where there are none such. */
int cpu_pin(int first, int count);

/* The CPU this thread runs on. */
int cpu_current(void);

#endif
