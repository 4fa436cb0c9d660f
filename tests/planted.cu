// Kernels with one mistake each, which the host must see; test_cuda_host.py.
#include "barrier.cuh"

extern "C" __global__ void no_barrier(int* out) {
    __shared__ int values[64];
    values[threadIdx.x] = (int)threadIdx.x;
    out[threadIdx.x] = values[63 - threadIdx.x];
}

extern "C" __global__ void with_barrier(int* out) {
    __shared__ int values[64];
    values[threadIdx.x] = (int)threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = values[63 - threadIdx.x];
}

extern "C" __global__ void order_of_blocks(int* out) {
    if (threadIdx.x == 0) out[blockIdx.x] = atomicAdd(out + 63, 1);
}

extern "C" __global__ void divergent(int* out) {
    if (threadIdx.x < 10) __syncthreads();
    out[threadIdx.x] = 1;
}

extern "C" __global__ void half_a_warp(int* out) {
    if (threadIdx.x % 2) out[threadIdx.x] = __shfl_xor_sync(FULL_WARP, 1, 2);
}

extern "C" __global__ void uninitialized(int* out) {
    __shared__ int values[64];
    if (threadIdx.x < 32) values[threadIdx.x] = 0;
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void dynamic_uninitialized(int* out) {
    DYNAMIC_SHARED(int, values);
    out[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void waits_for_another_block(int* out) {
    u32 target = 0;
    meet((u32*)out, 2, target);
    if (threadIdx.x == 0) out[1 + blockIdx.x] = 1;
}

extern "C" __global__ void beyond_global(int* out) { out[threadIdx.x] = 1; }

extern "C" __global__ void beyond_dynamic(int* out) {
    DYNAMIC_SHARED(int, values);
    values[threadIdx.x] = 1;
    out[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void beyond_shared(int* out) {
    __shared__ int values[32];
    values[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x];
}
