// Sweeps of lattices at one bit per spin: a thread visits 64 sites of a colour, a group of blocks
// owns one replica for the whole schedule.
//
// program.cuh is made from the lattice program (isingnpu/program.py): SLOTS, its list SLOT_LIST,
// and the logic count_unsatisfied, free_moves, products. A state is (colours, rows, words).
// Eight planes of random bits decide most sites; words with a site that they leave undecided are
// queued and finished by dense warps. Neighbours have other colours, so that a late flip is seen
// by no one before the colour is done. QUEUED 0: every thread finishes its own words instead.
//
// Defines: ROUNDS, HEAT_BATH, QUEUED; MASKED: some words have bits that are no sites; SPLIT:
// several blocks share a replica.
#include "barrier.cuh"
#include "philox.cuh"
#include "program.cuh"

#define THREADS 256
#define CALLS 4  // read for every word, two planes each
#define LAST_CALL 32
#define QUEUE (2 * THREADS)
// Blocks that a multiprocessor has registers for: what a thread holds grows with the thresholds.
#define RESIDENT (!QUEUED ? 1 : NUMBER > 2 ? 2 : 3)

// What visits read of one colour, and where its sites lie.
struct Colour {
    u64* spins;           // of the replica
    const u32* terms;     // (SLOTS, rows) row of the neighbours << 2 | columns to add + 1
    const u32* signs;     // (SLOTS, rows) row of `planes`
    const u32* presents;  // (SLOTS, rows)
    const u32* valid;     // (rows,)
    const u64* planes;    // (.., words)
    u32 first_row, rows, words;
    u32 columns;  // of a row that goes around, else 0
    u64 seam;     // 1 where going around flips the spins
};

// Words whose open sites wait for more random bits.
struct Queue {
    u64 open[QUEUE];
    uint2 place[QUEUE];  // word and row
    u64 digits[DIGITS ? DIGITS : 1][QUEUE];
    u32 length;
};

// Neighbours one column on or back; w: word.
__device__ __forceinline__ u64 beside(const u64* line, u32 w, int shift, const Colour& c) {
    if (shift == 0) return line[w];
    if (shift > 0) {
        const u32 at = w + 1;
        u64 word = at < c.words ? line[at] : line[0] >> 1;
        // the column after the last is the first one
        if (c.columns && at % c.words == c.columns % c.words) {
            const u32 bit = c.columns / c.words - (at == c.words);
            word = (word & ~(1ull << bit)) | ((line[0] ^ c.seam) & 1) << bit;
        }
        return word;
    }
    if (w) return line[w - 1];
    u64 word = line[c.words - 1] << 1;
    if (c.columns) {
        const u32 last = c.columns - 1;
        word |= (line[last % c.words] >> last / c.words ^ c.seam) & 1;
    }
    return word;
}

// Unsatisfied bonds and presence of each slot for spins `own`.
__device__ __forceinline__ void look(const Colour& c, u32 row, u32 w, u64 own, u64 x[SLOTS],
                                     u64 present[SLOTS]) {
#define LOOK(k, field, sign, dilute)                                                        \
    {                                                                                       \
        u64 seen = ~0ull;                                                                   \
        if (!field) {                                                                       \
            const u32 term = __ldg(c.terms + (size_t)(k) * c.rows + row);                   \
            seen = beside(c.spins + (size_t)(term >> 2) * c.words, w, (int)(term & 3) - 1, c); \
        }                                                                                   \
        if (sign)                                                                           \
            seen ^= __ldg(c.planes +                                                        \
                          (size_t)__ldg(c.signs + (size_t)(k) * c.rows + row) * c.words + w); \
        x[k] = own ^ seen;                                                                  \
        present[k] = ~0ull;                                                                 \
        if (dilute)                                                                         \
            present[k] = __ldg(c.planes +                                                   \
                               (size_t)__ldg(c.presents + (size_t)(k) * c.rows + row) * c.words + \
                               w);                                                          \
    }
    SLOT_LIST(LOOK)
#undef LOOK
}

__device__ __forceinline__ u64 spread(u32 mask) { return (u64)mask << 32 | mask; }

// One plane of thresholds: D_0 ^ XOR_m (product_m & D_m), for masks D of that plane.
__device__ __forceinline__ u64 plane_of(const u64 product[NUMBER], const u32* masks) {
    u64 t = spread(masks[0]);
#pragma unroll
    for (int m = 1; m < NUMBER; ++m) t ^= product[m] & spread(masks[m]);
    return t;
}

// Reads planes until no site is open; returns the sites whose integer is below the threshold.
__device__ __forceinline__ u64 finish(u64 open, const u64 digits[], u32 w, u32 row, u32 clock,
                                      u32 high, u64 seed, const u32* masks, u32& calls) {
    u64 product[NUMBER], below = 0;
    products(digits, product);
    u32 call = CALLS;
#pragma unroll 1
    for (; open && call < LAST_CALL; ++call) {
        u32 x[4];
        philox(w, row, clock, high | call, seed, x);
        const u64 r[2] = {(u64)x[1] << 32 | x[0], (u64)x[3] << 32 | x[2]};
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            const u64 t = plane_of(product, masks + (2 * call + (u32)k) * NUMBER);
            below |= open & t & ~r[k];
            open &= ~(t ^ r[k]);
        }
    }
    calls += call - CALLS;
    return below;
}

