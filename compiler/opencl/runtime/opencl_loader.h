/* Opens the device's OpenCL at run time. */
#ifndef MNV3C_OPENCL_LOADER_H
#define MNV3C_OPENCL_LOADER_H

#include "opencl_api.h"

/* The functions; all set once opencl_load has returned 0. */
extern OpenCl cl;

/* Opens $MNV3C_OPENCL, or else the first library that exists among the usual ones. Returns 0, or -1 with a text in
 * gpu_last_error(). The library stays open: drivers start threads and do not expect to go away. */
int opencl_load(void);

#endif
