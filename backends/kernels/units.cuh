// Laws of hidden spins (isingnpu/npu/units.py) in float32.
//
// tanh is the rational fit of the cpu backend, tanh(x) = z P(z^2) / Q(z^2) with z = x / 8 cut to
// [-1, 1]: within 4e-7 everywhere. Wherever a product is added, fmaf says so: no compiler is left
// to decide, and the bits are the same on every device and in host.hpp.
#pragma once
#include "portable.cuh"

#define PLUS_MINUS 1  // kinds; 0 is Binary
#define TOWER 2
#define HARD_TOWER 3

__device__ __forceinline__ float law_tanh(float x) {
    const float z = fmaxf(-1.0f, fminf(1.0f, x * 0.125f)), y = z * z;
    float p = fmaf(y, 0.20193341374397278f, -1.973547697067261f);
    p = fmaf(y, p, 20.716968536376953f);
    p = fmaf(y, p, 97.84059906005859f);
    p = fmaf(y, p, 66.45360565185547f);
    p = fmaf(y, p, 8.0f);
    float q = fmaf(y, 62.18125915527344f, 98.41831970214844f);
    q = fmaf(y, q, 29.64002227783203f);
    q = fmaf(y, q, 1.0f);
    return z * p / q;
}

__device__ __forceinline__ float law_sigma(float x) {
    return fmaf(0.5f, law_tanh(x * 0.5f), 0.5f);
}

__device__ __forceinline__ float law_cut(float x, float top) {
    return fmaxf(0.0f, fminf(top, x));
}

// Field of spin j of a tower: offsets 1/2, 3/2, ...
__device__ __forceinline__ float law_shifted(float f, int j) { return f - ((float)j + 0.5f); }

// Expected state.
__device__ __forceinline__ float law_mean(int kind, int levels, float f) {
    if (kind == PLUS_MINUS) return law_tanh(f);
    if (kind == HARD_TOWER) return law_cut(f, (float)levels);
    if (kind != TOWER) return law_sigma(f);
    float sum = 0.0f;
    for (int j = 0; j < levels; ++j) sum += law_sigma(law_shifted(f, j));
    return sum;
}

__device__ __forceinline__ float law_softplus(float x) {
    return fmaxf(0.0f, x) + log1pf(expf(-fabsf(x)));
}

// The function whose derivative is the mean.
__device__ __forceinline__ float law_potential(int kind, int levels, float f) {
    if (kind == PLUS_MINUS) return law_softplus(f + f) - f;
    if (kind == HARD_TOWER) {
        const float top = (float)levels, m = law_cut(f, top);
        return fmaf(0.5f * m, m, top * fmaxf(0.0f, f - top));
    }
    if (kind != TOWER) return law_softplus(f);
    float sum = 0.0f;
    for (int j = 0; j < levels; ++j) sum += law_softplus(law_shifted(f, j));
    return sum;
}

// (mean(f + beta k) - mean(f - beta k)) / (2 beta), spin by spin; scale = 1 / (2 beta).
__device__ __forceinline__ float law_displacement(int kind, int levels, float f, float k,
                                                  float beta, float scale) {
    if (kind != TOWER)
        return scale * (law_mean(kind, levels, fmaf(beta, k, f)) -
                        law_mean(kind, levels, fmaf(-beta, k, f)));
    float sum = 0.0f;
    for (int j = 0; j < levels; ++j) {
        const float g = law_shifted(f, j);
        const float change = law_sigma(fmaf(beta, k, g)) - law_sigma(fmaf(-beta, k, g));
        sum = fmaf(scale, change, sum);
    }
    return sum;
}

// Sum over `draws` stratified draws of spin `bit`, which share the number u: floor(S p + u); of
// all spins of a hard tower, which one number settles.
__device__ __forceinline__ float law_raised(int kind, int levels, float f, int bit, float u,
                                            float draws) {
    if (kind == HARD_TOWER)
        return fminf((float)levels * draws, floorf(fmaf(fmaxf(0.0f, f), draws, u)));
    const float g = kind == TOWER ? law_shifted(f, bit) : kind == PLUS_MINUS ? f + f : f;
    const float up = floorf(fmaf(law_sigma(g), draws, u));
    return kind == PLUS_MINUS ? fmaf(2.0f, up, -draws) : up;
}

// u in [0, 1), a multiple of 2^-24.
__device__ __forceinline__ float uniform(u32 word) {
    return (float)(word >> 8) * 5.9604644775390625e-8f;
}
