/* The kernels of net, written by mnv3c; do not edit. */

#pragma OPENCL EXTENSION cl_khr_global_int32_base_atomics : enable

/* scale: 40 x 1 x 1 work items by 8 x 1 x 1
 * stem, odd "name" * / \ é??/? */
#define group_id(d) ((uint)get_global_id(d) / ((d) == 0 ? 8u : (d) == 1 ? 1u : 1u))
#define local_id(d) ((uint)get_global_id(d) % ((d) == 0 ? 8u : (d) == 1 ? 1u : 1u))
__kernel void scale(__global const float* restrict x, __global const float* restrict w, __global float* restrict y)
{
    const int i = (int)group_id(0) * 8 + (int)local_id(0);
    y[i] = x[i] * w[i];
}
#undef group_id
#undef local_id

/* add: 8 x 5 x 1 work items by 4 x 5 x 1
 * skip */
#define group_id(d) ((uint)get_global_id(d) / ((d) == 0 ? 4u : (d) == 1 ? 5u : 1u))
#define local_id(d) ((uint)get_global_id(d) % ((d) == 0 ? 4u : (d) == 1 ? 5u : 1u))
__kernel void add(__global const float* restrict x, __global const float* restrict skip, __global float* restrict y)
{
    const int row = (int)group_id(1) * 5 + (int)local_id(1);
    const int i = row * 8 + (int)group_id(0) * 4 + (int)local_id(0);
    y[i] = x[i] + skip[i];
}
#undef group_id
#undef local_id

/* matmul: 2 x 1 x 1 work items by 2 x 1 x 1
 * head */
#define group_id(d) ((uint)get_global_id(d) / ((d) == 0 ? 2u : (d) == 1 ? 1u : 1u))
#define local_id(d) ((uint)get_global_id(d) % ((d) == 0 ? 2u : (d) == 1 ? 1u : 1u))
__kernel void matmul(__global const float* restrict x, __global const float4* restrict w, __global float4* restrict y)
{
    float4 sum = (float4)(0.0f);
    for (int k = 0; k < 40; ++k)
        sum += x[k] * w[k * 2 + get_global_id(0)];
    y[get_global_id(0)] = sum;
}
#undef group_id
#undef local_id

/* total: 40 x 1 x 1 work items by 40 x 1 x 1
 * total */
__kernel __attribute__((reqd_work_group_size(40, 1, 1)))
void total(__global const float* restrict x, __global float* restrict y)
{
    __local float part[40];
    part[get_local_id(0)] = x[get_local_id(0)];
    barrier(CLK_LOCAL_MEM_FENCE);
    float sum = 0.0f;
    for (int i = 0; i < 40; ++i)
        sum += part[i];
    if (get_local_id(0) < 3)
        y[get_local_id(0)] = sum * (get_local_id(0) + 1);
}
