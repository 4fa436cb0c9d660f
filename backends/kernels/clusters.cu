// Swendsen-Wang sweeps of isingnpu/bonds.py: bonds, clusters named by their smallest site, coins.
//
// A state is a bit per spin, 1 is up, as (replicas, words) of 64 sites in site order. A team of
// `blocks` blocks owns one replica after the other, each for the whole schedule.
//
// LATTICE: hypercubic, one magnitude of coupling per axis. 64 bonds of an axis are drawn at once.
// Tiles of up to TILE words are labelled in shared memory; bonds that leave a tile are its seams
// and join what the tiles have labelled. Otherwise each bond of a list joins as it is drawn.
// Memory per site and sweep, lattice of d axes: (6 d + 4) / 8 bytes of bits, 4 of labels written
// and 4 read, some gathered: bound by memory and its latency.
//
// Defines: LATTICE, ROUNDS.
#include "barrier.cuh"
#include "philox.cuh"
#include "union.cuh"

#define THREADS 512
#define TILE 64  // words
#define NONE 0xffffffffu

// Masks are (3, kinds, words): which bonds exist, are negative, lead around the box. Steps are
// (kinds, 2): sites to the other end, of ordinary bonds and of those around. Words lie in rows of
// `line`, tiles are `tall` rows of `wide` words. A bond is owner, other, slot, 2 kind + negative.
struct Model {
    const u64* masks;
    const i64* steps;
    const uint4* bonds;
    const i64* magnitude;  // (kinds,) of couplings
    u32 kinds, n_bonds, n, line, tall, wide;
};

// What a team has counted in a sweep; fourths in the order of the roots.
struct Sums {
    u64 flips, energy, up, squares;
    double fourths;
};

__device__ __forceinline__ u32 words_of(u32 n) { return max(1u, (n + 63) / 64); }

// Adds the values of a warp to a sum.
__device__ __forceinline__ void add_up(u64* sum, u64 value) {
#pragma unroll
    for (int by = 16; by; by >>= 1) value += __shfl_down_sync(FULL_WARP, value, by);
    if ((threadIdx.x & 31) == 0 && value) atomicAdd(sum, value);
}

#if LATTICE
// The 64 bits that begin `step` sites after a word's.
__device__ __forceinline__ u64 shifted(const u64* bits, u32 words, u32 word, i64 step) {
    const i64 site = 64 * (i64)word + step, at = site >> 6;
    const u32 shift = (u32)site & 63;
    const u64 low = at >= 0 && at < (i64)words ? bits[at] : 0;
    if (!shift) return low;
    const u64 high = at >= -1 && at + 1 < (i64)words ? bits[at + 1] : 0;
    return low >> shift | high << (64 - shift);
}

// The bonds of an axis and word that could be active.
__device__ __forceinline__ u64 satisfied(const Model& model, const u64* spins, u32 axis,
                                         u32 word) {
    const u32 words = words_of(model.n);
    const size_t at = (size_t)axis * words + word, set = (size_t)model.kinds * words;
    const u64 around = __ldg(model.masks + 2 * set + at);
    u64 other = shifted(spins, words, word, model.steps[2 * axis]);
    if (around) {
        const u64 far = shifted(spins, words, word, model.steps[2 * axis + 1]);
        other = (other & ~around) | (far & around);
    }
    return __ldg(model.masks + at) & ~(spins[word] ^ other ^ __ldg(model.masks + set + at));
}

// Those of 64 bonds whose integers are below the limit.
__device__ inline u64 draw(u64 open, u64 limit, u32 word, u32 slot, u32 clock, u32 tag, u64 seed,
                           u64& calls) {
    u64 active = 0;
#pragma unroll 1
    for (u32 call = 0; call < 32 && open; ++call, ++calls) {
        u32 x[4];
        philox(word, slot, clock, tag | STREAM_BOND | call, seed, x);
#pragma unroll
        for (int k = 0; k < 4; k += 2, limit <<= 1) {
            const u64 r = (u64)x[k + 1] << 32 | x[k], t = limit >> 63 ? ~0ull : 0;
            active |= open & t & ~r;
            open &= ~(r ^ t);
        }
    }
    return active;
}

