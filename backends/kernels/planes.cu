// Sweeps of models with small integer couplings: a thread visits 64 replicas of a site, the bits
// of a word; a group of blocks owns WORDS words of every site for the whole schedule.
//
// Rows are sites sorted by level, as in lanes.cu. A state is (groups, n + 1, WORDS) words, 1 is up;
// row n stays zero. A visit counts the neighbours that favour up in carry-save form as
// X - start, whose sign tells that of v or h and whose lower bits are the class of its size; picks
// the bits of the threshold by class, plane by plane, and compares them with the first PLANES
// planes of the random integers from the least significant one up. What is still equal then is
// finished replica by replica.
//
// Per visit of 64 replicas: 8 bytes per neighbour, 24 for the word, its store and its flips; bound
// by integer instructions, most of them of Philox.
//
// Defines: WORDS 1, 2, 4, 8 or 16; BITS of the counter; DIGITS of the couplings; CALLS of Philox
// for every word; OWN: betas per replica; SPLIT: several blocks share a group; ROUNDS; HEAT_BATH.
#include "adder.cuh"
#include "barrier.cuh"
#include "philox.cuh"

#define MAX_THREADS 512
#define LANES (64 * WORDS)
#define PLANES (2 * CALLS)
#define LEAVES (1 << (BITS - 1))
#define SIDES (1 + HEAT_BATH)
#define AHEAD (4 - OWN)  // 2^AHEAD leaves are loaded ahead, into registers
#define DEEP 12  // planes of a tally
#define MOST ((1u << DEEP) - 1)

// What Philox makes of (word, ., sweep, call) before the site matters: of three rounds all but
// two products. calls (CALLS, WORDS): words 0, 2 and 3 of each call, in shared memory.
struct Drawing {
    const uint4* calls;
    u32 site, shared;
};

__device__ __forceinline__ Drawing prepare(u32 word, u32 sweep, u64 seed, const uint4* calls) {
    const u64 of_sweep = (u64)PHILOX_M1 * sweep, of_word = (u64)PHILOX_M0 * word;
    return {calls, (u32)(of_sweep >> 32) ^ (u32)seed,
            (u32)of_word ^ ((u32)(seed >> 32) + PHILOX_W1)};
}

__device__ __forceinline__ uint4 prepare_call(u32 word, u32 sweep, u32 call, u64 seed) {
    const u32 k0 = (u32)seed, k1 = (u32)(seed >> 32);
    const u64 of_sweep = (u64)PHILOX_M1 * sweep, of_word = (u64)PHILOX_M0 * word;
    const u64 p1 = (u64)PHILOX_M1 * ((u32)(of_word >> 32) ^ call ^ k1);
    const u64 p0 = (u64)PHILOX_M0 * ((u32)(p1 >> 32) ^ (u32)of_sweep ^ (k0 + PHILOX_W0));
    return make_uint4((u32)p1 ^ (k0 + 2 * PHILOX_W0), (u32)(p0 >> 32) ^ (k1 + 2 * PHILOX_W1),
                      (u32)p0, 0);
}

struct Sites {
    const uint4* place;  // site, -start, first pair of entries, parity (see planes_lists.py)
    const u32* pairs;    // (n, DIGITS)
    const uint2* entries;  // row | 1 << 31 if it favours up when down
};

struct Limits {
    const u64* table;  // (betas, width)
    const u32* masks;  // (betas, 2, PLANES, SIDES, LEAVES), or words of own betas behind it
    const int* rows;   // beta of each lane
    u32 width, depth, stride;
    int bound;
};

// Spins and classes of a visit: c holds X - start, then the bits of the class below the sign.
struct Visit {
    u64 c[BITS];
    u64 old, sign;
};

template <class T> __device__ __forceinline__ T load(const T* at) {
#if SPLIT
    return __ldcg(at);  // another block may have written it: not from the first cache
#else
    return *at;
#endif
}

template <class T> __device__ __forceinline__ void store(T* at, T word) {
#if SPLIT
    __stcg(at, word);
#else
    *at = word;
#endif
}

__device__ __forceinline__ u64 favours(const u64* state, u32 entry) {
    const u64 mask = (u64)(i64)((int)entry >> 31);
    return load(state + (size_t)(entry & 0x7fffffffu) * WORDS) ^ mask;
}