__device__ __forceinline__ u64 settled(u64 old, u64 open, u64 below) {
    return HEAT_BATH ? (old & ~open) | below : old ^ below;
}

// Visits a word; returns the sites left open, with the bits of their counts.
__device__ __forceinline__ u64 visit(const Colour& c, u32 row, u32 w, u32 clock, u32 high,
                                     u64 seed, const u32* masks, u64 digits[], u64& own,
                                     u64& next) {
    own = c.spins[(size_t)(c.first_row + row) * c.words + w];
    u64 x[SLOTS], present[SLOTS], product[NUMBER];
    look(c, row, w, HEAT_BATH ? ~0ull : own, x, present);
    const u64 free = count_unsatisfied(x, present, digits);
    products(digits, product);
    u64 below = 0, tied = ~0ull;
#pragma unroll
    for (int call = CALLS - 1; call >= 0; --call) {
        u32 z[4];
        philox(w, row, clock, high | (u32)call, seed, z);
        const u64 r[2] = {(u64)z[1] << 32 | z[0], (u64)z[3] << 32 | z[2]};
#pragma unroll
        for (int k = 1; k >= 0; --k) {
            const u64 t = plane_of(product, masks + (2 * call + k) * NUMBER);
            below = (t & ~r[k]) | (~(t ^ r[k]) & below);
            tied &= ~(t ^ r[k]);
        }
    }
    u64 valid = ~0ull;
#if MASKED
    valid = __ldg(c.planes + (size_t)__ldg(c.valid + row) * c.words + w);
#endif
    const u64 open = tied & valid & ~free;
    u64 change = HEAT_BATH ? (own ^ below) & ~open : below | free;
    next = own ^ (change & valid);
    return open;
}

__device__ __forceinline__ u64 add_up(u64 value) {
    for (int by = 16; by; by >>= 1) value += __shfl_down_sync(FULL_WARP, value, by);
    return value;
}

#if SPLIT
#define MEET() meet(arrived + group, blocks, target)
#else
#define MEET() __syncthreads()
#endif

