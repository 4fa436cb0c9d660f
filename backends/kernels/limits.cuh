// Decisions of single spins: 64-bit integers against thresholds; isingnpu/dynamics.py.
//
// x is v = s_i h_i (Metropolis) or h_i (HEAT_BATH), in quanta. TABLE: thresholds are looked up;
// else the integer exponential makes them. bound is the largest |h_i|.
#pragma once
#include "portable.cuh"

#define ACCEPT 1
#define REJECT 0
#define OPEN 2

struct Limits {
    const u64* table;        // (k, bound + 1), heat bath (k, 2 bound + 1)
    const u64* constant;     // (k, 2) C >> 32, C mod 2^32
    const i64* cutoff;       // (k,) the smallest v with e(v) = 0
    const u64* exponential;  // (6, 256)
    const int2* slopes;      // (k,) bits of the float k = -2 beta q log2(e), and cut
    int bound;
};

__device__ __forceinline__ u64 threshold(const Limits& limits, int row, int x) {
#if HEAT_BATH
    const size_t width = 2 * (size_t)limits.bound + 1;
    return __ldg(limits.table + (size_t)row * width + (size_t)(x + limits.bound));
#else
    return __ldg(limits.table + (size_t)row * ((size_t)limits.bound + 1) + (size_t)x);
#endif
}

// 2^16 2^(k x): the quartic of backends/cpu/lanes_estimate.py, off by less than 1/4.
__device__ __forceinline__ float estimate(int x, int2 slope) {
    const float shifter = 12582912.0f;  // 1.5 2^23
    float k = __int_as_float(slope.x), real = __int2float_rn(min(x, slope.y));
    float shifted = __fmaf_rn(real, k, shifter);
    float rest = __fmaf_rn(real, k, -__fsub_rn(shifted, shifter));
    float t = 633.4951171875f;
    t = __fmaf_rn(t, rest, 3664.902587890625f);
    t = __fmaf_rn(t, rest, 15743.287109375f);
    t = __fmaf_rn(t, rest, 45424.37890625f);
    t = __fmaf_rn(t, rest, 65536.0f);
    return __int_as_float((int)((u32)__float_as_int(t) + ((u32)__float_as_int(shifted) << 23)));
}

// What the first 16 bits of the integer say.
__device__ __forceinline__ int early(u32 first, int x, int row, const Limits& limits) {
#if !HEAT_BATH
    if (x <= 0) return ACCEPT;
#endif
#if TABLE
    u32 t = (u32)(threshold(limits, row, x) >> 48);
    return first < t ? ACCEPT : first > t ? REJECT : OPEN;
#else
    int2 slope = __ldg(limits.slopes + row);
    float t = estimate(x < 0 ? -x : x, slope), drawn = __int2float_rn((int)first);
    float step = 1.0f, error = 0.25f;
#if HEAT_BATH
    drawn = __fmaf_rn(__fmul_rn(t, 1.0f / 65536.0f), drawn, drawn);
    t = x < 0 ? t : 65536.0f;
    step = 2.0f;
    error = 0.5f;
#endif
    float gap = __fsub_rn(t, drawn);
    return gap >= step + error ? ACCEPT : gap <= -error ? REJECT : OPEN;
#endif
}

__device__ inline u64 fixed_exponential(u64 v, int row, const Limits& limits) {
    if ((i64)v >= limits.cutoff[row]) return 0;
    u64 y = v * limits.constant[2 * row] + (v * limits.constant[2 * row + 1] >> 32);
    u64 e = limits.exponential[y >> 40 & 255];
    for (int k = 1; k < 6; ++k)
        e = __umul64hi(e, limits.exponential[256 * k + (y >> (40 - 8 * k) & 255)]);
    return e >> (y >> 48);
}

// The decision of the whole integer.
__device__ inline bool accepts(u64 r, int x, int row, const Limits& limits) {
#if !HEAT_BATH
    if (x <= 0) return true;
#endif
#if TABLE
    return r < threshold(limits, row, x);
#elif HEAT_BATH
    u64 e = fixed_exponential((u64)(x < 0 ? -(i64)x : (i64)x), row, limits);
    u64 total = r + __umul64hi(r, e);
    bool carried = total < r;  // out of 64 bits
    return x >= 0 ? !carried : !carried && total < e;
#else
    return r < fixed_exponential((u64)x, row, limits);
#endif
}