template <int D>
__device__ __forceinline__ void count(u64 (&c)[BITS], const u64* state, const uint2*& entry,
                                      const u32* pairs) {
    u32 left = __ldg(pairs + D);
    for (; left >= 2; left -= 2, entry += 2) {
        const uint2 e = __ldg(entry), f = __ldg(entry + 1);
        const u64 x[4] = {favours(state, e.x), favours(state, e.y), favours(state, f.x),
                          favours(state, f.y)};
        add<D, 4, BITS>(c, x);
    }
    if (left) {
        const uint2 e = __ldg(entry++);
        const u64 x[2] = {favours(state, e.x), favours(state, e.y)};
        add<D, 2, BITS>(c, x);
    }
    if constexpr (D + 1 < DIGITS && D + 1 < BITS) count<D + 1>(c, state, entry, pairs);
}

// state: the group's spins at this word.
__device__ __forceinline__ void look(Visit& visit, const u64* state, u32 row, const uint4& place,
                                     const Sites& sites) {
    visit.old = load(state + (size_t)row * WORDS);
#pragma unroll
    for (int d = 0; d < BITS; ++d) visit.c[d] = (u64) - (i64)(place.y >> d & 1);
#if !HEAT_BATH
    const u64 own[1] = {place.w ? ~visit.old : 0};  // so that v = 1 + parity + 2 class
    add<0, 1, BITS>(visit.c, own);
#endif
    const uint2* entry = sites.entries + place.z;
    count<0>(visit.c, state, entry, sites.pairs + (size_t)row * DIGITS);
    const u64 turn = HEAT_BATH ? visit.c[BITS - 1] : ~visit.old;
    visit.sign = HEAT_BATH ? visit.c[BITS - 1] : visit.c[BITS - 1] ^ turn;
#pragma unroll
    for (int d = 0; d < BITS - 1; ++d) visit.c[d] ^= turn;
}

// The leaf of the class in the lowest D bits of c. leaf: the first one, of this word if OWN.
template <int D>
__device__ __forceinline__ u64 tree(const u64 (&c)[BITS], const u32* leaf, u32 stride) {
    if constexpr (D == 0) {
#if OWN
        return __ldg((const u64*)leaf);
#else
        const u32 half = __ldg(leaf);
        return (u64)half << 32 | half;
#endif
#if !OWN
    } else if constexpr (D == 2) {
        const uint4 q = __ldg((const uint4*)leaf);
        const u64 a = (u64)q.x << 32 | q.x, b = (u64)q.y << 32 | q.y;
        const u64 e = (u64)q.z << 32 | q.z, f = (u64)q.w << 32 | q.w;
        const u64 low = (c[0] & b) | (~c[0] & a), high = (c[0] & f) | (~c[0] & e);
        return (c[1] & high) | (~c[1] & low);
#endif
    } else if constexpr (D > AHEAD) {
        u64 t = 0;
#pragma unroll 1
        for (int k = 0; k < 1 << (D - AHEAD); ++k) {
            u64 chosen = ~0ull;
#pragma unroll
            for (int d = AHEAD; d < D; ++d) chosen &= c[d] ^ ((u64)(k >> (d - AHEAD) & 1) - 1);
            t |= chosen & tree<AHEAD>(c, leaf + ((size_t)stride * k << AHEAD), stride);
        }
        return t;
    } else {
        const u64 no = tree<D - 1>(c, leaf, stride);
        const u64 yes = tree<D - 1>(c, leaf + ((size_t)stride << (D - 1)), stride);
        return (c[D - 1] & yes) | (~c[D - 1] & no);
    }
}