// Words first + line y + x, x < columns, y < rows.
struct Tile {
    u32 first, rows, columns;
    __device__ u32 word(u32 k, u32 line) const {
        return first + k / columns * line + k % columns;
    }
    // Where a site lies in the tile's order, which is that of the sites; NONE outside.
    __device__ u32 place(u32 site, u32 line) const {
        const u32 away = (site >> 6) - first, y = away / line, x = away % line;
        return y < rows && x < columns ? 64 * (y * columns + x) + (site & 63) : NONE;
    }
};

// Labels of one tile: parent of its sites, with sizes of its clusters at their roots; seams are
// the active bonds that leave it, (kinds, 2 words). The whole block works on it.
__device__ inline u64 label_tile(const Model& model, const Tile& tile, const u64* spins,
                                 const u64* limits, u32 clock, u32 tag, u64 seed, bool counted,
                                 u32* parent, u32* sizes, u32* seams) {
    DYNAMIC_SHARED(u64, active);  // (kinds, TILE), then labels and counts (64 TILE,)
    u32* const label = (u32*)(active + model.kinds * TILE);
    u32* const count = label + 64 * TILE;
    const u32 words = words_of(model.n), n_words = tile.rows * tile.columns;
    const u32 lane = threadIdx.x & 31, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const u64* const around = model.masks + (size_t)2 * model.kinds * words;
    u64 calls = 0;
    for (u32 k = threadIdx.x; k < model.kinds * n_words; k += blockDim.x) {
        const u32 axis = k / n_words, word = tile.word(k % n_words, model.line);
        active[axis * TILE + k % n_words] = draw(satisfied(model, spins, axis, word),
                                                 limits[axis], word, axis, clock, tag, seed, calls);
    }
    __syncthreads();
    // a site begins at the head of its run along the last axis, within the word
    const u32 last = model.kinds - 1;
    for (u32 half = warp; half < 2 * n_words; half += warps) {
        const u32 k = half / 2, bit = (half & 1) * 32 + lane;
        const u64 loops = around[(size_t)last * words + tile.word(k, model.line)];
        const u64 heads = ~((active[last * TILE + k] & ~loops) << 1);
        label[64 * k + bit] = 64 * k + bit - (u32)__clzll((i64)(heads << (63 - bit)));
        if (counted) count[64 * k + bit] = 0;
    }
    __syncthreads();
    for (u32 item = warp; item < 2 * n_words * model.kinds; item += warps) {
        const u32 axis = item / (2 * n_words), half = item % (2 * n_words), k = half / 2;
        const u32 bit = (half & 1) * 32 + lane, word = tile.word(k, model.line);
        const bool loop = around[(size_t)axis * words + word] >> bit & 1;
        const bool run = axis == last && !loop && bit < 63;  // joined above
        bool seam = false;
        if ((active[axis * TILE + k] >> bit & 1) && !run) {
            const u32 other = (u32)(64 * (i64)word + bit + model.steps[2 * axis + loop]);
            const u32 place = tile.place(other, model.line);
            seam = place == NONE;
            if (!seam) join(label, 64 * k + bit, place);
        }
        const u32 leaving = __ballot_sync(FULL_WARP, seam);
        if (lane == 0) seams[(size_t)axis * 2 * words + 2 * word + (half & 1)] = leaving;
    }
    __syncthreads();
    for (u32 place = threadIdx.x; place < 64 * n_words; place += blockDim.x) {
        const u32 root = find(label, place);
        const size_t site = 64 * (size_t)tile.word(place / 64, model.line) + place % 64;
        parent[site] = 64 * tile.word(root / 64, model.line) + root % 64;
        if (counted && site < model.n) atomicAdd(count + root, 1u);
    }
    __syncthreads();
    if (counted)
        for (u32 place = threadIdx.x; place < 64 * n_words; place += blockDim.x)
            sizes[64 * (size_t)tile.word(place / 64, model.line) + place % 64] = count[place];
    __syncthreads();
    return calls;
}
#else
// Whether the integer of a bond is below the limit.
__device__ inline bool drawn(uint4 bond, u64 limit, u32 clock, u32 tag, u64 seed, u64& calls) {
    const u32 bit = bond.x & 31;
    const bool high = bond.x & 32;
#pragma unroll 1
    for (u32 call = 0; call < 32; ++call) {
        u32 x[4];
        philox(bond.x / 64, bond.z, clock, tag | STREAM_BOND | call, seed, x);
        ++calls;
        const u32 r = ((high ? x[1] : x[0]) >> bit & 1) << 1 | ((high ? x[3] : x[2]) >> bit & 1);
        const u32 t = (u32)(limit >> (62 - 2 * call)) & 3;
        if (r != t) return r < t;
    }
    return false;
}
#endif

