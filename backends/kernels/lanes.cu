// Sweeps of any model: a thread visits four replicas of a site, a group of blocks owns LANES
// replicas for the whole schedule.
//
// Sites are sorted by level: a site's level is above those of its neighbours that a sweep visits
// before it, so that the sites of a level are independent and one barrier a level gives what one
// visit after another gives. A state holds a byte per spin, 1 is down, as (groups, sites, LANES).
//
// Defines: LANES 16, 32, 64 or 128; DRAWS, ROUNDS, HEAT_BATH, TABLE as in draws.cuh and
// limits.cuh; NARROW: no field is above 127 quanta; SPLIT: several blocks share a group; MANY:
// groups belong to models of their own, which stand one behind the other in all arrays.
#include "barrier.cuh"
#include "draws.cuh"
#include "limits.cuh"

#define QUADS (LANES / 4)
#if MANY
#define BOUNDS 256, 2  // threads of a block, at most 128 registers each
#else
#define BOUNDS 768  // at most 80 registers each
#endif
#define BYTES 252  // visits whose flips are counted in bytes

#if NARROW
typedef int Energy;  // of one thread and sweep
#else
typedef i64 Energy;
#endif

// What a thread has seen of its four replicas: change of the energies, and byte by byte flips and
// flips from down to up.
struct Tally {
    Energy energy[4];
    u32 flips, risen, visits;
};

// What the threads of a block have seen in a sweep.
struct Sums {
    u64 energy[LANES];
    u32 flips[LANES], risen[LANES];
};

#if MANY
// Where the model of a group begins in each array, and what a lone model has as arguments.
struct Part {
    u64 spins, given;    // the group's, u32 of four replicas; the model's (replicas, n)
    u64 table, seed;
    u32 site, level;     // of place, starts, firsts and order; of levels
    u32 limit, column;   // of constant, cutoff and slopes; of rows
    u32 n, n_levels, colours, bound;
    u32 replica;         // of the group's first lane
    u32 first, replicas; // lane of the model's first one, counted from the group's first
};
#define PART_OF_GROUP const Part part = parts[blockIdx.y]
#define AND_PARTS , const Part* parts
#else
#define AND_PARTS
#endif

// Local fields of four replicas. rows: the group's spins at this quad; start: h_i + sum_j J_ij.
__device__ __forceinline__ void fields(const u32* rows, int start, const uint2* entry,
                                       const uint2* end, int h[4]) {
#if NARROW
    // bytes 128 + sum_j J_ij [s_j down]: none leaves 0 .. 255, whatever is borrowed on the way
    u32 sum = 0x80808080u;
    for (; entry < end; ++entry) {
        uint2 e = __ldg(entry);
        sum += e.y * rows[(size_t)e.x * QUADS];
    }
#pragma unroll
    for (int b = 0; b < 4; ++b) h[b] = start + 256 - 2 * (int)(sum >> 8 * b & 255);
#else
    u32 sum[4] = {0, 0, 0, 0};
    for (; entry < end; ++entry) {
        uint2 e = __ldg(entry);
        u32 down = rows[(size_t)e.x * QUADS];
#pragma unroll
        for (int b = 0; b < 4; ++b) sum[b] += e.y * (down >> 8 * b & 1);
    }
#pragma unroll
    for (int b = 0; b < 4; ++b) h[b] = (int)((u32)start - 2 * sum[b]);
#endif
}

// Visits one site: its word of spins, fields, the first 16 bits of each integer, threshold rows.
// Returns how many whole integers were drawn.
__device__ __forceinline__ u32 decide(u32* word, const int h[4], const u32 first[4],
                                      const int row[4], const Limits& limits, const Place& at,
                                      u32 replica, u64 seed, Tally& tally) {
    const u32 down = *word;
    u32 accepted = 0, open = 0, wholes = 0;
#pragma unroll
    for (int b = 0; b < 4; ++b) {
        const int x = HEAT_BATH || !(down >> 8 * b & 1) ? h[b] : -h[b];
        const int verdict = early(first[b], x, row[b], limits);
        accepted |= (u32)(verdict == ACCEPT) << 8 * b;
        open |= (u32)(verdict == OPEN) << 8 * b;
    }
    while (open) {
        const int bit = __ffs((int)open) - 1;
        int x = 0, own = 0;
#pragma unroll
        for (int b = 0; b < 4; ++b)
            if (bit == 8 * b) {
                x = HEAT_BATH || !(down >> 8 * b & 1) ? h[b] : -h[b];
                own = row[b];
            }
        const u64 r = whole_integer(at, replica + (u32)bit / 8, seed);
        accepted |= (u32)accepts(r, x, own, limits) << bit;
        open &= open - 1;
        ++wholes;
    }
    // accepted: flips, or in heat bath spins that shall be up
    const u32 change = HEAT_BATH ? accepted ^ down ^ 0x01010101u : accepted;
    if (change) {
        *word = down ^ change;
        tally.flips += change;
        tally.risen += change & down;
#pragma unroll
        for (int b = 0; b < 4; ++b)
            if (change >> 8 * b & 1)
                tally.energy[b] += (Energy)(down >> 8 * b & 1 ? -h[b] : h[b]);
    }
    return wholes;
}