// Compares with the first PLANES planes: less, and equal where more are asked for. Classes from
// 2^DEPTH on have bits like the last one.
template <int DEPTH>
__device__ __forceinline__ void compare(const Visit& visit, const u32* leaves, u32 stride,
                                        const Drawing& drawing, u32 site, u64 seed, u64& less,
                                        u64& equal) {
    const u64 product = (u64)PHILOX_M0 * (drawing.site ^ site);
    const u64 second = (u64)PHILOX_M1 * ((u32)(product >> 32) ^ drawing.shared);
    u64 far = 0;
#pragma unroll
    for (int d = DEPTH; d < BITS - 1; ++d) far |= visit.c[d];
#pragma unroll 1
    for (int call = CALLS - 1; call >= 0; --call) {
        const uint4 part = drawing.calls[call * WORDS];
        u32 x[4] = {(u32)(second >> 32) ^ part.x, (u32)second, part.y ^ (u32)product, part.z};
#pragma unroll
        for (u32 r = 3; r < ROUNDS; ++r)
            philox_round(x, (u32)seed + r * PHILOX_W0, (u32)(seed >> 32) + r * PHILOX_W1);
#pragma unroll
        for (int half = 1; half >= 0; --half) {
            const u64 r = (u64)x[2 * half + 1] << 32 | x[2 * half];
            const u32* leaf = leaves + (size_t)(2 * call + half) * SIDES * LEAVES * stride;
            u64 t = tree<DEPTH>(visit.c, leaf, stride);
#if HEAT_BATH
            const u64 below = tree<DEPTH>(visit.c, leaf + LEAVES * stride, stride) & ~far;
            t = (visit.sign & below) | (~visit.sign & (t | far));
#else
            t &= ~far;
#endif
            less = (t & ~r) | (~(t ^ r) & less);
            equal &= ~(t ^ r);
        }
    }
}

template <int DEPTH>
__device__ __forceinline__ void compare_at(const Visit& visit, const u32* leaves, u32 stride,
                                           u32 depth, const Drawing& drawing, u32 site, u64 seed,
                                           u64& less, u64& equal) {
    if constexpr (DEPTH < BITS - 1) {
        if (depth > DEPTH)
            return compare_at<DEPTH + 1>(visit, leaves, stride, depth, drawing, site, seed, less,
                                         equal);
    }
    compare<DEPTH>(visit, leaves, stride, drawing, site, seed, less, equal);
}

// Decides the open replicas by the planes behind the first ones; returns those accepted.
__device__ inline u64 settle(const Visit& visit, u64 open, u32 word, const uint4& place,
                             u32 lane, const Limits& limits, u32 sweep, u64 seed, u64& calls) {
    u64 accepted = 0;
#pragma unroll 1
    for (; open; open &= open - 1) {
        const u32 bit = (u32)__ffsll((i64)open) - 1;
        int j = (int)place.w;
#pragma unroll
        for (int d = 0; d < BITS - 1; ++d) j += (int)(visit.c[d] >> bit & 1) << (d + 1);
#if HEAT_BATH
        const int h = visit.sign >> bit & 1 ? (j & 1 ? -j : -j - 2) : j;
        const size_t x = (size_t)(h + limits.bound);
#else
        const size_t x = (size_t)j + 1;
#endif
        const int row = limits.rows[OWN ? lane + bit : 0];
        u64 rest = __ldg(limits.table + (size_t)row * limits.width + x) << PLANES;
#pragma unroll 1
        for (u32 call = CALLS; call < 32; ++call, rest <<= 2) {
            u32 y[4];
            philox(word, place.x, sweep, call, seed, y);
            ++calls;
            const u32 first = (bit < 32 ? y[0] : y[1]) >> (bit & 31) & 1;
            const u32 two = first << 1 | ((bit < 32 ? y[2] : y[3]) >> (bit & 31) & 1);
            const u32 wanted = (u32)(rest >> 62);
            if (two == wanted) continue;
            accepted |= (u64)(two < wanted) << bit;
            break;
        }
    }
    return accepted;
}

// Visits one row; returns the flips.
__device__ __forceinline__ u64 visit_row(u64* state, u32 row, const Sites& sites,
                                         const Limits& limits, const u32* masks, u32 stride,
                                         const Drawing& drawing, u32 word, u32 lane, u32 sweep,
                                         u64 seed, u64& calls) {
    const uint4 place = __ldg(sites.place + row);
    Visit visit;
    look(visit, state, row, place, sites);
    u64 less = 0, equal = HEAT_BATH ? ~0ull : ~visit.sign;
    const u32* leaves = masks + (size_t)place.w * (PLANES * SIDES * LEAVES) * stride;
    compare_at<1>(visit, leaves, stride, limits.depth, drawing, place.x, seed, less, equal);
    if (equal) less |= settle(visit, equal, word, place, lane, limits, sweep, seed, calls);
    const u64 flip = HEAT_BATH ? less ^ visit.old : visit.sign | less;
    if (flip) store(state + (size_t)row * WORDS, visit.old ^ flip);
    return flip;
}