// grid (blocks of a replica, replicas); arguments: isingnpu/backends/cuda/lattice.py.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
sweep(u64* spins, u64* best, i64* lowest, i64* since, i64* total, const u32* terms,
      const u32* signs, const u32* presents, const u32* valid, const u64* planes, u32 colours,
      u32 rows, u32 words, u32 columns, u32 seam, const u64* coefficients, const int* which,
      u32 per_sweep, u32 sweeps, u64 seed, u32 replica, u32 number, u32 every, u32 track,
      const i64* factors, i64 constant, i64 sites, i64* energies, i64* magnetizations, i64* flips,
      i64* path, u64* sums, u64* counts, u32* arrived) {
    __shared__ u32 masks[64 * NUMBER];
#if QUEUED
    __shared__ Queue queue;
    if (threadIdx.x == 0) queue.length = 0;
#endif
    const u32 thread = threadIdx.x, threads = blockDim.x, blocks = gridDim.x;
    const u32 group = blockIdx.y, groups = gridDim.y, items = rows * words;
    const u32 stride = blocks * threads, row_stride = stride / words, word_stride = stride % words;
    const u32 start = blockIdx.x * threads + thread;
    const u32 high = (replica + group) << 11;
    u64* const state = spins + (size_t)group * colours * items;
    u32 target = 0, taken = 0, seen = 0, calls = 0;
    int expanded = -1;
    for (u32 t = 0; t < sweeps; ++t) {
        const u32 now = number + t;
        const int row_of_limits = which[(size_t)t * per_sweep + (per_sweep == 1 ? 0 : group)];
        if (row_of_limits != expanded) {  // the same for all threads of the block
            __syncthreads();
            for (u32 k = thread; k < 64 * NUMBER; k += threads) {
                const u64 d = coefficients[(size_t)row_of_limits * NUMBER + k % NUMBER];
                masks[k] = 0u - (u32)(d >> (63 - k / NUMBER) & 1);
            }
            expanded = row_of_limits;
        }
        __syncthreads();
        u32 flipped = 0;
        for (u32 colour = 0; colour < colours; ++colour) {
            const size_t of = (size_t)colour * SLOTS * rows;
            const Colour c = {state, terms + of, signs + of, presents + of,
                              valid + (size_t)colour * rows, planes, colour * rows, rows, words,
                              columns, seam};
            const u32 clock = colours * now + colour;
            u32 row = start / words, w = start % words;
#if QUEUED
            u32 waiting = 0;
#endif
            for (u32 base = blockIdx.x * threads; base < items; base += stride) {
                u64 open = 0, digits[DIGITS ? DIGITS : 1];
                if (base + thread < items) {
                    u64 own, next;
                    open = visit(c, row, w, clock, high, seed, masks, digits, own, next);
#if !QUEUED
                    if (open) {
                        const u64 below = finish(open, digits, w, row, clock, high, seed, masks,
                                                 calls);
                        next = settled(next, open, below);
                    }
#endif
                    if (own != next) state[(size_t)(c.first_row + row) * words + w] = next;
                    flipped += (u32)__popcll(own ^ next);
                }
#if QUEUED
                if (open) {
                    const u32 slot = atomicAdd(&queue.length, 1u);
                    queue.open[slot] = open;
                    queue.place[slot] = make_uint2(w, row);
                    for (int k = 0; k < DIGITS; ++k) queue.digits[k][slot] = digits[k];
                }
                waiting += (u32)__syncthreads_count(open != 0);
                if (waiting > QUEUE - THREADS || base + stride >= items) {
                    for (u32 slot = thread; slot < waiting; slot += threads) {
                        u64 own_digits[DIGITS ? DIGITS : 1];
                        for (int k = 0; k < DIGITS; ++k) own_digits[k] = queue.digits[k][slot];
                        const uint2 place = queue.place[slot];
                        const u64 left = queue.open[slot];
                        const u64 below = finish(left, own_digits, place.x, place.y, clock, high,
                                                 seed, masks, calls);
                        u64* const at = state + (size_t)(c.first_row + place.y) * words + place.x;
                        const u64 old = *at, settled_word = settled(old, left, below);
                        *at = settled_word;
                        flipped += (u32)__popcll(old ^ settled_word);
                    }
                    waiting = 0;
                    __syncthreads();
                    if (thread == 0) queue.length = 0;
                    __syncthreads();
                }
#endif
                row += row_stride;
                w += word_stride;
                if (w >= words) {
                    w -= words;
                    ++row;
                }
            }
            MEET();
        }
        const u64 all_flips = add_up(flipped);
        if (thread % 32 == 0 && all_flips) {
            atomicAdd((u64*)(since + group), all_flips);
            atomicAdd((u64*)(total + group), all_flips);
        }
        const bool sample = every && (now + 1) % every == 0;
        if (!track && !sample) continue;
        // sums: (2, groups, 2) unsatisfied bonds by twice their weight, and spins up, in turn
        u64* const sum = sums + ((size_t)(seen & 1) * groups + group) * 2;
        u64 unsatisfied = 0, up = 0;
        for (u32 colour = 0; colour < colours; ++colour) {
            const size_t of = (size_t)colour * SLOTS * rows;
            const Colour c = {state, terms + of, signs + of, presents + of,
                              valid + (size_t)colour * rows, planes, colour * rows, rows, words,
                              columns, seam};
            const i64* const factor = factors + (size_t)colour * (1 + SLOTS);
            u32 row = start / words, w = start % words;
            for (u32 item = start; item < items; item += stride) {
                const u64 own = state[(size_t)(c.first_row + row) * words + w];
                u64 mask = ~0ull;
#if MASKED
                mask = __ldg(planes + (size_t)__ldg(c.valid + row) * words + w);
#endif
                up += (u64)__popcll(own & mask);
                if (factor[0]) {  // a bond is counted with its higher colour
                    u64 x[SLOTS], present[SLOTS];
                    look(c, row, w, own, x, present);
#pragma unroll
                    for (int k = 0; k < SLOTS; ++k)
                        unsatisfied += (u64)factor[1 + k] * (u64)__popcll(x[k] & present[k] & mask);
                }
                row += row_stride;
                w += word_stride;
                if (w >= words) {
                    w -= words;
                    ++row;
                }
            }
        }
        unsatisfied = add_up(unsatisfied);
        up = add_up(up);
        if (thread % 32 == 0) {
            atomicAdd(sum, unsatisfied);
            atomicAdd(sum + 1, up);
        }
        MEET();
        const i64 energy = constant + *(volatile i64*)sum;
        const bool better = track && energy < *(volatile i64*)(lowest + group);
        if (better) {
            const size_t all = (size_t)colours * items;
            for (size_t k = start; k < all; k += stride) best[group * all + k] = state[k];
        }
        MEET();  // all have compared and copied
        if (start == 0) {
            if (track) path[(size_t)t * groups + group] = energy;
            if (better) lowest[group] = energy;
            if (sample) {
                const size_t to = (size_t)taken * groups + group;
                energies[to] = energy;
                magnetizations[to] = 2 * (i64)*(volatile u64*)(sum + 1) - sites;
                flips[to] = *(volatile i64*)(since + group);
                since[group] = 0;
            }
            u64* const other = sums + ((size_t)(~seen & 1) * groups + group) * 2;
            other[0] = other[1] = 0;
        }
        ++seen;
        taken += sample;
        MEET();
    }
    const u64 all_calls = add_up(calls);
    if (thread % 32 == 0 && all_calls) atomicAdd(counts, all_calls);
}
