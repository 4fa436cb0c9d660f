// A tile of sites of dense.cu: its fields, the bounds of its decisions, and the decisions.
#pragma once
#include "draws.cuh"
#include "limits.cuh"
#include "mma.cuh"

#define TILE 32

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
#pragma unroll 4
        for (u32 k = first + worker / 32; k < end; k += step) {
            const uint4* const rows = (const uint4*)block_of(model, limb, tile, k);
            const uint4 upper = __ldg(rows + lane), lower = __ldg(rows + 32 + lane);
#pragma unroll
            for (u32 r = 0; r < LANES / 8; ++r) {
                const u32* const b = spins + (size_t)(8 * r + g) * words + 8 * k + t;
                const u32 b0 = k == left_out ? 0 : b[0], b1 = k == left_out ? 0 : b[4];
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

#if PRODUCTS
// Couplings of a tile to the one that is being decided, which each warp loads beforehand for one of
// 2 x LANES / 8 parts: 16 sites, 8 replicas.
struct Early {
    uint4 rows[LIMBS];
};

__device__ __forceinline__ Early load_early(const Model& model, u32 tile, u32 k, u32 thread) {
    Early early = {};
    if (thread / 64 >= LANES / 8) return early;
#pragma unroll
    for (u32 limb = 0; limb < LIMBS; ++limb)
        early.rows[limb] = __ldg((const uint4*)block_of(model, limb, tile, k) +
                                 thread / 32 % 2 * 32 + thread % 32);
    return early;
}

// Adds what the sites of tile k contribute, once they are decided; all threads.
__device__ __forceinline__ void contribute_late(Tile& of, const Early& early, const Model& model,
                                                const u32* spins, u32 k, u32 thread) {
    const u32 warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
    const u32 m = warp % 2, r = warp / 2;
    if (r >= LANES / 8) return;
    const u32* const b = spins + (size_t)(8 * r + g) * (8 * model.tiles) + 8 * k + t;
    const u32 b0 = b[0], b1 = b[4];
#pragma unroll
    for (u32 limb = 0; limb < LIMBS; ++limb) {
        int c[4] = {};
        multiply(c, early.rows[limb], b0, b1);
#pragma unroll
        for (u32 q = 0; q < 4; ++q)  // no other warp has this part
            of.field[16 * m + 8 * (q / 2) + g][8 * r + 2 * t + q % 2] +=
                (int)((u32)c[q] << 8 * limb);
    }
}
#endif

// Bounds of the decisions of a quad by the first 16 bits of its integers. edges: (2, 65536) bounds
// of 2 beta q v or h, with room for what the products err; steps: 1 / (2 beta q) of each beta.
__device__ __forceinline__ void limit(Tile& of, u32 i, u32 lane, const u32 first[4],
                                      const int* rows, u32 columns, u32 lane0,
                                      const double* edges, const double* steps) {
#pragma unroll
    for (u32 b = 0; b < 4; ++b) {
        const double step = __ldg(steps + rows[columns == 1 ? 0 : lane0 + lane + b]);
        // rounded down; what does not fit becomes the largest or least whole number
        of.sure[i][lane + b] = __double2int_rd(__ldg(edges + first[b]) * step);
        of.open[i][lane + b] = __double2int_rd(__ldg(edges + 65536 + first[b]) * step);
    }
}

// What is no site never flips.
__device__ __forceinline__ void limit_never(Tile& of, u32 i, u32 lane) {
    for (u32 b = 0; b < 4; ++b)
        of.sure[i][lane + b] = of.open[i][lane + b] = HEAT_BATH ? 0x7fffffff : -0x7fffffff - 1;
}

// Makes the bounds of a tile.
__device__ __forceinline__ void draw(Tile& of, const Model& model, u32 tile, u32 clock,
                                     const int* rows, u32 columns, u32 lane0, u32 replica0,
                                     const double* edges, const double* steps, u64 seed,
                                     u32 worker, u32 workers) {
#if DRAWS == DRAWS_LANE && LANES % 16 == 0
    // the two calls of 16 replicas of two sites by a team of four threads, which then share them out
    for (u32 item = worker; item < TILE / 2 * LANES / 4; item += workers) {
        const u32 t = item % 4, pair = item / (LANES / 4) * 2, lane = item % (LANES / 4) * 4;
        u32 x[4], site = TILE * tile + pair + t / 2;
        const Place at = place_of(__ldg(model.place + min(site, model.n - 1)), clock, model.colours);
        philox((replica0 + lane) / 16, at.c1, at.c2, t % 2, seed, x);
        transpose(x);
#pragma unroll
        for (u32 k = 0; k < 2; ++k) {
            const u32 high = x[2 * k], low = x[2 * k + 1];
            u32 first[4];
            for (u32 b = 0; b < 4; ++b)
                first[b] = (high >> 8 * b & 255) << 8 | (low >> 8 * b & 255);
            if (TILE * tile + pair + k < model.n)
                limit(of, pair + k, lane, first, rows, columns, lane0, edges, steps);
            else
                limit_never(of, pair + k, lane);
        }
    }
#else
    for (u32 item = worker; item < TILE * LANES / 4; item += workers) {
        const u32 i = item / (LANES / 4), lane = item % (LANES / 4) * 4;
        const u32 site = TILE * tile + i;
        if (site >= model.n) {
            limit_never(of, i, lane);
            continue;
        }
        const Place at = place_of(__ldg(model.place + site), clock, model.colours);
        u32 first[4];
#if DRAWS == DRAWS_LANE
        u32 one[4], two[4];
        const u32 word = (replica0 + lane) / 4 % 4;
        philox((replica0 + lane) / 16, at.c1, at.c2, 0, seed, one);
        philox((replica0 + lane) / 16, at.c1, at.c2, 1, seed, two);
        const u32 high = word == 0 ? one[0] : word == 1 ? one[1] : word == 2 ? one[2] : one[3];
        const u32 low = word == 0 ? two[0] : word == 1 ? two[1] : word == 2 ? two[2] : two[3];
        for (u32 b = 0; b < 4; ++b)
            first[b] = (high >> 8 * b & 255) << 8 | (low >> 8 * b & 255);
#else
        first_bits(at, replica0 + lane, seed, first);
#endif
        limit(of, i, lane, first, rows, columns, lane0, edges, steps);
    }
#endif
}

struct Lane {
    i64 energy, up;
    u32 flips;
};

// What flips of a tile so far add to the field of one of its sites. change: bytes of half the
// changes; row: the site's couplings, as words of each limb.
__device__ __forceinline__ int moved(const u32* row, const u32 change[8]) {
    u32 sum = 0;
#pragma unroll
    for (u32 limb = 0; limb < LIMBS; ++limb) {
        const u32* const words = row + limb * TILE * 8;
        const uint4 e = *(const uint4*)words, f = *(const uint4*)(words + 4);
        const u32 all[8] = {e.x, e.y, e.z, e.w, f.x, f.y, f.z, f.w};
        int part[2] = {0, 0};  // two chains
#pragma unroll
        for (u32 p = 0; p < 8; ++p) part[p % 2] = __dp4a((int)all[p], (int)change[p], part[p % 2]);
        sum += (u32)(part[0] + part[1]) << (8 * limb + 1);
    }
    return (int)sum;
}

// Decides the sites of a tile one after another; one lane of the warp a replica. square: the
// couplings of the tile among its own sites, (LIMBS, TILE, 8) words. Four sites are decided by
// their bounds, without a branch; if a lane is unsure of one, all four are decided anew.
__device__ __forceinline__ void decide(const Tile& of, const Model& model, const u32* square,
                                       u32* spins, u32 tile, u32 clock, int row,
                                       const Limits& limits, u32 lane, u32 replica, u64 seed,
                                       Lane& mine, u32& wholes) {
    u32 change[8] = {};  // bytes of half the changes, of all words but the one at hand
#pragma unroll 1
    for (u32 q = 0; q < 8; ++q) {
        const u32 now = spins[8 * tile + q], halves = now ^ 0xfefefefe;  // -1 for 1, 1 for -1
        u32 own[4][LIMBS];
        int before[4], sure[4], open[4], sign[4];  // fields but for the flips of these four sites
        const int4 fields = __ldg((const int4*)model.fields + 8 * tile + q);
        const int outer[4] = {fields.x, fields.y, fields.z, fields.w};
#pragma unroll
        for (u32 b = 0; b < 4; ++b) {
            const u32 i = 4 * q + b;
            sure[b] = of.sure[i][lane];
            open[b] = of.open[i][lane];
            sign[b] = HEAT_BATH ? 1 : (signed char)(now >> 8 * b);
            before[b] = sign[b] * (of.field[i][lane] + outer[b] + moved(square + i * 8, change));
#pragma unroll
            for (u32 limb = 0; limb < LIMBS; ++limb)
                own[b][limb] = square[(limb * TILE + i) * 8 + q];
        }
        bool doubt = false;
        u32 current = 0;
        i64 gained = 0;
#pragma unroll
        for (u32 b = 0; b < 4; ++b) {
            int x = before[b];  // v, or h in heat bath
#pragma unroll
            for (u32 limb = 0; limb < LIMBS; ++limb)
                x += __dp4a((int)own[b][limb], (int)current, 0) * (sign[b] * (2 << 8 * limb));
#if HEAT_BATH
            const bool up = (now >> 8 * b & 255) == 1, flip = (x > open[b]) != up;
            doubt |= x > sure[b] && x <= open[b];
            const int v = up ? x : -x;
#else
            const bool flip = x <= sure[b];
            doubt |= x > sure[b] && x <= open[b];
            const int v = x;
#endif
            if (flip) {
                current |= halves & 0xffu << 8 * b;
                gained += v;
            }
        }
        if (__any_sync(LANES == 32 ? FULL_WARP : (1u << LANES % 32) - 1, doubt)) {
            current = 0;
            gained = 0;
#pragma unroll 1
            for (u32 b = 0; b < 4; ++b) {
                const u32 i = 4 * q + b, site = TILE * tile + i;
                if (site >= model.n) break;
                int h = of.field[i][lane] + __ldg(model.fields + site) +
                        moved(square + i * 8, change);
#pragma unroll
                for (u32 limb = 0; limb < LIMBS; ++limb)
                    h += (int)((u32)__dp4a((int)square[(limb * TILE + i) * 8 + q], (int)current, 0)
                               << (8 * limb + 1));
                const int spin = (int)(now << (24 - 8 * b)) >> 24;
#if HEAT_BATH
                const int x = h;
                bool accepted = h > of.open[i][lane];
                const bool unsure = h > of.sure[i][lane] && h <= of.open[i][lane];
#else
                const int x = spin < 0 ? -h : h;
                bool accepted = x <= of.sure[i][lane];
                const bool unsure = !accepted && x <= of.open[i][lane];
#endif
                if (unsure) {
                    const Place at = place_of(__ldg(model.place + site), clock, model.colours);
                    accepted = accepts(whole_integer(at, replica, seed), x, row, limits);
                    ++wholes;
                }
                if (HEAT_BATH ? accepted != (spin > 0) : accepted) {
                    current |= (spin < 0 ? 1u : 255u) << 8 * b;
                    gained += spin < 0 ? -h : h;
                }
            }
        }
        const u32 changed = current & 0x01010101;
        spins[8 * tile + q] = now ^ changed * 0xfe;
        mine.energy += 2 * gained;
        mine.up += 2 * __dp4a((int)current, 0x01010101, 0);
        mine.flips += (u32)__popc(changed);
#pragma unroll
        for (u32 p = 0; p < 8; ++p)
            if (p == q) change[p] = current;
    }
}