// Adds 2^shift for every item whose bit is set to sums; item(k): the k-th word. Items are dealt out
// in steps of `step` from `first` on; all threads of a block take part.
template <class Item>
__device__ inline void tally(u32 items, u32 first, u32 step, u32* sums, int shift, Item item) {
    u64 c[DEEP] = {};
    u32 added = 0;
#pragma unroll 1
    for (u32 base = 0; base < items; base += 8 * step) {
        u64 x[8];
#pragma unroll
        for (u32 k = 0; k < 8; ++k) {
            const u32 at = base + k * step + first;
            x[k] = at < items ? item(at) : 0;
        }
        add<0, 8, DEEP>(c, x);
        added += 8;
        if (added > MOST - 8 || base + 8 * step >= items) {
            drain<WORDS, DEEP>(c, sums, shift);
#pragma unroll
            for (int d = 0; d < DEEP; ++d) c[d] = 0;
            added = 0;
        }
    }
}

// Terms of the energy: rows a, b | sign << 31; those of digit d begin at cuts[d].
__device__ inline void tally_edges(const u64* state, const uint2* edges, const u32* cuts, u32 first,
                                   u32 step, u32* sums) {
    for (int d = 0; d < DIGITS; ++d) {
        const uint2* const own = edges + cuts[d];
        tally(cuts[d + 1] - cuts[d], first, step, sums, d, [=](u32 k) {
            const uint2 e = __ldg(own + k);
            return load(state + (size_t)e.x * WORDS) ^ favours(state, e.y);
        });
    }
}

#if SPLIT
#define MEET meet(arrived + group, blocks, target)
#else
#define MEET __syncthreads()
#endif

