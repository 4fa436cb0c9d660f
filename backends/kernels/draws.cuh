// Random integers of single-spin decisions in the four layouts of isingnpu/rng.py.
//
// A quad is four neighbouring replicas, the first a multiple of four. DRAWS names the layout.
#pragma once
#include "philox.cuh"

#define DRAWS_LANE 0
#define DRAWS_PLANE 1
#define DRAWS_LATTICE 2
#define DRAWS_SHARED 3

// What names a decision besides the replica: site and sweep, or word, row, clock and bit.
struct Place {
    u32 c0, c1, c2, bit;
};

// place: the site, or (word, row, colour, bit) in layout lattice.
__device__ __forceinline__ Place place_of(uint4 place, u32 sweep, u32 colours) {
#if DRAWS == DRAWS_LATTICE
    return {place.x, place.y, colours * sweep + place.z, place.w};
#else
    return {0, place.x, sweep, 0};
#endif
}

#if DRAWS != DRAWS_LANE && DRAWS != DRAWS_SHARED
// Bits 2 call and 2 call + 1 of the integer, most significant first.
__device__ __forceinline__ u32 two_bits(const Place& at, u32 replica, u32 call, u64 seed) {
    u32 x[4];
#if DRAWS == DRAWS_PLANE
    u32 c0 = replica / 64, c3 = call, bit = replica % 64;
#else
    u32 c0 = at.c0, c3 = call | replica << 11, bit = at.bit;
#endif
    philox(c0, at.c1, at.c2, c3, seed, x);
    u32 first = bit < 32 ? x[0] : x[1], second = bit < 32 ? x[2] : x[3];
    return (first >> (bit & 31) & 1) << 1 | (second >> (bit & 31) & 1);
}
#endif

// The whole integer of one replica.
__device__ __forceinline__ u64 whole_integer(const Place& at, u32 replica, u64 seed) {
    u64 r = 0;
#if DRAWS == DRAWS_LANE
#pragma unroll 1
    for (u32 call = 0; call < 8; ++call) {
        u32 x[4], byte = replica % 16;
        philox(replica / 16, at.c1, at.c2, call, seed, x);
        u32 word = byte < 4 ? x[0] : byte < 8 ? x[1] : byte < 12 ? x[2] : x[3];
        r = r << 8 | (word >> 8 * (byte & 3) & 255);
    }
#elif DRAWS == DRAWS_SHARED
    u32 x[4];
    philox(0, at.c1, at.c2, STREAM_SHARED, seed, x);
    r = (u64)x[1] << 32 | x[0];
#else
#pragma unroll 1
    for (u32 call = 0; call < 32; ++call) r = r << 2 | two_bits(at, replica, call, seed);
#endif
    return r;
}

#if DRAWS != DRAWS_LANE
// The first 16 bits of a quad whose first replica is given.
__device__ inline void first_bits(const Place& at, u32 replica, u64 seed, u32 first[4]) {
#if DRAWS == DRAWS_SHARED
    u32 all = (u32)(whole_integer(at, replica, seed) >> 48);
    for (int b = 0; b < 4; ++b) first[b] = all;
#elif DRAWS == DRAWS_PLANE
    for (int b = 0; b < 4; ++b) first[b] = 0;
#pragma unroll 1
    for (u32 call = 0; call < 8; ++call) {
        u32 x[4], bit = replica % 64;
        philox(replica / 64, at.c1, at.c2, call, seed, x);
        u32 one = (bit < 32 ? x[0] : x[1]) >> (bit & 31);
        u32 two = (bit < 32 ? x[2] : x[3]) >> (bit & 31);
        for (int b = 0; b < 4; ++b) first[b] = first[b] << 2 | (one >> b & 1) << 1 | (two >> b & 1);
    }
#else
    for (int b = 0; b < 4; ++b) {
        first[b] = 0;
#pragma unroll 1
        for (u32 call = 0; call < 8; ++call)
            first[b] = first[b] << 2 | two_bits(at, replica + (u32)b, call, seed);
    }
#endif
}
#endif

// Words `of` each lane of a team of four change places: lane j is left with word j of lane s in
// of[s].
__device__ __forceinline__ void transpose(u32 of[4]) {
    u32 lane = threadIdx.x & 3;
#pragma unroll
    for (u32 step = 1; step < 4; step *= 2) {
        bool high = lane & step;
#pragma unroll
        for (u32 k = 0; k < 4; ++k) {
            if (k & step) continue;
            u32 sent = high ? of[k] : of[k | step];
            u32 got = __shfl_xor_sync(FULL_WARP, sent, (int)step);
            if (high)
                of[k] = got;
            else
                of[k | step] = got;
        }
    }
}
