// Sweeps of models whose pairs are mostly coupled: a block owns LANES replicas for the whole
// schedule and visits TILE sites at a time.
//
// A field is a row of couplings times the spins, whole numbers in any order. The fields of a tile
// are made for all replicas at once, by tensor cores (PRODUCTS 1) or four bytes at a time
// (PRODUCTS 0, the oracle of the former), with the spins before the tile; the flips of sites
// visited earlier in the tile are put in as they happen. While the first warp decides a tile, the
// others make the fields of the next one, all but the part of the tile that is being decided.
//
// Sites are in the order of visits, padded to whole tiles by spins and couplings of 0. A state is
// a byte of -1 or 1 per spin, (lanes, width). Couplings are LIMBS bytes of digits -128..127 to the
// base 256: (limbs, tiles, tiles, 32 rows, 32 columns), in PRODUCTS 1 with the four words of each
// lane side by side: (limbs, tiles, tiles, 2, 32 lanes, 4 words).
//
// Traffic of a block and sweep: all couplings once, n^2 LIMBS bytes from the second cache. Bound:
// that, or the n decisions of a sweep one after another, about 70 instructions of one warp each.
//
// Defines: LANES 8, 16 or 32; PRODUCTS; LIMBS 1..4; DRAWS, ROUNDS, HEAT_BATH, TABLE as in draws.cuh
// and limits.cuh.
#include "draws.cuh"
#include "limits.cuh"
#include "mma.cuh"

#define THREADS 256
#define HELPERS (THREADS - 32)
#define TILE 32
#define NONE 0xffffffffu

// Fields of a tile, (TILE, LANES) without what h_i adds, and bounds of x: v (Metropolis) flips up
// to `sure` and does not above `open`, h (heat bath) turns down up to `sure` and up above `open`.
struct Tile {
    int field[TILE][LANES];
    int sure[TILE][LANES], open[TILE][LANES];
};

struct Model {
    const u32* couplings;
    const int* fields;
    const uint4* place;
    u32 tiles, n, colours;
};

__device__ __forceinline__ const u32* block_of(const Model& model, u32 limb, u32 tile, u32 k) {
    return model.couplings + (((size_t)limb * model.tiles + tile) * model.tiles + k) * (8 * TILE);
}

// Adds to the fields of `tile` what the sites of tiles first, first + step, ... contribute, all
// but `left_out`. worker: of so many threads, whole warps.
__device__ __forceinline__ void contribute(Tile& of, const Model& model, const u32* spins, u32 tile,
                                           u32 first, u32 end, u32 left_out, u32 worker,
                                           u32 workers) {
    const u32 words = 8 * model.tiles;  // of a replica
#if PRODUCTS
    const u32 lane = worker & 31, g = lane / 4, t = lane % 4, step = workers / 32;
#pragma unroll 1
    for (u32 limb = 0; limb < LIMBS; ++limb) {
        int c[2][LANES / 8][4] = {};
#pragma unroll 1
        for (u32 k = first + worker / 32; k < end; k += step) {
            if (k == left_out) continue;
            const uint4* const rows = (const uint4*)block_of(model, limb, tile, k);
            const uint4 upper = __ldg(rows + lane), lower = __ldg(rows + 32 + lane);
#pragma unroll
            for (u32 r = 0; r < LANES / 8; ++r) {
                const u32* const b = spins + (size_t)(8 * r + g) * words + 8 * k + t;
                const u32 b0 = b[0], b1 = b[4];
                multiply(c[0][r], upper, b0, b1);
                multiply(c[1][r], lower, b0, b1);
            }
        }
#pragma unroll
        for (u32 m = 0; m < 2; ++m)
#pragma unroll
            for (u32 r = 0; r < LANES / 8; ++r)
#pragma unroll
                for (u32 q = 0; q < 4; ++q)
                    if (c[m][r][q])
                        atomicAdd(&of.field[16 * m + 8 * (q / 2) + g][8 * r + 2 * t + q % 2],
                                  (int)((u32)c[m][r][q] << 8 * limb));
    }
#else
    for (u32 item = worker; item < TILE * LANES; item += workers) {
        const u32 i = item / LANES, lane = item % LANES;
        const u32* const own = spins + (size_t)lane * words;
        for (u32 limb = 0; limb < LIMBS; ++limb) {
            int sum = 0;
            for (u32 k = first; k < end; ++k) {
                if (k == left_out) continue;
                const u32* const row = block_of(model, limb, tile, k) + 8 * i;
                for (u32 q = 0; q < 8; ++q)
                    sum = __dp4a((int)__ldg(row + q), (int)own[8 * k + q], sum);
            }
            atomicAdd(&of.field[i][lane], (int)((u32)sum << 8 * limb));
        }
    }
#endif
}

