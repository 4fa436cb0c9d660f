// Block-Gibbs sweeps of hidden spins under their output Potts spin (isingnpu/npu/gibbs.py): a block
// for every image, all sweeps in one launch, because nothing but fields is shared by images.
//
// A sweep draws the hidden spins of the image, four by a Philox call and number, then a warp for
// each colour adds up what they say, and one thread draws the output spin. The numbers are those of
// the kernels `sample` and `uniforms`. Bytes per spin and sweep: 12 + 8 colours, all of caches;
// products of Philox and the law of a spin bound it.
#include "philox.cuh"
#include "softmax.cuh"
#include "units.cuh"

#define THREADS 128

// Adds `replicas` draws of each of four spins, which share the calls of their quad; quads number
// the spins of all images.
__device__ __forceinline__ void draw_quad(int kind, int levels, u32 replicas, i64 quad, u32 place,
                                          u32 step, u32 last, u64 seed, const float field[4],
                                          float sum[4]) {
    const u32 spins = kind == TOWER ? (u32)levels : 1u;
    for (u32 time = 0; time < replicas; ++time)
        for (u32 bit = 0; bit < spins; ++bit) {
            u32 x[4];
            philox((u32)quad, place << 16 | time << 6 | bit, step, last, seed, x);
#pragma unroll
            for (int c = 0; c < 4; ++c)
                sum[c] += law_raised(kind, levels, field[c], (int)bit, uniform(x[c]), 1.0f);
        }
}

// States y (n,) after a sweep at each beta: h drawn in beta (f + u[y] / replicas), y from
// softmax(beta (b + u h)); f and h (n, width), u (q, width), votes (n, q) if `voting`: 1 for y and
// 0.001 p after each sweep from number sweeps / 2 on.
extern "C" __global__ void __launch_bounds__(THREADS)
    gibbs(int kind, int levels, u32 replicas, u32 n, u32 width, u32 q, u32 sweeps, u64 seed,
          u32 block, u32 step, u32 hidden, u32 output, u32 voting, const float* __restrict__ betas,
          const float* __restrict__ f, const float* __restrict__ u, const float* __restrict__ b,
          float* __restrict__ h, float* __restrict__ votes, i64* __restrict__ y) {
    DYNAMIC_SHARED(float, chances);  // q
    __shared__ u32 state;
    const u32 lane = threadIdx.x % 32;
    for (u32 image = blockIdx.x; image < n; image += gridDim.x) {
        const i64 begin = (i64)image * width, end = begin + width;
        if (threadIdx.x == 0) state = (u32)y[image];
        for (u32 sweep = 0; sweep < sweeps; ++sweep) {
            const float beta = betas[sweep];
            const u32 place = block + (sweep << 8);
            __syncthreads();
            const float* own = u + (u64)state * width - begin;
            for (i64 quad = begin / 4 + threadIdx.x; 4 * quad < end; quad += THREADS) {
                float field[4], sum[4];
#pragma unroll
                for (int c = 0; c < 4; ++c) {
                    const i64 i = 4 * quad + c;
                    const bool inside = i >= begin && i < end;
                    field[c] = inside ? __fmul_rn(beta, f[i] + own[i] / (float)replicas) : 0.0f;
                    sum[c] = 0.0f;
                }
                draw_quad(kind, levels, replicas, quad, place, step, hidden, seed, field, sum);
#pragma unroll
                for (int c = 0; c < 4; ++c) {
                    const i64 i = 4 * quad + c;
                    if (i >= begin && i < end) h[i] = sum[c] / (float)replicas;
                }
            }
            __syncthreads();
            for (u32 c = threadIdx.x / 32; c < q; c += THREADS / 32) {
                float told = 0.0f;
                for (u32 j = lane; j < width; j += 32)
                    told = fmaf(h[begin + j], u[(u64)c * width + j], told);
                told = warp_sum(told);
                if (lane == 0) chances[c] = __fmul_rn(beta, told + b[c]);
            }
            __syncthreads();
            if (threadIdx.x) continue;
            float top = chances[0], total = 0.0f, below = 0.0f;
            for (u32 c = 1; c < q; ++c) top = fmaxf(top, chances[c]);
            for (u32 c = 0; c < q; ++c) {
                chances[c] = exp_below(chances[c] - top);
                total += chances[c];
            }
            u32 x[4], drawn = 0;
            philox(image / 4, place, step, output, seed, x);
            const u32 at = image % 4;
            const float number = uniform(at < 2 ? at ? x[1] : x[0] : at < 3 ? x[2] : x[3]);
            for (u32 c = 0; c < q; ++c) {
                chances[c] /= total;
                below += chances[c];
                drawn += below <= number;
            }
            state = min(drawn, q - 1);
            if (!voting || sweep < sweeps / 2) continue;
            float* vote = votes + (u64)image * q;
            for (u32 c = 0; c < q; ++c)
                vote[c] = fmaf(1e-3f, chances[c], vote[c] + (c == state ? 1.0f : 0.0f));
        }
        if (threadIdx.x == 0) y[image] = state;
    }
}