__device__ __forceinline__ bool up_at(const u64* spins, u32 site) {
    return spins[site / 64] >> (site % 64) & 1;
}

#if !LATTICE
__device__ __forceinline__ bool is_satisfied(const u64* spins, uint4 bond) {
    return (up_at(spins, bond.x) == up_at(spins, bond.y)) != (bond.w & 1);
}
#endif

// This thread's share of E in quanta, of `threads` that divide the bonds among them.
__device__ inline u64 energy_share(const Model& model, const u64* spins, u32 thread, u32 threads) {
    u64 energy = 0;
#if LATTICE
    const u32 words = words_of(model.n);
    for (u32 axis = 0; axis < model.kinds; ++axis)
        for (u32 word = thread; word < words; word += threads) {
            const u64 exist = __ldg(model.masks + (size_t)axis * words + word);
            const int low = __popcll(satisfied(model, spins, axis, word));
            energy += (u64)(model.magnitude[axis] * (__popcll(exist) - 2 * low));
        }
#else
    for (u32 k = thread; k < model.n_bonds; k += threads) {
        const uint4 bond = __ldg(model.bonds + k);
        const i64 size = model.magnitude[bond.w / 2];
        energy += (u64)(is_satisfied(spins, bond) ? -size : size);
    }
#endif
    return energy;
}

// sum |c|^4 in float64 in the order of the roots, by a whole block. A term below half a unit in
// the last place of the sum changes nothing and is left out.
__device__ inline double fourth_powers(const u32* sizes, u32 n) {
    __shared__ double kept[THREADS], sum;
    __shared__ u32 many[THREADS / 32];
    const u32 lane = threadIdx.x & 31, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    for (u32 base = 0; base < n; base += blockDim.x) {
        const u32 site = base + threadIdx.x;
        const u64 size = site < n ? sizes[site] : 0;
        const double square = (double)(size * size), term = __dmul_rn(square, square);
        const bool counts = size && term >= __dmul_rn(sum, 0x1p-54);
        const u32 those = __ballot_sync(FULL_WARP, counts);
        if (counts) kept[32 * warp + (u32)__popc(those & ((1u << lane) - 1))] = term;
        if (lane == 0) many[warp] = (u32)__popc(those);
        __syncthreads();
        if (threadIdx.x == 0)
            for (u32 w = 0; w < warps; ++w)
                for (u32 k = 0; k < many[w]; ++k) sum = __dadd_rn(sum, kept[32 * w + k]);
        __syncthreads();
    }
    return sum;
}

// Labels all that lies within the tiles of this block, or makes each site a cluster.
__device__ inline u64 begin_clusters(const Model& model, const u64* spins, const u64* limits,
                                     u32 clock, u32 tag, u64 seed, bool counted, u32 block,
                                     u32 blocks, u32* parent, u32* sizes, u32* seams) {
    u64 calls = 0;
#if LATTICE
    const u32 words = words_of(model.n), lines = words / model.line;
    const u32 across = (model.line + model.wide - 1) / model.wide;
    const u32 tiles = across * ((lines + model.tall - 1) / model.tall);
    for (u32 t = block; t < tiles; t += blocks) {
        const u32 y = t / across * model.tall, x = t % across * model.wide;
        const Tile tile = {y * model.line + x, min(model.tall, lines - y),
                           min(model.wide, model.line - x)};
        calls += label_tile(model, tile, spins, limits, clock, tag, seed, counted, parent, sizes,
                            seams);
    }
#else
    for (u32 i = block * blockDim.x + threadIdx.x; i < model.n; i += blocks * blockDim.x) {
        parent[i] = i;
        if (counted) sizes[i] = 0;
    }
#endif
    return calls;
}