// The first 16 bits of the integers of a quad.
__device__ __forceinline__ void first_of(const Place& at, u32 replica, u64 seed, u32 first[4]) {
#if DRAWS == DRAWS_LANE
    u32 one[4], two[4], word = replica / 4 % 4;
    philox(replica / 16, at.c1, at.c2, 0, seed, one);
    philox(replica / 16, at.c1, at.c2, 1, seed, two);
    const u32 high = word == 0 ? one[0] : word == 1 ? one[1] : word == 2 ? one[2] : one[3];
    const u32 low = word == 0 ? two[0] : word == 1 ? two[1] : word == 2 ? two[2] : two[3];
    for (int b = 0; b < 4; ++b) first[b] = (high >> 8 * b & 255) << 8 | (low >> 8 * b & 255);
#else
    first_bits(at, replica, seed, first);
#endif
}

// Bounds of the decisions of a tile. edges: (2, 65536) bounds of 2 beta q v or h by the first 16
// bits; slopes: 2 beta q of each beta.
__device__ __forceinline__ void draw(Tile& of, const Model& model, u32 tile, u32 clock,
                                     const int* rows, u32 columns, u32 lane0, u32 replica0,
                                     const double* edges, const double* slopes, u64 seed,
                                     u32 worker, u32 workers) {
    for (u32 item = worker; item < TILE * LANES / 4; item += workers) {
        const u32 i = item / (LANES / 4), lane = item % (LANES / 4) * 4;
        const u32 site = TILE * tile + i;
        if (site >= model.n) continue;
        const Place at = place_of(__ldg(model.place + site), clock, model.colours);
        u32 first[4];
        first_of(at, replica0 + lane, seed, first);
        for (u32 b = 0; b < 4; ++b) {
            const double slope = __ldg(slopes + rows[columns == 1 ? 0 : lane0 + lane + b]);
            const double least = __ldg(edges + first[b]) / slope;
            const double most = __ldg(edges + 65536 + first[b]) / slope;
            // rounded down; what does not fit becomes the largest or least whole number
            of.sure[i][lane + b] = __double2int_rd(least);
            of.open[i][lane + b] = __double2int_rd(most);
        }
    }
}

struct Lane {
    i64 energy, up;
    u32 flips;
};

// Decides the sites of a tile one after another; one lane of the warp a replica. square: the
// couplings of the tile among its own sites, (LIMBS, TILE, 8) words.
__device__ __forceinline__ void decide(const Tile& of, const Model& model, const u32* square,
                                       u32* spins, u32 tile, u32 clock, int row,
                                       const Limits& limits, u32 lane, u32 replica, u64 seed,
                                       Lane& mine, u32& wholes) {
    u32 change[8] = {};  // bytes of half the changes, of all words but the one at hand
#pragma unroll 1
    for (u32 q = 0; q < 8; ++q) {
        u32 now = spins[8 * tile + q], current = 0;
#pragma unroll
        for (u32 b = 0; b < 4; ++b) {
            const u32 i = 4 * q + b, site = TILE * tile + i;
            if (site >= model.n) continue;
            int h = __ldg(model.fields + site) + of.field[i][lane];
#pragma unroll
            for (u32 limb = 0; limb < LIMBS; ++limb) {
                const u32* const own = square + (limb * TILE + i) * 8;
                const uint4 e = *(const uint4*)own, f = *(const uint4*)(own + 4);
                const u32 all[8] = {e.x, e.y, e.z, e.w, f.x, f.y, f.z, f.w};
                int sum = 0;
#pragma unroll
                for (u32 p = 0; p < 8; ++p) sum = __dp4a((int)all[p], (int)change[p], sum);
                sum = __dp4a((int)own[q], (int)current, sum);
                h += (int)((u32)sum << (8 * limb + 1));
            }
            const int spin = (int)(now << (24 - 8 * b)) >> 24;
            const int sure = of.sure[i][lane], open = of.open[i][lane];
#if HEAT_BATH
            const int x = h;
            bool accepted = h > open;
            const bool unsure = h > sure && h <= open;
#else
            const int x = spin < 0 ? -h : h;
            bool accepted = x <= sure;
            const bool unsure = !accepted && x <= open;
#endif
            if (unsure) {
                const Place at = place_of(__ldg(model.place + site), clock, model.colours);
                accepted = accepts(whole_integer(at, replica, seed), x, row, limits);
                ++wholes;
            }
            const bool flip = HEAT_BATH ? accepted != (spin > 0) : accepted;
            if (flip) {
                current |= (spin < 0 ? 1u : 255u) << 8 * b;
                now ^= 0xfeu << 8 * b;
                mine.energy += 2 * (i64)(spin < 0 ? -h : h);
                mine.up -= 2 * spin;
                ++mine.flips;
            }
        }
        spins[8 * tile + q] = now;
#pragma unroll
        for (u32 p = 0; p < 8; ++p)
            if (p == q) change[p] = current;
    }
}

