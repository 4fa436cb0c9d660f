// Barrier of blocks that all run at once, which a cooperative launch promises. The fences make
// what other blocks wrote before it visible to ordinary loads after it.
#pragma once
#include "portable.cuh"

// arrived: one word, 0 at launch, of these `blocks` blocks alone; target: 0 at first, private.
__device__ inline void meet(u32* arrived, u32 blocks, u32& target) {
    __syncthreads();
    target += blocks;
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1u);
        while ((int)(*(volatile u32*)arrived - target) < 0) __nanosleep(32);
        __threadfence();
    }
    __syncthreads();
}