// Joins clusters by the bonds between them; thread: of `threads` that share the replica.
__device__ inline u64 join_clusters(const Model& model, const u64* spins, const u64* limits,
                                    u32 clock, u32 tag, u64 seed, u32 thread, u32 threads,
                                    u32* parent, const u32* seams) {
    u64 calls = 0;
#if LATTICE
    const u32 halves = 2 * words_of(model.n);
    for (u32 item = thread / 32; item < model.kinds * halves; item += threads / 32) {
        const u32 leaving = seams[item], axis = item / halves, lane = thread & 31;
        if (!(leaving >> lane & 1)) continue;
        const u32 site = 32 * (item % halves) + lane;
        const u64 around = model.masks[((size_t)2 * model.kinds + axis) * (halves / 2) + site / 64];
        const bool loop = around >> (site % 64) & 1;
        join(parent, site, (u32)((i64)site + model.steps[2 * axis + loop]));
    }
#else
    for (u32 k = thread; k < model.n_bonds; k += threads) {
        const uint4 bond = __ldg(model.bonds + k);
        if (is_satisfied(spins, bond) && drawn(bond, limits[bond.w / 2], clock, tag, seed, calls))
            join(parent, bond.x, bond.y);
    }
#endif
    return calls;
}

// Flips the clusters whose coins say so; returns how many spins, in lane 0 of each warp.
__device__ inline u32 flip_clusters(const Model& model, u32* halves, const u32* parent,
                                    const u64* coins, u32* sizes, bool counted, u32 thread,
                                    u32 threads) {
    u32 flipped = 0;
    for (u32 half = thread / 32; half < 2 * words_of(model.n); half += threads / 32) {
        const u32 site = 32 * half + (thread & 31);
        bool flips = false;
        if (site < model.n) {
            const u32 root = find(parent, site);
            flips = up_at(coins, root);
            if (counted) {
#if LATTICE
                // of a cluster within a tile, 0 away from its root
                const u32 size = root == site ? 0 : sizes[site];
                if (size) {
                    atomicAdd(sizes + root, size);
                    sizes[site] = 0;
                }
#else
                atomicAdd(sizes + root, 1u);
#endif
            }
        }
        const u32 change = __ballot_sync(FULL_WARP, flips);
        if ((thread & 31) == 0 && change) {
            halves[half] ^= change;
            flipped += (u32)__popc(change);
        }
    }
    return flipped;
}

// grid: teams of `blocks`; every argument is of isingnpu/backends/cuda/clusters.py.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
sweep(u64* spins, u64* best, i64* lowest, i64* since, i64* total,
      const u64* masks, const i64* steps, const uint4* bonds, const i64* magnitude, u32 kinds,
      u32 n_bonds, u32 n, u32 line, u32 tall, u32 wide,
      const u64* limits, const int* rows, u32 columns, u32 sweeps, u64 seed, u32 first_replica,
      u32 replicas, u32 number, u32 every, u32 track, u32 improved, u32 samples, u32 blocks,
      u32* parents, u32* all_sizes, u32* all_seams, u64* all_coins, Sums* all_sums, u32* arrived,
      i64* energies, i64* magnetizations, i64* flips, i64* squares, double* fourths, i64* path,
      u64* counts) {
    const Model model = {masks, steps, bonds, magnitude, kinds, n_bonds, n, line, tall, wide};
    const u32 team = blockIdx.x / blocks, block = blockIdx.x % blocks, words = words_of(n);
    const u32 thread = block * blockDim.x + threadIdx.x, threads = blocks * blockDim.x;
    u32* const parent = parents + (size_t)team * words * 64;
    u32* const sizes = all_sizes + (improved ? (size_t)team * words * 64 : 0);
    u32* const seams = all_seams + (size_t)team * 2 * words * kinds;
    u64* const coins = all_coins + (size_t)team * words;
    Sums& sums = all_sums[team];
    u32 target = 0;
    u64 calls = 0;
    auto rest = [&]() {
        if (blocks > 1)
            meet(arrived + team, blocks, target);
        else
            __syncthreads();
    };
    for (u32 r = team; r < replicas; r += gridDim.x / blocks) {
        u64* const state = spins + (size_t)r * words;
        const u32 tag = (first_replica + r) << 11;
        for (u32 t = 0, taken = 0; t < sweeps; ++t) {
            const u32 clock = number + t;
            const bool sample = every && (clock + 1) % every == 0, counted = improved && sample;
            const int row = rows[(size_t)t * columns + (columns == 1 ? 0 : r)];
            const u64* const limit = limits + (size_t)row * kinds;
            calls += begin_clusters(model, state, limit, clock, tag, seed, counted, block, blocks,
                                    parent, sizes, seams);
            for (u32 word = thread; word < words; word += threads, ++calls) {
                u32 x[4];
                philox(word, 0, clock, tag | STREAM_COIN, seed, x);
                coins[word] = (u64)x[1] << 32 | x[0];
            }
            rest();
            calls += join_clusters(model, state, limit, clock, tag, seed, thread, threads, parent,
                                   seams);
            rest();
            add_up(&sums.flips, flip_clusters(model, (u32*)state, parent, coins, sizes, counted,
                                              thread, threads));
            rest();
            if (thread == 0) {
                since[r] += (i64)sums.flips;
                total[r] += (i64)sums.flips;
                sums.flips = 0;
            }
            if (!sample && !track) continue;
            u64 up = 0, square = 0;
            for (u32 word = thread; word < words; word += threads) up += (u64)__popcll(state[word]);
            if (counted) {
                for (u32 i = thread; i < n; i += threads) square += (u64)sizes[i] * sizes[i];
                const double sum = block == 0 ? fourth_powers(sizes, n) : 0;
                if (thread == 0) sums.fourths = sum;
            }
            add_up(&sums.energy, energy_share(model, state, thread, threads));
            add_up(&sums.up, up);
            add_up(&sums.squares, square);
            rest();
            const i64 energy = (i64)sums.energy;
            const bool better = track && energy < lowest[r];
            if (better)
                for (u32 word = thread; word < words; word += threads)
                    best[(size_t)r * words + word] = state[word];
            rest();
            if (thread == 0) {
                if (better) lowest[r] = energy;
                if (track) path[(size_t)r * sweeps + t] = energy;
                if (sample) {
                    const size_t at = (size_t)r * samples + taken;
                    energies[at] = energy;
                    magnetizations[at] = 2 * (i64)sums.up - (i64)n;
                    flips[at] = since[r];
                    squares[at] = (i64)sums.squares;
                    fourths[at] = sums.fourths;
                    since[r] = 0;
                }
                sums.energy = sums.up = sums.squares = 0;
            }
            taken += sample;
        }
    }
    add_up(counts, calls);
}