__device__ __forceinline__ void clear(Tile& of, u32 thread) {
    for (u32 k = thread; k < TILE * LANES; k += THREADS) of.field[k / LANES][k % LANES] = 0;
}

// grid (groups); every argument is of isingnpu/backends/cuda/dense.py.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
sweep(u32* spins, u32* best, i64* now, i64* lowest, i64* up, i64* since, i64* total,
      const u32* couplings, const u32* squares, const int* fields, const uint4* place, u32 tiles,
      u32 n, u32 colours, const u64* table, const u64* constant, const i64* cutoff,
      const u64* exponential, int bound, const double* edges, const double* slopes,
      const int* rows, u32 columns, u32 sweeps, u64 seed, u32 replica0, u32 number, u32 every,
      u32 track, i64* energies, i64* magnetizations, i64* flips, i64* path, u64* counts) {
    __shared__ Tile tile_of[2];
    __shared__ __align__(16) u32 square[2][LIMBS * TILE * 8];
    __shared__ u32 better;
    const u32 thread = threadIdx.x, group = blockIdx.x, lanes = gridDim.x * LANES;
    const u32 lane0 = group * LANES, first_replica = replica0 + lane0, words = 8 * tiles;
    const u32 lane = thread < LANES ? lane0 + thread : NONE;
    u32* const state = spins + (size_t)lane0 * words;
    const Model model = {couplings, fields, place, tiles, n, colours};
    const Limits limits = {table, constant, cutoff, exponential, nullptr, bound};
    u32 wholes = 0, taken = 0;
    Lane mine = {0, 0, 0};
    i64 since_here = 0, total_here = 0, lowest_here = 0;
    if (lane != NONE) {
        mine = {now[lane], up[lane], 0};
        since_here = since[lane];
        lowest_here = lowest[lane];
    }
    clear(tile_of[0], thread);
    clear(tile_of[1], thread);
    __syncthreads();
    if (tiles && sweeps) {
        contribute(tile_of[0], model, state, 0, 0, tiles, NONE, thread, THREADS);
        draw(tile_of[0], model, 0, number, rows, columns, lane0, first_replica, edges, slopes, seed,
             thread, THREADS);
        for (u32 k = thread; k < LIMBS * TILE * 8; k += THREADS) square[0][k] = squares[k];
    }
    __syncthreads();
    u32 turn = 0;
    for (u32 t = 0; t < sweeps; ++t) {
        const u32 clock = number + t;
        const int* const own_rows = rows + (size_t)t * columns;
        for (u32 tile = 0; tile < tiles; ++tile, turn ^= 1) {
            const bool last = tile + 1 == tiles;
            const u32 next = last ? 0 : tile + 1;
            const bool more = !last || t + 1 < sweeps;
            Tile &here = tile_of[turn], &ahead = tile_of[turn ^ 1];
            if (thread >= 32) {
                if (more) {
                    const u32 worker = thread - 32;
                    contribute(ahead, model, state, next, 0, tiles, tile, worker, HELPERS);
                    draw(ahead, model, next, clock + last, own_rows + (last ? columns : 0), columns,
                         lane0, first_replica, edges, slopes, seed, worker, HELPERS);
                    const u32* const from = squares + (size_t)next * (LIMBS * TILE * 8);
                    for (u32 k = worker; k < LIMBS * TILE * 8; k += HELPERS)
                        square[turn ^ 1][k] = from[k];
                }
            } else if (lane != NONE) {
                const int row = own_rows[columns == 1 ? 0 : lane];
                decide(here, model, square[turn], state + (size_t)thread * words, tile, clock, row,
                       limits, thread, first_replica + thread, seed, mine, wholes);
            }
            __syncthreads();
            if (more) contribute(ahead, model, state, next, tile, tile + 1, NONE, thread, THREADS);
            clear(here, thread);
            __syncthreads();
        }
        const bool sample = every && (clock + 1) % every == 0;
        if (thread == 0) better = 0;
        __syncthreads();
        if (lane != NONE) {
            since_here += mine.flips;
            total_here += mine.flips;
            mine.flips = 0;
            if (track) {
                path[(size_t)t * lanes + lane] = mine.energy;
                if (mine.energy < lowest_here) {
                    lowest_here = mine.energy;
                    atomicOr(&better, 1u << thread);
                }
            }
            if (sample) {
                const size_t to = (size_t)taken * lanes + lane;
                energies[to] = mine.energy;
                magnetizations[to] = mine.up;
                flips[to] = since_here;
                since_here = 0;
            }
        }
        taken += sample;
        __syncthreads();
        for (u32 left = better; left; left &= left - 1) {
            const size_t from = (size_t)(lane0 + (u32)__ffs((int)left) - 1) * words;
            for (u32 k = thread; k < words; k += THREADS) best[from + k] = spins[from + k];
        }
        __syncthreads();
    }
    if (lane == NONE) return;
    now[lane] = mine.energy;
    up[lane] = mine.up;
    lowest[lane] = lowest_here;
    since[lane] = since_here;
    total[lane] = total_here;
    if (wholes) atomicAdd(counts, (u64)wholes);
}