// Moves the counts of a thread that are bytes to the sums of its block.
__device__ __forceinline__ void drain(Tally& tally, Sums& sums, u32 quad) {
    if (tally.flips)
        for (u32 b = 0; b < 4; ++b) {
            atomicAdd(&sums.flips[4 * quad + b], tally.flips >> 8 * b & 255);
            atomicAdd(&sums.risen[4 * quad + b], tally.risen >> 8 * b & 255);
        }
    tally.flips = tally.risen = tally.visits = 0;
}

__device__ __forceinline__ i64 add_up(i64 value) {
#pragma unroll
    for (int by = 16; by >= QUADS; by >>= 1) value += __shfl_down_sync(FULL_WARP, value, by);
    return value;
}

// grid (blocks of a group, groups); every argument is of isingnpu/backends/cuda/lanes.py.
extern "C" __global__ void __launch_bounds__(BOUNDS)
sweep(u32* spins, u32* best, i64* now, i64* lowest, i64* up, i64* since, i64* total,
      const uint4* place, const int* starts, const u32* firsts, const uint2* entries,
      const u32* levels, u32 n_levels, u32 n, u32 colours,
      const u64* table, const u64* constant, const i64* cutoff, const u64* exponential,
      const int2* slopes, int bound, const int* rows, u32 columns, u32 sweeps,
      u64 seed, u32 replica, u32 number, u32 every, u32 track,
      i64* energies, i64* magnetizations, i64* flips, i64* path, u64* counts, u32* arrived
      AND_PARTS) {
    __shared__ Sums sums;
    __shared__ u32 better[QUADS];
    const u32 blocks = gridDim.x, group = blockIdx.y, lanes = gridDim.y * LANES;
    const u32 thread = threadIdx.x, threads = blockDim.x, quad = thread % QUADS;
    const u32 lane = group * LANES + 4 * quad;
    const u32 per_pass = blocks * threads / QUADS;  // chunks of four sites
    const u32 own_chunk = (blockIdx.x * threads + thread) / QUADS;
    const u32 warp_chunk = (blockIdx.x * threads + (thread & ~31u)) / QUADS;
#if MANY
    PART_OF_GROUP;
    place += part.site;
    starts += part.site;
    firsts += part.site;
    levels += part.level;
    table += part.table;
    constant += 2 * part.limit;
    cutoff += part.limit;
    slopes += part.limit;
    rows += part.column;
    counts += group;
    n = part.n;
    n_levels = part.n_levels;
    colours = part.colours;
    bound = (int)part.bound;
    seed = part.seed;
    replica = part.replica - group * LANES;
    u32* const state = spins + part.spins;
    u32* const own_best = best + part.spins;
#else
    u32* const state = spins + (size_t)group * n * QUADS;
    u32* const own_best = best + (size_t)group * n * QUADS;
#endif
    const Limits limits = {table, constant, cutoff, exponential, slopes, bound};
    u32 target = 0, taken = 0, wholes = 0;
    for (u32 k = thread; k < LANES; k += threads) {
        sums.energy[k] = 0;
        sums.flips[k] = sums.risen[k] = 0;
    }
    __syncthreads();
    for (u32 t = 0; t < sweeps; ++t) {
        Tally tally = {{0, 0, 0, 0}, 0, 0, 0};
        const u32 clock = number + t;
        int row[4];
#pragma unroll
        for (int b = 0; b < 4; ++b)
            row[b] = rows[(size_t)t * columns + (MANY || columns == 1 ? 0 : lane + b)];
        for (u32 level = 0; level < n_levels; ++level) {
            const u32 begin = levels[level], end = levels[level + 1];
            for (u32 base = begin; base + 4 * warp_chunk < end; base += 4 * per_pass) {
                const u32 site = base + 4 * own_chunk;
#if DRAWS == DRAWS_LANE
                // each lane of a team draws for one of four sites, then they exchange words
                u32 one[4], two[4], drawn = min(site + (thread & 3), n - 1);
                u32 group16 = (replica + lane) / 16, number_of = __ldg(&place[drawn].x);
                philox(group16, number_of, clock, 0, seed, one);
                philox(group16, number_of, clock, 1, seed, two);
                transpose(one);
                transpose(two);
#endif
#pragma unroll 1
                for (u32 i = site; i < min(site + 4, end); ++i) {
                    const Place at = place_of(__ldg(place + i), clock, colours);
                    u32 first[4];
#if DRAWS == DRAWS_LANE
#pragma unroll
                    for (int b = 0; b < 4; ++b)
                        first[b] = (one[0] >> 8 * b & 255) << 8 | (two[0] >> 8 * b & 255);
#pragma unroll
                    for (int k = 0; k < 3; ++k) {
                        one[k] = one[k + 1];
                        two[k] = two[k + 1];
                    }
#else
                    first_bits(at, replica + lane, seed, first);
#endif
                    int h[4];
                    fields(state + quad, starts[i], entries + firsts[i], entries + firsts[i + 1],
                           h);
                    wholes += decide(state + (size_t)i * QUADS + quad, h, first, row, limits, at,
                                     replica + lane, seed, tally);
                }
                tally.visits += 4;
                if (tally.visits == BYTES) drain(tally, sums, quad);
            }
#if SPLIT
            meet(arrived + group, blocks, target);
#else
            __syncthreads();
#endif
        }
        drain(tally, sums, quad);
#pragma unroll
        for (int b = 0; b < 4; ++b) {
            const i64 energy = add_up(tally.energy[b]);
            if ((thread & 31) < QUADS) atomicAdd(&sums.energy[4 * quad + b], (u64)energy);
        }
        __syncthreads();
        for (u32 k = thread; k < LANES; k += threads) {
            const u32 at = group * LANES + k, flipped = sums.flips[k], risen = sums.risen[k];
            atomicAdd((u64*)(now + at), 2 * sums.energy[k]);
            atomicAdd((u64*)(up + at), (u64)(4 * (i64)risen - 2 * (i64)flipped));
            atomicAdd((u64*)(since + at), (u64)flipped);
            atomicAdd((u64*)(total + at), (u64)flipped);
            sums.energy[k] = 0;
            sums.flips[k] = sums.risen[k] = 0;
        }
        const bool sample = every && (clock + 1) % every == 0;
        if (!track && !sample) {
            __syncthreads();
            continue;
        }
#if SPLIT
        meet(arrived + group, blocks, target);
#else
        __syncthreads();
#endif
        if (track) {
            for (u32 k = thread; k < QUADS; k += threads) {
                u32 mask = 0;
                for (u32 b = 0; b < 4; ++b) {
                    const u32 at = group * LANES + 4 * k + b;
                    if (*(volatile i64*)(now + at) < *(volatile i64*)(lowest + at))
                        mask |= 255u << 8 * b;
                }
                better[k] = mask;
            }
            __syncthreads();
            const u32 mask = better[quad];
            if (mask)
                for (u32 i = own_chunk; i < n; i += per_pass) {
                    const size_t at = (size_t)i * QUADS + quad;
                    own_best[at] = (own_best[at] & ~mask) | (state[at] & mask);
                }
        }
#if SPLIT
        meet(arrived + group, blocks, target);  // all blocks have compared
#else
        __syncthreads();
#endif
        if (blockIdx.x == 0)
            for (u32 k = thread; k < LANES; k += threads) {
                const u32 at = group * LANES + k;
                const i64 energy = *(volatile i64*)(now + at);
                if (track & 2) path[(size_t)t * lanes + at] = energy;
                if (track && energy < lowest[at]) lowest[at] = energy;
                if (sample) {
                    const size_t to = (size_t)taken * lanes + at;
                    energies[to] = energy;
                    magnetizations[to] = *(volatile i64*)(up + at);
                    flips[to] = *(volatile i64*)(since + at);
                    since[at] = 0;
                }
            }
        taken += sample;
#if SPLIT
        meet(arrived + group, blocks, target);
#else
        __syncthreads();
#endif
    }
    if (wholes) atomicAdd(counts, (u64)wholes);
}