// E in quanta of each state, one block each.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
measure(const u64* spins, i64* energies, const u64* masks, const i64* steps, const uint4* bonds,
        const i64* magnitude, u32 kinds, u32 n_bonds, u32 n, u32 line, u32 tall, u32 wide) {
    const Model model = {masks, steps, bonds, magnitude, kinds, n_bonds, n, line, tall, wide};
    const u64* const state = spins + (size_t)blockIdx.x * words_of(n);
    add_up((u64*)energies + blockIdx.x, energy_share(model, state, threadIdx.x, blockDim.x));
}

// Sums of weights of spins up minus down, by pieces of `piece` sites, which the host adds in
// order: partial (pieces, k, replicas). One thread each.
extern "C" __global__ void __launch_bounds__(THREADS)
weigh(const u64* spins, const double* weights, double* partial, u32 n, u32 piece, u32 pieces,
      u32 k, u32 replicas) {
    const size_t all = (size_t)pieces * k * replicas, step = (size_t)gridDim.x * blockDim.x;
    for (size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x; at < all; at += step) {
        const u32 r = (u32)(at % replicas), row = (u32)(at / replicas % k);
        const u32 begin = (u32)(at / replicas / k) * piece, end = min(begin + piece, n);
        const u64* const state = spins + (size_t)r * words_of(n);
        double sum = 0;
        for (u32 i = begin; i < end; ++i) {
            const double w = weights[(size_t)row * n + i];
            sum = __dadd_rn(sum, up_at(state, i) ? w : -w);
        }
        partial[at] = sum;
    }
}

// States as (replicas, sites) of -1 and 1, to and from words; a warp for each half of a word.
extern "C" __global__ void __launch_bounds__(THREADS)
pack(const signed char* given, u32* halves, u32 n, u32 replicas) {
    const size_t all = (size_t)2 * words_of(n) * replicas;
    const u32 warps = gridDim.x * blockDim.x / 32, lane = threadIdx.x & 31;
    for (size_t k = (blockIdx.x * blockDim.x + threadIdx.x) / 32; k < all; k += warps) {
        const size_t r = k / (2 * words_of(n)), site = k % (2 * words_of(n)) * 32 + lane;
        const u32 bits = __ballot_sync(FULL_WARP, site < n && given[r * n + site] > 0);
        if (lane == 0) halves[k] = bits;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
unpack(const u64* spins, signed char* given, u32 n, u32 replicas) {
    const size_t all = (size_t)n * replicas, step = (size_t)gridDim.x * blockDim.x;
    for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step)
        given[k] = up_at(spins + k / n * words_of(n), (u32)(k % n)) ? 1 : -1;
}
