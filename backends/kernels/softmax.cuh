// Parts of a heat bath of a Potts spin: e^x, sums and maxima over a warp.
#pragma once
#include "portable.cuh"

// e^x for -87 <= x <= 0, e^-87 below: 2^k times the polynomial of Cephes' expf on
// [-ln 2 / 2, ln 2 / 2], within 1.2e-7. Every product that is added is an fmaf.
__device__ __forceinline__ float exp_below(float x) {
    x = fmaxf(x, -87.0f);
    const int k = (int)fmaf(x, 1.44269504f, -0.5f);
    float r = fmaf(-(float)k, 0.693359375f, x);
    r = fmaf(-(float)k, -2.12194440e-4f, r);
    float p = fmaf(r, 1.9875691500e-4f, 1.3981999507e-3f);
    p = fmaf(r, p, 8.3334519073e-3f);
    p = fmaf(r, p, 4.1665795894e-2f);
    p = fmaf(r, p, 1.6666665459e-1f);
    p = fmaf(r, p, 5.0000001201e-1f);
    return fmaf(r * r, p, 1.0f + r) * __int_as_float((k + 127) << 23);
}

// Sum and maximum over the lanes of a warp, the same bits in all of them.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int step = 16; step; step /= 2) value += __shfl_xor_sync(FULL_WARP, value, step);
    return value;
}
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (int step = 16; step; step /= 2)
        value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, step));
    return value;
}
