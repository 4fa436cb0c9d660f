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
