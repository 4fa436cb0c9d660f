// Potts selectors over a window of tokens (isingnpu/npu/selectors.py): a warp for every position.
//
// Key j of position t is a = t - window + j. Sums by token go through shared memory, a column of q
// numbers for every lane, which no other lane writes; a colour then adds the 32 columns in an
// order of its own, so that nothing is atomic and the bits are the same every time.
// Per position and lag: 5 bytes of cache per key and 32 additions per colour; shared 128 q bytes
// per warp. Loads from the first cache bound both kernels.
#include "text.cuh"

#define THREADS 128  // at most

__device__ __forceinline__ u32 here() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u32 stride() { return gridDim.x * blockDim.x; }

// Row c of the columns added up; lanes begin at different ones, which lie in different banks.
__device__ __forceinline__ float row_sum(const float* columns, u32 c) {
    float sum = 0.0f;
    for (u32 k = 0; k < 32; ++k) sum += columns[32 * c + ((k + c) & 31)];
    return sum;
}

// Numbers of the lane's column to nothing.
__device__ __forceinline__ void clear(float* columns, u32 q) {
    for (u32 c = 0; c < q; ++c) columns[32 * c + threadIdx.x % 32] = 0.0f;
}

// prior (size, window) becomes P(a), mass (size, q) the probability that a colour is selected;
// match (reach, q, q), bias (window,)
extern "C" __global__ void __launch_bounds__(THREADS)
    selector_prior(const u8* __restrict__ x, const i64* __restrict__ starts, u32 length, u32 size,
                   u32 q, u32 reach, u32 window, const float* __restrict__ match,
                   const float* __restrict__ bias, float* __restrict__ mass,
                   float* __restrict__ prior) {
    DYNAMIC_SHARED(float, shared);
    const u32 lane = threadIdx.x % 32;
    float* columns = shared + threadIdx.x / 32 * 32 * q;
    for (u32 b = here() / 32; b < size; b += stride() / 32) {
        const u8* at = x + position(starts, length, b);
        float* p = prior + (u64)b * window;
        float top = -3.0e38f, total = 0.0f;
        for (u32 j = lane; j < window; j += 32) {
            const u8 *now = at - 1, *key = at - window + j - 1;
            float score = bias[j];
            if (reach % 2)
                score += match[((reach - 1) * q + *(now - reach + 1)) * q + *(key - reach + 1)];
            for (u32 lag = 0; lag + 1 < reach; lag += 2)
                score += match[(lag * q + *(now - lag)) * q + *(key - lag)] +
                         match[((lag + 1) * q + *(now - lag - 1)) * q + *(key - lag - 1)];
            p[j] = score;
            top = fmaxf(top, score);
        }
        top = warp_max(top);
        for (u32 j = lane; j < window; j += 32) {
            const float e = exp_below(p[j] - top);
            p[j] = e;
            total += e;
        }
        const float share = 1.0f / warp_sum(total);
        __syncwarp();  // the columns of the last position are read; shuffles order no memory
        clear(columns, q);
        for (u32 j = lane; j < window; j += 32) {
            const float chance = __fmul_rn(p[j], share);  // rounded before it is added
            p[j] = chance;
            columns[32 * *(at - window + j) + lane] += chance;
        }
        __syncwarp();
        for (u32 c = lane; c < q; c += 32) mass[(u64)b * q + c] = row_sum(columns, c);
    }
}

// With D_a = P(a) (credit[b, x_a] - expected[b]): sums (size, reach, q) become those of D_a over
// the keys with x[a - 1 - lag] = c, pulls (size,) that of D_a distance[j]
extern "C" __global__ void __launch_bounds__(THREADS)
    posterior_minus_prior(const u8* __restrict__ x, const i64* __restrict__ starts, u32 length,
                          u32 size, u32 q, u32 reach, u32 window, const float* __restrict__ prior,
                          const float* __restrict__ credit, const float* __restrict__ expected,
                          const float* __restrict__ distance, float* __restrict__ sums,
                          float* __restrict__ pulls) {
    DYNAMIC_SHARED(float, shared);
    const u32 lane = threadIdx.x % 32;
    float* columns = shared + threadIdx.x / 32 * 32 * q;
    for (u32 b = here() / 32; b < size; b += stride() / 32) {
        const u8* keys = x + position(starts, length, b) - window;
        const float *p = prior + (u64)b * window, *gain = credit + (u64)b * q;
        const float mean = expected[b];
        float pull = 0.0f;
        for (u32 lag = 0; lag < reach; ++lag) {
            __syncwarp();  // the columns of the lag before are read
            clear(columns, q);
            for (u32 j = lane; j < window; j += 32) {
                const u8* key = keys + j;
                const float change = __fmul_rn(p[j], gain[*key] - mean);
                columns[32 * *(key - 1 - lag) + lane] += change;
                if (lag == 0) pull = fmaf(change, distance[j], pull);
            }
            __syncwarp();
            for (u32 c = lane; c < q; c += 32)
                sums[((u64)b * reach + lag) * q + c] = row_sum(columns, c);
        }
        pull = warp_sum(pull);
        if (lane == 0) pulls[b] = pull;
    }
}
