// Sweeps of lattices at one bit per spin: a thread visits 64 sites of a colour, a group of blocks
// owns one replica for the whole schedule.
//
// A state is (colours, rows, words). A thread stays in its column of words and goes down the rows:
// three rounds of the random numbers are made once per column (lattice_words.cuh). Eight planes of
// random bits decide most sites. A word with a site that they leave undecided waits in a queue of
// its warp; 32 of them read the next two planes side by side, and wait again if that is not
// enough. Neighbours have other colours, so that a late flip is seen by no one before the colour
// is done. QUEUED 0: every thread finishes its own words instead.
//
// Traffic: 3 bits per visit and, of spins beside, what the caches do not hold. Bound: logic.
//
// Defines: ROUNDS, HEAT_BATH, QUEUED, RESIDENT (blocks that a multiprocessor has registers for);
// SPLIT: several blocks share a replica; WHOLE: rows are closed, end with a word, and turn no spin.
#include "barrier.cuh"
#include "lattice_words.cuh"

#define THREADS 256
#define WAITING 64  // words that a warp queues

// Words whose open sites wait for more random bits; a call, 0..31, stands above the word.
struct Queue {
    uint4 place[WAITING];  // open sites, low and high; row; word | call << 27
    u64 digits[DIGITS ? DIGITS : 1][WAITING];
    u32 calls;  // read so far
};

