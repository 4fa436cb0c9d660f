// What a device can do at most: bytes copied, logic operations, wide products, per second.
//
// Each result depends on all operations, so that none is left out: `rounds` iterations of UNROLLED
// steps on four values per thread.
#include "portable.cuh"

#define UNROLLED 16

// 32 bytes of traffic per element.
extern "C" __global__ void copy(const uint4* from, uint4* to, u64 n) {
    const u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) to[i] = from[i];
}

// One operation on three inputs per step and value.
extern "C" __global__ void logic(u32* out, u32 rounds, u32 a, u32 b) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    u32 x[4] = {at, at ^ a, at ^ b, at ^ a ^ b};
#pragma unroll 1
    for (u32 r = 0; r < rounds; ++r)
#pragma unroll
        for (int k = 0; k < UNROLLED; ++k)
#pragma unroll
            for (int j = 0; j < 4; ++j) x[j] = (x[j] & (k & 1 ? a : b)) ^ x[(j + 1) & 3];
    out[at] = x[0] ^ x[1] ^ x[2] ^ x[3];
}

// A product of 32 by 32 bits and an operation on three inputs, which is half a round of Philox,
// per step and value.
extern "C" __global__ void multiply(u32* out, u32 rounds, u32 a, u32 b) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    u32 x[4] = {at, at ^ a, at ^ b, at ^ a ^ b};
#pragma unroll 1
    for (u32 r = 0; r < rounds; ++r)
#pragma unroll
        for (int k = 0; k < UNROLLED; ++k)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const u64 p = (u64)x[j] * 0xD2511F53u;
                x[j] = (u32)(p >> 32) ^ (u32)p ^ (k & 1 ? a : b);
            }
    out[at] = x[0] ^ x[1] ^ x[2] ^ x[3];
}
