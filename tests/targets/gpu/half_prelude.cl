/* What kernels with arithmetic in halves take from OpenCL C, for a compiler that brings no built-in functions. Every
 * operation rounds to half: cl_khr_fp16 asks for no more and no less. */
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
typedef unsigned int uint;
typedef int int4 __attribute__((ext_vector_type(4)));
typedef float float4 __attribute__((ext_vector_type(4)));
typedef half half4 __attribute__((ext_vector_type(4)));

int get_group_id(uint axis);
int get_local_id(uint axis);
#define CLK_LOCAL_MEM_FENCE 1
void barrier(int fence);
float harness_exp(float x);

#define overload static inline __attribute__((overloadable, always_inline))
#define EACH(T) (T)(f(x.s0), f(x.s1), f(x.s2), f(x.s3))

#define DEFINE_ORDER(T)                                 \
    overload T min(T x, T y) { return y < x ? y : x; }  \
    overload T max(T x, T y) { return x < y ? y : x; }
DEFINE_ORDER(int)
DEFINE_ORDER(float)
DEFINE_ORDER(half)
#define DEFINE_ORDER4(T, S)                                                                                             \
    overload T min(T x, T y) { return (T)(min(x.s0, y.s0), min(x.s1, y.s1), min(x.s2, y.s2), min(x.s3, y.s3)); }        \
    overload T max(T x, T y) { return (T)(max(x.s0, y.s0), max(x.s1, y.s1), max(x.s2, y.s2), max(x.s3, y.s3)); }
DEFINE_ORDER4(float4, float)
DEFINE_ORDER4(half4, half)

overload float exp(float x) { return harness_exp(x); }
overload half exp(half x) { return (half)harness_exp((float)x); }
overload float4 exp(float4 x) { return (float4)(exp(x.s0), exp(x.s1), exp(x.s2), exp(x.s3)); }
overload half4 exp(half4 x) { return (half4)(exp(x.s0), exp(x.s1), exp(x.s2), exp(x.s3)); }

overload int convert_int(int x) { return x; }
overload int convert_int(float x) { return (int)x; }
overload float convert_float(int x) { return (float)x; }
overload float convert_float(half x) { return (float)x; }
overload half convert_half(int x) { return (half)x; }
overload half convert_half(float x) { return (half)x; }
overload float4 convert_float4(half4 x) { return __builtin_convertvector(x, float4); }
overload half4 convert_half4(float4 x) { return __builtin_convertvector(x, half4); }