// Energies and magnetizations of whole states; grid (blocks, groups).
extern "C" __global__ void __launch_bounds__(BOUNDS)
measure(const u32* spins, i64* energy, i64* up, const int* starts, const int* fields_of,
        const u32* firsts, const uint2* entries, u32 n AND_PARTS) {
    const u32 group = blockIdx.y, quad = threadIdx.x % QUADS;
#if MANY
    PART_OF_GROUP;
    starts += part.site;
    fields_of += part.site;
    firsts += part.site;
    n = part.n;
    const u32* const state = spins + part.spins;
#else
    const u32* const state = spins + (size_t)group * n * QUADS;
#endif
    i64 twice[4] = {0, 0, 0, 0};
    int sum[4] = {0, 0, 0, 0};
    for (u32 i = (blockIdx.x * blockDim.x + threadIdx.x) / QUADS; i < n;
         i += gridDim.x * blockDim.x / QUADS) {
        int h[4];
        fields(state + quad, starts[i], entries + firsts[i], entries + firsts[i + 1], h);
        const u32 down = state[(size_t)i * QUADS + quad];
#pragma unroll
        for (int b = 0; b < 4; ++b) {
            const int s = down >> 8 * b & 1 ? -1 : 1;
            twice[b] -= s * ((i64)h[b] + fields_of[i]);
            sum[b] += s;
        }
    }
    for (int b = 0; b < 4; ++b) {
        const u32 at = group * LANES + 4 * quad + b;
        atomicAdd((u64*)(energy + at), (u64)twice[b]);
        atomicAdd((u64*)(up + at), (u64)(i64)sum[b]);
    }
}

