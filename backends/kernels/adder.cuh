// Sums of bits, 64 columns at a time: carry-save counters whose planes are words.
#pragma once
#include "portable.cuh"

// Adds N words (a power of two) of weight 2^D to the counter c, modulo 2^P.
template <int D, int N, int P>
__device__ __forceinline__ void add(u64 (&c)[P], const u64 (&x)[N]) {
    if constexpr (N == 1) {
        const u64 carry[1] = {c[D] & x[0]};
        c[D] ^= x[0];
        if constexpr (D + 1 < P) add<D + 1, 1, P>(c, carry);
    } else {
        u64 carry[N / 2];
#pragma unroll
        for (int k = 0; k < N / 2; ++k) {
            const u64 a = x[2 * k], b = x[2 * k + 1];
            carry[k] = (c[D] & a) | (b & (c[D] | a));
            c[D] ^= a ^ b;
        }
        if constexpr (D + 1 < P) add<D + 1, N / 2, P>(c, carry);
    }
}

// Adds the counters of the lanes of a warp whose numbers agree modulo W and adds 2^shift times
// every column to sums, 64 columns of each of W words. The halves of a word part company first:
// bit 4 of a lane's number names the half that it goes on with.
template <int W, int P>
__device__ inline void drain(const u64 (&c)[P], u32* sums, int shift) {
    const u32 lane = threadIdx.x & 31;
    const bool upper = lane & 16;
    u32 h[P + 5], carry = 0;
#pragma unroll
    for (int d = 0; d < P; ++d) {
        const u32 low = (u32)c[d], high = (u32)(c[d] >> 32), own = upper ? high : low;
        const u32 other = __shfl_xor_sync(FULL_WARP, upper ? low : high, 16);
        h[d] = own ^ other ^ carry;
        carry = (own & other) | (carry & (own | other));
    }
    h[P] = carry;
    int planes = P + 1;
#pragma unroll
    for (int by = 8; by >= W; by >>= 1) {
        carry = 0;
#pragma unroll
        for (int d = 0; d < P + 4; ++d) {
            if (d >= planes) continue;
            const u32 own = h[d], other = __shfl_xor_sync(FULL_WARP, own, by);
            h[d] = own ^ other ^ carry;
            carry = (own & other) | (carry & (own | other));
        }
        h[planes++] = carry;
    }
    u32* const to = sums + 64 * (lane % W) + 2 * (lane & 16);
#pragma unroll 1
    for (u32 k = 0; k < 2 * W; ++k) {
        const u32 bit = (lane & 15) / W * 2 * W + k;
        u32 value = 0;
#pragma unroll
        for (int d = 0; d < P + 5; ++d)
            if (d < planes) value += (h[d] >> bit & 1) << d;
        if (value) atomicAdd(to + bit, value << shift);
    }
}
