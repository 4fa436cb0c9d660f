// Hidden spins of machines that learn, elementwise over flat float32 arrays of `size` numbers.
//
// A thread strides over elements; where random numbers are drawn, over four, which one Philox call
// serves: element i takes word i % 4 of the call at counter (i / 4, block, step, last).
// Bytes per element: mean, potential 8; displacement 12; sample 8; adam 28. Memory bounds all but
// towers of many spins and independent draws, which products do.
#include "philox.cuh"
#include "units.cuh"

#define THREADS 256

__device__ __forceinline__ i64 here() { return (i64)blockIdx.x * THREADS + threadIdx.x; }
__device__ __forceinline__ i64 stride() { return (i64)gridDim.x * THREADS; }

extern "C" __global__ void __launch_bounds__(THREADS)
    uniforms(u64 seed, u32 block, u32 step, u32 last, i64 size, float* __restrict__ out) {
    for (i64 quad = here(); 4 * quad < size; quad += stride()) {
        u32 x[4];
        philox((u32)quad, block, step, last, seed, x);
#pragma unroll
        for (int c = 0; c < 4; ++c)
            if (4 * quad + c < size) out[4 * quad + c] = uniform(x[c]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    mean(int kind, int levels, i64 size, const float* __restrict__ f, float* __restrict__ out) {
    for (i64 i = here(); i < size; i += stride()) out[i] = law_mean(kind, levels, f[i]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    potential(int kind, int levels, i64 size, const float* __restrict__ f,
              float* __restrict__ out) {
    for (i64 i = here(); i < size; i += stride()) out[i] = law_potential(kind, levels, f[i]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    displacement(int kind, int levels, float beta, i64 size, const float* __restrict__ f,
                 const float* __restrict__ k, float* __restrict__ out) {
    const float scale = 0.5f / beta;
    for (i64 i = here(); i < size; i += stride())
        out[i] = law_displacement(kind, levels, f[i], k[i], beta, scale);
}

// Average of times x together draws: `together` share a number, `times` have their own, of block
// block << 16 | time << 6 | spin. Whole numbers are added, and divided once.
extern "C" __global__ void __launch_bounds__(THREADS)
    sample(int kind, int levels, int times, int together, u64 seed, u32 block, u32 step, u32 last,
           i64 size, const float* __restrict__ f, float* __restrict__ out) {
    const int spins = kind == TOWER ? levels : 1;
    for (i64 quad = here(); 4 * quad < size; quad += stride()) {
        float field[4], sum[4];
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            field[c] = 4 * quad + c < size ? f[4 * quad + c] : 0.0f;
            sum[c] = 0.0f;
        }
        for (int time = 0; time < times; ++time)
            for (int bit = 0; bit < spins; ++bit) {
                u32 x[4];
                philox((u32)quad, block << 16 | time << 6 | bit, step, last, seed, x);
#pragma unroll
                for (int c = 0; c < 4; ++c)
                    sum[c] += law_raised(kind, levels, field[c], bit, uniform(x[c]),
                                         (float)together);
            }
#pragma unroll
        for (int c = 0; c < 4; ++c)
            if (4 * quad + c < size) out[4 * quad + c] = sum[c] / (float)(times * together);
    }
}

// The displacement of the same draws in the phases nudged by +beta and -beta.
extern "C" __global__ void __launch_bounds__(THREADS)
    sampled_displacement(int kind, int levels, int times, int together, u64 seed, u32 block,
                         u32 step, u32 last, float beta, i64 size, const float* __restrict__ f,
                         const float* __restrict__ k, float* __restrict__ out) {
    const int spins = kind == TOWER ? levels : 1;
    const float scale = 0.5f / (beta * (float)(times * together));
    for (i64 quad = here(); 4 * quad < size; quad += stride()) {
        float up[4], down[4], sum[4];
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            const bool exists = 4 * quad + c < size;
            const float field = exists ? f[4 * quad + c] : 0.0f;
            const float nudge = exists ? k[4 * quad + c] : 0.0f;
            up[c] = fmaf(beta, nudge, field);
            down[c] = fmaf(-beta, nudge, field);
            sum[c] = 0.0f;
        }
        for (int time = 0; time < times; ++time)
            for (int bit = 0; bit < spins; ++bit) {
                u32 x[4];
                philox((u32)quad, block << 16 | time << 6 | bit, step, last, seed, x);
#pragma unroll
                for (int c = 0; c < 4; ++c) {
                    const float u = uniform(x[c]), s = (float)together;
                    sum[c] += law_raised(kind, levels, up[c], bit, u, s) -
                              law_raised(kind, levels, down[c], bit, u, s);
                }
            }
#pragma unroll
        for (int c = 0; c < 4; ++c)
            if (4 * quad + c < size) out[4 * quad + c] = scale * sum[c];
    }
}

// m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, w += rate (c1 m / (sqrt(c2 v) + 1e-7) - decay w)
extern "C" __global__ void __launch_bounds__(THREADS)
    adam(float rate, float b1, float b2, float c1, float c2, float decay, i64 size,
         const float* __restrict__ gradient, float* __restrict__ couplings,
         float* __restrict__ first, float* __restrict__ second) {
    for (i64 i = here(); i < size; i += stride()) {
        const float g = gradient[i], w = couplings[i];
        const float m = fmaf(b1, first[i], (1.0f - b1) * g);
        const float v = fmaf(b2, second[i], (1.0f - b2) * g * g);
        const float pull = m * c1 / (sqrtf(v * c2) + 1e-7f);
        first[i] = m;
        second[i] = v;
        couplings[i] = fmaf(rate, fmaf(-decay, w, pull), w);
    }
}
