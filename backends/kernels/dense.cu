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
// that, or the n decisions of a sweep one after another, about 50 instructions of one warp each.
//
// Defines: LANES 8, 16 or 32; PRODUCTS; LIMBS 1..4; DRAWS, ROUNDS, HEAT_BATH, TABLE as in draws.cuh
// and limits.cuh.
#include "dense_tile.cuh"

#define THREADS 512
#define DRAWERS (DRAWS == DRAWS_LANE ? 128 : 256)  // make bounds; the first warp decides
#define HELPERS (THREADS - 32 - DRAWERS)          // make fields
#define NONE 0xffffffffu

__device__ __forceinline__ void clear(Tile& of, u32 thread) {
    for (u32 k = thread; k < TILE * LANES; k += THREADS) of.field[k / LANES][k % LANES] = 0;
}

// grid (groups); every argument is of isingnpu/backends/cuda/dense.py.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
sweep(u32* spins, u32* best, i64* now, i64* lowest, i64* up, i64* since, i64* total,
      const u32* couplings, const u32* squares, const int* fields, const uint4* place, u32 tiles,
      u32 n, u32 colours, const u64* table, const u64* constant, const i64* cutoff,
      const u64* exponential, int bound, const double* edges, const double* steps,
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
        draw(tile_of[0], model, 0, number, rows, columns, lane0, first_replica, edges, steps, seed,
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
#if PRODUCTS
            const Early early = load_early(model, next, tile, thread);
#endif
            if (thread >= 32) {
                if (more) {
                    const u32 worker = thread - 32;
                    const u32* const from = squares + (size_t)next * (LIMBS * TILE * 8);
                    for (u32 k = worker; k < LIMBS * TILE * 8; k += THREADS - 32)
                        square[turn ^ 1][k] = from[k];
                    if (worker < HELPERS)
                        contribute(ahead, model, state, next, 0, tiles, tile, worker, HELPERS);
                    else
                        draw(ahead, model, next, clock + last, own_rows + (last ? columns : 0),
                             columns, lane0, first_replica, edges, steps, seed, worker - HELPERS,
                             DRAWERS);
                }
            } else if (lane != NONE) {
                const int row = own_rows[columns == 1 ? 0 : lane];
                decide(here, model, square[turn], state + (size_t)thread * words, tile, clock, row,
                       limits, thread, first_replica + thread, seed, mine, wholes);
            }
            __syncthreads();
#if PRODUCTS
            if (more) contribute_late(ahead, early, model, state, tile, thread);
#else
            if (more) contribute(ahead, model, state, next, tile, tile + 1, NONE, thread, THREADS);
#endif
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