// Lanes whose word has open sites put it into the queue of their warp.
__device__ __forceinline__ void wait(Queue& queue, u32& length, u64 open, u32 row, u32 w,
                                     u32 call, const u64 digits[]) {
    const u32 lanes = __ballot_sync(FULL_WARP, open != 0);
    if (open) {
        const u32 slot = length + (u32)__popc(lanes & lanes_before());
        queue.place[slot] = make_uint4((u32)open, (u32)(open >> 32), row, w | call << 27);
        for (int k = 0; k < DIGITS; ++k) queue.digits[k][slot] = digits[k];
    }
    length += (u32)__popc(lanes);
    __syncwarp();
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

// Up to 32 queued words read two more planes; returns flips of this lane's.
__device__ __forceinline__ u32 drain(Queue& queue, u32& length, u64* spins, u32 pitch,
                                     u32 clock, u32 high, const Keys& keys, const u32* masks) {
    const u32 lane = threadIdx.x % 32, take = min(length, 32u), slot = length - take + lane;
    u64 open = 0, digits[DIGITS ? DIGITS : 1];
    uint4 place = {0, 0, 0, 0};
    if (lane < take) {
        place = queue.place[slot];
        for (int k = 0; k < DIGITS; ++k) digits[k] = queue.digits[k][slot];
    }
    length -= take;
    if (lane == 0) queue.calls += take;
    __syncwarp();
    const u32 w = place.w & 0x7ffffff, call = place.w >> 27;
    u32 flips = 0;
    if (lane < take) {
        const u64 left = (u64)place.y << 32 | place.x;
        u32 x[4];
        open = left;
        philox(w, place.z, clock, high | call, keys, x);
        const u64 under = two_planes(open, digits, x, masks + 2 * call * NUMBER);
        if (call == LAST_CALL - 1) open = 0;
        u64* const at = below(spins, place.z, pitch) + w;
        const u64 old = *at, next = settled(old, left & ~open, under);
        *at = next;
        flips = (u32)__popcll(old ^ next);
    }
    wait(queue, length, open, place.z, w, call + 1, digits);
    return flips;
}

// Masks of the 64 planes of thresholds, 64 x NUMBER.
__device__ __forceinline__ void expand(u32* masks, const u64* coefficients) {
    for (u32 k = threadIdx.x; k < 64 * NUMBER; k += blockDim.x)
        masks[k] = 0u - (u32)(coefficients[k % NUMBER] >> (63 - k / NUMBER) & 1);
}

// grid (blocks of a replica, replicas); arguments: isingnpu/backends/cuda/lattice.py. Threads side
// by side stand in columns of words, `lines` of them below each other, each of which goes down
// `chunk` rows; `passes` times where there are more words in a row than threads.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
sweep(u64* spins, u64* best, i64* lowest, i64* since, i64* total, const u32* records,
      const u64* planes, u32 colours, u32 rows, u32 words, u32 pitch, u32 lines,
      u32 chunk, u32 passes, u32 closed, u32 next_word,
      u32 next_bit, u32 last_word, u32 last_bit, u32 flip, const u64* coefficients,
      const int* which, u32 per_sweep, u32 sweeps, u64 seed, u32 replica, u32 number, u32 every,
      u32 track, const i64* factors, i64 constant, i64 sites, i64* energies, i64* magnetizations,
      i64* flips, i64* path, u64* sums, u64* counts, u32* arrived) {
    __shared__ __align__(16) u32 masks[64 * NUMBER];
    __shared__ Column columns[THREADS];
    __shared__ uint2 places[THREADS];  // first row and column
#if QUEUED
    __shared__ Queue queues[THREADS / 32];
    Queue& queue = queues[threadIdx.x / 32];
    if (threadIdx.x % 32 == 0) queue.calls = 0;
#else
    u32 calls = 0;
#endif
    const u32 thread = threadIdx.x, threads = blockDim.x, blocks = gridDim.x;
    const u32 group = blockIdx.y, groups = gridDim.y;
    const u32 all = blocks * threads, start = blockIdx.x * threads + thread;
    const u32 line = all < words ? 0 : start / words;
    places[thread] = make_uint2(line < lines ? line * chunk : rows, start - line * words);
    const u32 high = (replica + group) << 11;
    const Keys keys = keys_of(seed);
    const Seam seam = {closed, next_word, next_bit, last_word, last_bit, flip,
                       closed && next_word ? next_word : ~0u};
    u64* const state = spins + (size_t)group * colours * rows * words;
    u32 target = 0;
    for (u32 now = number; now != number + sweeps; ++now) {
        const u32 t = now - number;
        const int* const limits = which + (size_t)t * per_sweep + (per_sweep == 1 ? 0 : group);
        __syncthreads();
        if (t == 0 || *limits != *(limits - per_sweep))  // the same for all threads of the block
            expand(masks, coefficients + (size_t)*limits * NUMBER);
        __syncthreads();
        u32 flipped = 0;
        for (u32 colour = 0; colour < colours; ++colour) {
            u64* const own_spins = state + (size_t)colour * rows * words;
            const u32 clock = colours * now + colour;
#if QUEUED
            u32 waiting = 0;
#endif
            const u32 first = places[thread].x;
            u32 w = places[thread].y;
            for (u32 pass = 0; pass < passes; ++pass, w += all) {
                const Words here = {state + w, planes + w, records, words, pitch, w};
                const u32 low = make_column(columns[thread], w, clock, high, keys);
                const u32 end = w < words ? rows : 0;
#pragma unroll 1
                for (u32 k = 0; k < chunk; ++k) {
                    const u32 row = first + k;
                    u64 open = 0, digits[DIGITS ? DIGITS : 1];
                    if (row < end) {
                        u64* const at = below(here.spins, colour * rows + row, pitch);
                        const u64 own = *at;
                        u64 next = visit(here, row, colour * rows + row, clock, own, columns[thread], low, keys, seam,
                                         masks, digits, open);
#if !QUEUED
                        const u64 left = open;
                        u64 under = 0;
                        u32 call = CALLS;
#pragma unroll 1
                        for (; open && call < LAST_CALL; ++call) {
                            u32 x[4];
                            philox(w, row, clock, high | call, keys, x);
                            under |= two_planes(open, digits, x, masks + 2 * call * NUMBER);
                        }
                        calls += call - CALLS;
                        next = settled(next, left, under);
#endif
                        *at = next;
                        flipped += (u32)__popcll(own ^ next);
                    }
#if QUEUED
                    wait(queue, waiting, open, row, w, CALLS, digits);
                    while (waiting >= 32)
                        flipped += drain(queue, waiting, own_spins, pitch, clock, high, keys,
                                         masks);
#endif
                }
            }
#if QUEUED
            while (waiting)
                flipped += drain(queue, waiting, own_spins, pitch, clock, high, keys, masks);
#endif
            MEET();
        }
        const u64 all_flips = add_up(flipped);
        if (thread % 32 == 0 && all_flips) {
            atomicAdd((u64*)(since + group), all_flips);
            atomicAdd((u64*)(total + group), all_flips);
        }
        const bool sample = every && (now + 1) % every == 0;
        if (!track && !sample) continue;
        const u32 taken = every ? now / every - number / every : 0, seen = track ? t : taken;
        // sums: (2, groups, 2) unsatisfied bonds by twice their weight, and spins up, in turn
        u64* const sum = sums + ((size_t)(seen & 1) * groups + group) * 2;
        u64 unsatisfied = 0;
        u32 up = 0;
        for (u32 colour = 0; colour < colours; ++colour) {
            const i64* const factor = factors + (size_t)colour * (1 + SLOTS);
            const u32 first = places[thread].x;
            for (u32 w = places[thread].y; w < words; w += all) {
                const Words here = {state + w, planes + w, records, words, pitch, w};
                for (u32 row = first; row < min(first + chunk, rows); ++row) {
                    const Record record = record_of(here, colour * rows + row);
                    const u64 own = *below(here.spins, colour * rows + row, pitch);
                    const u64 valid = valid_of(here, record);
                    up += (u32)__popcll(own & valid);
                    if (!factor[0]) continue;  // a bond is counted with its higher colour
                    u64 x[SLOTS], present[SLOTS];
                    look(here, record, own, seam, x, present);
#pragma unroll
                    for (int k = 0; k < SLOTS; ++k)
                        unsatisfied +=
                            (u64)factor[1 + k] * (u64)__popcll(x[k] & present[k] & valid);
                }
            }
        }
        unsatisfied = add_up(unsatisfied);
        const u64 all_up = add_up(up);
        if (thread % 32 == 0) {
            atomicAdd(sum, unsatisfied);
            atomicAdd(sum + 1, all_up);
        }
        MEET();
        const i64 energy = constant + *(volatile i64*)sum;
        const bool better = track && energy < *(volatile i64*)(lowest + group);
        if (better) {
            const size_t of_state = (size_t)colours * rows * words;
            for (size_t k = start; k < of_state; k += all) best[group * of_state + k] = state[k];
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
        MEET();
    }
#if QUEUED
    const u64 calls = queue.calls;
    if (thread % 32 == 0 && calls) atomicAdd(counts, calls);
#else
    const u64 all_calls = add_up(calls);
    if (thread % 32 == 0 && all_calls) atomicAdd(counts, all_calls);
#endif
}
