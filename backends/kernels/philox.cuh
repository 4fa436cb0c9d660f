// Philox4x32 with ROUNDS rounds: the generator of isingnpu/rng.py.
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once
#include "portable.cuh"

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

// Streams of isingnpu.rng.Stream, at their place in the last counter word.
#define STREAM_BOND (8u << 5)
#define STREAM_COIN (9u << 5)
#define STREAM_SHARED (13u << 5)

__device__ __forceinline__ void philox_round(u32 x[4], u32 k0, u32 k1) {
    u64 p0 = (u64)PHILOX_M0 * x[0], p1 = (u64)PHILOX_M1 * x[2];
    u32 x0 = (u32)(p1 >> 32) ^ x[1] ^ k0, x2 = (u32)(p0 >> 32) ^ x[3] ^ k1;
    x[0] = x0;
    x[1] = (u32)p1;
    x[2] = x2;
    x[3] = (u32)p0;
}

// The four output words of counter (c0, c1, c2, c3), key = seed, low word first.
__device__ __forceinline__ void philox(u32 c0, u32 c1, u32 c2, u32 c3, u64 seed, u32 x[4]) {
    x[0] = c0;
    x[1] = c1;
    x[2] = c2;
    x[3] = c3;
    u32 k0 = (u32)seed, k1 = (u32)(seed >> 32);
#pragma unroll
    for (int r = 0; r < ROUNDS; ++r) {
        philox_round(x, k0, k1);
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
}

// The keys of all rounds.
struct Keys {
    u32 first[ROUNDS], second[ROUNDS];
};

__device__ __forceinline__ Keys keys_of(u64 seed) {
    Keys keys;
#pragma unroll
    for (u32 r = 0; r < ROUNDS; ++r) {
        keys.first[r] = (u32)seed + r * PHILOX_W0;
        keys.second[r] = (u32)(seed >> 32) + r * PHILOX_W1;
    }
    return keys;
}

// The same with keys made beforehand.
__device__ __forceinline__ void philox(u32 c0, u32 c1, u32 c2, u32 c3, const Keys& keys,
                                       u32 x[4]) {
    x[0] = c0;
    x[1] = c1;
    x[2] = c2;
    x[3] = c3;
#pragma unroll
    for (int r = 0; r < ROUNDS; ++r) philox_round(x, keys.first[r], keys.second[r]);
}
