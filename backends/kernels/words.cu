// States of a coloured lattice, (replicas, sites) of -1 and 1, to and from the words that
// lattice.cu sweeps, (replicas, colours, rows, words); `Colouring` in isingnpu/layout.py says where
// a site lies. A thread makes or reads one word; bound by memory, 9 bytes a site and replica where
// rows are long.
#include "portable.cuh"

// phases (rows,): what the axes but the last add to the colour; extent: sites of the last axis.
struct Colours {
    const u32* phases;
    u32 basis, period, rows, words;
    u64 extent;
};

// The site of bit 0 of word k of a replica; x: its place along the last axis, which a bit further
// on is `period` * words sites ahead.
__device__ __forceinline__ u64 first_site(const Colours& c, u64 k, u64& x) {
    const u32 w = (u32)(k % c.words), row = (u32)(k / c.words % c.rows);
    const u32 colour = (u32)(k / c.words / c.rows);
    const u32 first = (colour % c.period + c.period - c.phases[row] % c.period) % c.period;
    x = (u64)c.period * w + first;
    return ((u64)row * c.extent + x) * c.basis + colour / c.period;
}

extern "C" __global__ void pack(const signed char* given, u64* spins, const u32* phases, u32 basis,
                                u32 period, u32 rows, u32 words, u64 extent, u64 sites,
                                u64 per_replica, u32 replicas) {
    const Colours c = {phases, basis, period, rows, words, extent};
    const u64 all = per_replica * replicas, step = (u64)gridDim.x * blockDim.x;
    for (u64 k = (u64)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step) {
        u64 x, bits = 0;
        const signed char* at = given + k / per_replica * sites + first_site(c, k % per_replica, x);
        const u64 ahead = (u64)period * words;
        for (u32 b = 0; b < 64 && x < extent; ++b, x += ahead, at += ahead * basis)
            bits |= (u64)(*at > 0) << b;
        spins[k] = bits;
    }
}

extern "C" __global__ void unpack(const u64* spins, signed char* made, const u32* phases, u32 basis,
                                  u32 period, u32 rows, u32 words, u64 extent, u64 sites,
                                  u64 per_replica, u32 replicas) {
    const Colours c = {phases, basis, period, rows, words, extent};
    const u64 all = per_replica * replicas, step = (u64)gridDim.x * blockDim.x;
    for (u64 k = (u64)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step) {
        u64 x;
        signed char* at = made + k / per_replica * sites + first_site(c, k % per_replica, x);
        const u64 bits = spins[k], ahead = (u64)period * words;
        for (u32 b = 0; b < 64 && x < extent; ++b, x += ahead, at += ahead * basis)
            *at = bits >> b & 1 ? 1 : -1;
    }
}