// Sums of weights of spins up minus down, by pieces of `piece` sites, which the host adds in
// order: partial (pieces, k, lanes). grid (pieces, groups, k); LANES threads.
extern "C" __global__ void weigh(const u8* spins, const double* weights, double* partial, u32 n,
                                 u32 piece) {
    const u32 group = blockIdx.y, lane = threadIdx.x, lanes = gridDim.y * LANES;
    const u8* const state = spins + (size_t)group * n * LANES + lane;
    const u32 begin = blockIdx.x * piece, end = min(begin + piece, n);
    double sum = 0;
    for (u32 i = begin; i < end; ++i) {
        const double w = weights[(size_t)blockIdx.z * n + i];
        sum += state[(size_t)i * LANES] ? -w : w;
    }
    partial[((size_t)blockIdx.x * gridDim.z + blockIdx.z) * lanes + group * LANES + lane] = sum;
}

// States of the request's replicas, (replicas, sites) of -1 and 1 by site number, to and from
// bytes by lane. order: the site of each row; first: lane of the first replica. grid (blocks,
// groups).
#if MANY
#define STATES                                                                        \
    PART_OF_GROUP;                                                                    \
    order += part.site;                                                               \
    spins += 4 * part.spins;                                                          \
    given += part.given;                                                              \
    n = part.n;                                                                       \
    replicas = part.replicas;                                                         \
    const u32 ahead = 0u - part.first
#else
#define STATES                                                                        \
    spins += (size_t)blockIdx.y * n * LANES;                                          \
    const u32 ahead = blockIdx.y * LANES - first
#endif

extern "C" __global__ void pack(const signed char* given, u8* spins, const u32* order, u32 n,
                                u32 replicas, u32 first AND_PARTS) {
    STATES;
    const size_t all = (size_t)n * LANES, step = (size_t)gridDim.x * blockDim.x;
    for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step) {
        const u32 r = ahead + (u32)(k % LANES);  // wraps below the first
        if (r < replicas) spins[k] = given[(size_t)r * n + order[k / LANES]] < 0;
    }
}

extern "C" __global__ void unpack(const u8* spins, signed char* given, const u32* order, u32 n,
                                  u32 replicas, u32 first AND_PARTS) {
    STATES;
    const size_t all = (size_t)n * LANES, step = (size_t)gridDim.x * blockDim.x;
    for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step) {
        const u32 r = ahead + (u32)(k % LANES);
        if (r < replicas) given[(size_t)r * n + order[k / LANES]] = spins[k] ? -1 : 1;
    }
}
