// Names that all kernels use; the same text is compiled for devices and for host.hpp.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define FULL_WARP 0xffffffffu

// A pointer to the block's dynamic shared memory.
#ifdef HOST_HARNESS
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(host::block_now->dynamic)
#else
#define DYNAMIC_SHARED(type, name)                                     \
    extern __shared__ __align__(16) unsigned char dynamic_shared[];    \
    type* name = reinterpret_cast<type*>(dynamic_shared)
#endif

// Bits of the lanes before this one in its warp.
__device__ __forceinline__ u32 lanes_before() {
#ifdef HOST_HARNESS
    return (1u << threadIdx.x % 32) - 1;
#else
    u32 mask;
    asm volatile("mov.u32 %0, %%lanemask_lt;" : "=r"(mask));  // read again, not kept
    return mask;
#endif
}

// a b, by one instruction also where the compiler has widened a factor that never changes.
__device__ __forceinline__ u64 wide_product(u32 a, u32 b) {
#ifdef HOST_HARNESS
    return (u64)a * b;
#else
    u64 product;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(a), "r"(b));
    return product;
#endif
}