// grid (blocks of a group, groups); every argument is of isingnpu/backends/cuda/planes.py.
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1)
sweep(u64* spins, u64* best, u64* flipped, u64* held, i64* now, i64* lowest, i64* up, i64* since,
      i64* total, const uint4* place, const u32* pairs, const uint2* entries, const uint2* edges,
      const u32* cuts, const u32* levels, u32 n_levels, u32 n, i64 weights,
      const u64* table, u32 width, int bound, const u32* masks, const u32* patterns,
      const u32* depths, const int* rows, u32 columns, u32 sweeps, u64 seed, u32 word0, u32 number,
      u32 every, u32 track, i64* energies, i64* magnetizations, i64* flips, i64* path,
      u64* counts, u32* arrived) {
    __shared__ u32 sums[3][LANES];
    __shared__ u32 better[2 * WORDS];
    __shared__ uint4 calls_of[CALLS * WORDS];
    const u32 blocks = gridDim.x, group = blockIdx.y, lanes = gridDim.y * LANES;
    const u32 thread = threadIdx.x, threads = blockDim.x, w = thread % WORDS;
    const u32 step = blocks * threads / WORDS, first = (blockIdx.x * threads + thread) / WORDS;
    const u32 word = group * WORDS + w, stride = OWN ? 2 * WORDS * gridDim.y : 1;
    const size_t begin = (size_t)group * (n + 1) * WORDS + w;
    u64 *const state = spins + begin, *const own_best = best + begin, *const f = flipped + begin;
    u64* const kept = held + ((size_t)group * blocks + blockIdx.x) * threads + thread;
    const size_t kept_step = (size_t)gridDim.y * blocks * threads;
    const Sites sites = {place, pairs, entries};
    u32 target = 0, taken = 0, pending = 0;
    u64 calls = 0;
    for (u32 k = thread; k < 3 * LANES; k += threads) sums[k / LANES][k % LANES] = 0;
    __syncthreads();
    for (u32 t = 0; t < sweeps; ++t) {
        const u32 clock = number + t;
        for (u32 k = thread; k < CALLS * WORDS; k += threads)
            calls_of[k] = prepare_call(word0 + group * WORDS + k % WORDS, clock, k / WORDS, seed);
        const Drawing drawing = prepare(word0 + word, clock, seed, calls_of + w);
        const size_t pattern = (size_t)patterns[t] * (2 * PLANES * SIDES * LEAVES) * stride;
        const u32* const own_masks = masks + pattern + (OWN ? 2 * word : 0);
        const Limits limits = {table, masks, rows + (size_t)t * columns, width, depths[t], stride,
                               bound};
        __syncthreads();
        for (u32 level = 0; level < n_levels; ++level) {
            const u32 end = levels[level + 1];
            for (u32 row = levels[level] + first; row < end; row += step) {
                const u64 flip = visit_row(state, row, sites, limits, own_masks, stride, drawing,
                                           word0 + word, 64 * word, clock, seed, calls);
                store(f + (size_t)row * WORDS, flip);
            }
            MEET;
        }
        const bool sample = every && (clock + 1) % every == 0;
        // flips wait in planes until they are asked for or full
        {
            u64 c[DEEP];
#pragma unroll
            for (int d = 0; d < DEEP; ++d) c[d] = pending ? kept[d * kept_step] : 0;
#pragma unroll 1
            for (u32 base = 0; base < n; base += 8 * step) {
                u64 x[8];
#pragma unroll
                for (u32 k = 0; k < 8; ++k) {
                    const u32 at = base + k * step + first;
                    x[k] = at < n ? load(f + (size_t)at * WORDS) : 0;
                }
                add<0, 8, DEEP>(c, x);
                pending += 8;
                const bool last = base + 8 * step >= n;
                if (pending > MOST - 8 || (last && (sample || t + 1 == sweeps))) {
                    drain<WORDS, DEEP>(c, sums[0], 0);
#pragma unroll
                    for (int d = 0; d < DEEP; ++d) c[d] = 0;
                    pending = 0;
                }
            }
#pragma unroll
            for (int d = 0; d < DEEP; ++d)
                if (pending) kept[d * kept_step] = c[d];
        }
        if (track || sample) tally_edges(state, edges, cuts, first, step, sums[1]);
        if (sample)
            tally(n, first, step, sums[2], 0,
                  [=](u32 k) { return load(state + (size_t)k * WORDS); });
        __syncthreads();
        for (u32 k = thread; k < LANES; k += threads) {
            const u32 at = group * LANES + k;
            if (sums[0][k]) {
                atomicAdd((u64*)(since + at), (u64)sums[0][k]);
                atomicAdd((u64*)(total + at), (u64)sums[0][k]);
            }
            if (sums[1][k]) atomicAdd((u64*)(now + at), 2 * (u64)sums[1][k]);
            if (sums[2][k]) atomicAdd((u64*)(up + at), 2 * (u64)sums[2][k]);
            sums[0][k] = sums[1][k] = sums[2][k] = 0;
        }
        if (!track && !sample) {
            __syncthreads();
            continue;
        }
        if (thread < 2 * WORDS) better[thread] = 0;
        MEET;
        if (track) {
            for (u32 k = thread; k < LANES; k += threads) {
                const u32 at = group * LANES + k;
                if (*(volatile i64*)(now + at) < *(volatile i64*)(lowest + at))
                    atomicOr(&better[k / 32], 1u << k % 32);
            }
            __syncthreads();
            const u64 mask = (u64)better[2 * w + 1] << 32 | better[2 * w];
            if (mask)
                for (u32 row = first; row < n; row += step) {
                    const size_t at = (size_t)row * WORDS;
                    own_best[at] = (own_best[at] & ~mask) | (load(state + at) & mask);
                }
        }
        MEET;  // all blocks have compared
        if (blockIdx.x == 0)
            for (u32 k = thread; k < LANES; k += threads) {
                const u32 at = group * LANES + k;
                const i64 energy = *(volatile i64*)(now + at);
                if (track) {
                    path[(size_t)t * lanes + at] = energy;
                    if (energy < lowest[at]) lowest[at] = energy;
                }
                if (sample) {
                    const size_t to = (size_t)taken * lanes + at;
                    energies[to] = energy;
                    magnetizations[to] = *(volatile i64*)(up + at);
                    flips[to] = *(volatile i64*)(since + at);
                    since[at] = 0;
                    up[at] = -(i64)n;
                }
                now[at] = -weights;
            }
        taken += sample;
        MEET;
    }
    if (calls) atomicAdd(counts, calls);
}