// Twice the energies and the magnetizations of whole states; grid (groups).
extern "C" __global__ void __launch_bounds__(THREADS, 1)
measure(const u32* spins, i64* energy, i64* up, const u32* couplings, const int* fields, u32 tiles,
        u32 n) {
    __shared__ Tile of;
    const u32 lane0 = blockIdx.x * LANES, words = 8 * tiles;
    const u32* const state = spins + (size_t)lane0 * words;
    const Model model = {couplings, fields, nullptr, tiles, n, 0};
    i64 twice = 0, sum = 0;
    for (u32 tile = 0; tile < tiles; ++tile) {
        clear(of, threadIdx.x);
        __syncthreads();
        contribute(of, model, state, tile, 0, tiles, NONE, threadIdx.x, THREADS);
        __syncthreads();
        if (threadIdx.x < LANES)
            for (u32 i = 0; i < TILE && TILE * tile + i < n; ++i) {
                const u32 site = TILE * tile + i;
                const int spin = ((const signed char*)(state + threadIdx.x * words))[site];
                twice -= spin * ((i64)of.field[i][threadIdx.x] + 2 * (i64)fields[site]);
                sum += spin;
            }
        __syncthreads();
    }
    if (threadIdx.x < LANES) {
        energy[lane0 + threadIdx.x] = twice;
        up[lane0 + threadIdx.x] = sum;
    }
}

// Sums of weights of spins up minus down, by pieces of `piece` rows, which the host adds in order:
// partial (pieces, k, lanes). grid (pieces, groups, k); LANES threads.
extern "C" __global__ void weigh(const signed char* spins, const double* weights, double* partial,
                                 u32 n, u32 width, u32 piece) {
    const u32 lane = blockIdx.y * LANES + threadIdx.x, lanes = gridDim.y * LANES;
    const u32 begin = blockIdx.x * piece, end = min(begin + piece, n);
    double sum = 0;
    for (u32 i = begin; i < end; ++i) {
        const double weight = weights[(size_t)blockIdx.z * n + i];
        sum += spins[(size_t)lane * width + i] > 0 ? weight : -weight;
    }
    partial[((size_t)blockIdx.x * gridDim.z + blockIdx.z) * lanes + lane] = sum;
}

// States of the request's replicas, (replicas, sites) by site number, to and from rows of lanes.
extern "C" __global__ void pack(const signed char* given, signed char* spins, const u32* order,
                                u32 n, u32 width, u32 replicas, u32 first) {
    const size_t all = (size_t)n * replicas, step = (size_t)gridDim.x * blockDim.x;
    for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step) {
        const u32 r = (u32)(k / n), i = (u32)(k % n);
        spins[(size_t)(first + r) * width + i] = given[(size_t)r * n + order[i]];
    }
}

extern "C" __global__ void unpack(const signed char* spins, signed char* given, const u32* order,
                                  u32 n, u32 width, u32 replicas, u32 first) {
    const size_t all = (size_t)n * replicas, step = (size_t)gridDim.x * blockDim.x;
    for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < all; k += step) {
        const u32 r = (u32)(k / n), i = (u32)(k % n);
        given[(size_t)r * n + order[i]] = spins[(size_t)(first + r) * width + i];
    }
}