// Masks of own betas (patterns, 2, PLANES, SIDES, LEAVES, words): bit b of word w is the plane's bit
// of the threshold of lane 64 w + b. thresholds (betas, 2, SIDES, LEAVES); rows (patterns, lanes).
// A thread makes the words of all planes.
extern "C" __global__ void own_masks(const u64* thresholds, const int* rows, u64* masks,
                                     u32 patterns, u32 words) {
    const u32 leaves = 2 * SIDES * LEAVES;
    const size_t all = (size_t)patterns * leaves * words, step = (size_t)gridDim.x * blockDim.x;
    for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step) {
        const u32 w = (u32)(k % words), leaf = (u32)(k / words % leaves);
        const size_t pattern = k / words / leaves;
        const int* const row = rows + (pattern * words + w) * 64;
        u64 bits[PLANES] = {};
#pragma unroll 1
        for (u32 b = 0; b < 64; ++b) {
            const u64 t = __ldg(thresholds + (size_t)row[b] * leaves + leaf);
#pragma unroll
            for (u32 plane = 0; plane < PLANES; ++plane) bits[plane] |= (t >> (63 - plane) & 1) << b;
        }
        const u32 parity = leaf / (SIDES * LEAVES), within = leaf % (SIDES * LEAVES);
#pragma unroll
        for (u32 plane = 0; plane < PLANES; ++plane)
            masks[((pattern * 2 + parity) * PLANES + plane) * (SIDES * LEAVES * (size_t)words) +
                  (size_t)within * words + w] = bits[plane];
    }
}

// Adds twice the unsatisfied terms of whole states to energy; grid (blocks, groups).
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1)
measure(const u64* spins, i64* energy, const uint2* edges, const u32* cuts, u32 n) {
    __shared__ u32 sums[LANES];
    const u32 thread = threadIdx.x, threads = blockDim.x;
    for (u32 k = thread; k < LANES; k += threads) sums[k] = 0;
    __syncthreads();
    const u64* const state = spins + (size_t)blockIdx.y * (n + 1) * WORDS + thread % WORDS;
    tally_edges(state, edges, cuts, (blockIdx.x * threads + thread) / WORDS,
                gridDim.x * threads / WORDS, sums);
    __syncthreads();
    for (u32 k = thread; k < LANES; k += threads)
        atomicAdd((u64*)(energy + blockIdx.y * LANES + k), 2 * (u64)sums[k]);
}

// Sums of weights of spins up minus down, by pieces of `piece` rows, which the host adds in order:
// partial (pieces, k, lanes). grid (pieces, groups * WORDS, k); 64 threads.
extern "C" __global__ void weigh(const u64* spins, const double* weights, double* partial, u32 n,
                                 u32 piece) {
    const u32 word = blockIdx.y, lanes = gridDim.y * 64;
    const u64* const state = spins + (size_t)(word / WORDS) * (n + 1) * WORDS + word % WORDS;
    const u32 begin = blockIdx.x * piece, end = min(begin + piece, n);
    double sum = 0;
    for (u32 i = begin; i < end; ++i) {
        const double weight = weights[(size_t)blockIdx.z * n + i];
        sum += state[(size_t)i * WORDS] >> threadIdx.x & 1 ? weight : -weight;
    }
    partial[((size_t)blockIdx.x * gridDim.z + blockIdx.z) * lanes + 64 * word + threadIdx.x] = sum;
}

// States of the request's replicas, (replicas, sites) of -1 and 1 by site number, to and from
// words. order: the site of each row; first: lane of the first replica. A thread makes one word.
extern "C" __global__ void pack(const signed char* given, u64* spins, const u32* order, u32 n,
                                u32 replicas, u32 first, u32 words) {
    const size_t all = (size_t)n * words, step = (size_t)gridDim.x * blockDim.x;
    for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step) {
        const u32 word = (u32)(k / n), row = (u32)(k % n);
        u64 bits = 0;
        for (u32 b = 0; b < 64; ++b) {
            const u32 r = 64 * word + b - first;  // wraps below the first
            if (r < replicas) bits |= (u64)(given[(size_t)r * n + order[row]] > 0) << b;
        }
        spins[((size_t)(word / WORDS) * (n + 1) + row) * WORDS + word % WORDS] = bits;
    }
}

extern "C" __global__ void unpack(const u64* spins, signed char* given, const u32* order, u32 n,
                                  u32 replicas, u32 first, u32 words) {
    const size_t all = (size_t)n * words, step = (size_t)gridDim.x * blockDim.x;
    for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step) {
        const u32 word = (u32)(k / n), row = (u32)(k % n);
        const u64 bits =
            spins[((size_t)(word / WORDS) * (n + 1) + row) * WORDS + word % WORDS];
        for (u32 b = 0; b < 64; ++b) {
            const u32 r = 64 * word + b - first;
            if (r < replicas) given[(size_t)r * n + order[row]] = bits >> b & 1 ? 1 : -1;
        }
    }
}
