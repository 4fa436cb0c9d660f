// One word of 64 sites of a colour: what its bonds are, and which sites move.
//
// program.cuh, made by isingnpu/backends/cuda/logic.py, gives SLOTS, NUMBER, DIGITS, the list
// SLOT_LIST of slots, RECORD and VALID_AT, and the logic count_unsatisfied and products.
#pragma once
#include "philox.cuh"
#include "program.cuh"

#define CALLS 4  // read for every word, two planes each
#define LAST_CALL 32
// Calls side by side, as far as 64 registers allow.
#if NUMBER == 2 || (NUMBER == 3 && __CUDA_ARCH__ >= 900)
#define UNROLLED CALLS
#else
#define UNROLLED 1
#endif

// Where the first column of a row follows its last, `next`, and where that last one is: word and
// bit, and whether going around flips the spins. Rows that do not go around have closed 0.
struct Seam {
    u32 closed, next_word, next_bit, last_word, last_bit, flip;
    u32 ragged;  // the next word, if a row ends before the bits of it do, else none
};

// What the visits of a word and those below it read. A record tells the rows: those of neighbours,
// << 2 | columns to add + 1 where a slot may look beside, and those of `planes`.
struct Words {
    u64* spins;          // of the first colour, (.., words), at this word
    const u64* planes;   // (.., words), at this word
    const u32* records;  // of all colours, (colours x rows, RECORD)
    u32 words, pitch, w;
};

struct Record {
    u32 at[RECORD];
};

__device__ __forceinline__ Record record_of(const Words& of, u32 row) {
    const uint4* const from = (const uint4*)(of.records + (size_t)row * RECORD);
    Record record;
#pragma unroll
    for (u32 k = 0; k < RECORD / 4; ++k) {
        const uint4 four = __ldg(from + k);
        record.at[4 * k] = four.x;
        record.at[4 * k + 1] = four.y;
        record.at[4 * k + 2] = four.z;
        record.at[4 * k + 3] = four.w;
    }
    return record;
}

// In any row, what `column` is in the first; pitch: bytes of a row.
template <class T> __device__ __forceinline__ T* below(T* column, u32 row, u32 pitch) {
    return (T*)((char*)column + wide_product(row, pitch));
}

// Neighbours one column on or back, where a row ends. at: word, of which there may be none.
__device__ __forceinline__ u64 around(const u64* line, u32 at, bool on, u32 words,
                                      const Seam& seam) {
#if WHOLE
    const u64 word = line[on ? 0 : words - 1];
    return on ? word >> 1 | word << 63 : word << 1 | word >> 63;
#else
    if (on) {
        u64 word = at < words ? line[at] : line[0] >> 1;
        if (seam.closed && (at == words ? 0 : at) == seam.next_word) {
            const u32 bit = seam.next_bit - (at == words);
            word = (word & ~(1ull << bit)) | ((line[0] ^ seam.flip) & 1) << bit;
        }
        return word;
    }
    if (at < words) return line[at];
    const u64 word = line[words - 1] << 1;
    return seam.closed ? word | ((line[seam.last_word] >> seam.last_bit ^ seam.flip) & 1) : word;
#endif
}

// Spins of the neighbours that an entry tells; beside: it may add columns.
__device__ __forceinline__ u64 neighbours(const Words& of, u32 entry, bool beside,
                                          const Seam& seam) {
    if (!beside) return *below(of.spins, entry, of.pitch);
    const u64* const here = below(of.spins, entry >> 2, of.pitch);
    const u32 at = of.w + (entry & 3) - 1;
    if (at < of.words && (WHOLE || at != seam.ragged)) return here[(int)(entry & 3) - 1];
    return around(here - of.w, at, (entry & 3) == 2, of.words, seam);
}

// Unsatisfied bonds and presence of each slot for spins `own`.
__device__ __forceinline__ void look(const Words& of, const Record& record, u64 own,
                                     const Seam& seam, u64 x[SLOTS], u64 present[SLOTS]) {
#define LOOK(k, field, beside, row_at, sign_at, present_at)                                  \
    x[k] = own ^ (field ? ~0ull : neighbours(of, record.at[row_at], beside, seam));          \
    if (sign_at >= 0)                                                                        \
        x[k] ^= __ldg(below(of.planes, record.at[sign_at < 0 ? 0 : sign_at], of.pitch));     \
    present[k] = ~0ull;                                                                      \
    if (present_at >= 0)                                                                     \
        present[k] =                                                                         \
            __ldg(below(of.planes, record.at[present_at < 0 ? 0 : present_at], of.pitch));
    SLOT_LIST(LOOK)
#undef LOOK
}

// Bits that are sites.
__device__ __forceinline__ u64 valid_of(const Words& of, const Record& record) {
#if VALID_AT
    return __ldg(below(of.planes, record.at[VALID_AT], of.pitch));
#else
    return ~0ull;
#endif
}

__device__ __forceinline__ u64 spread(u32 mask) { return (u64)mask << 32 | mask; }

// One plane of thresholds: D_0 ^ XOR_m (product_m & D_m), for masks D of that plane.
__device__ __forceinline__ u64 plane_of(const u64 product[NUMBER], const u32* masks) {
    u64 t = spread(masks[0]);
#pragma unroll
    for (int m = 1; m < NUMBER; ++m) t ^= product[m] & spread(masks[m]);
    return t;
}

// What the counter (w, row, clock, call | high) becomes in round 1, where the row does not enter:
// made once for all words of a column.
struct __align__(16) Column {
    u32 zero[CALLS], one[CALLS];  // x0 of round 1, and x1 with the key of round 2
};

// Returns x3 of round 0, with the key of round 1.
__device__ __forceinline__ u32 make_column(Column& column, u32 w, u32 clock, u32 high,
                                           const Keys& keys) {
    const u64 word = (u64)PHILOX_M0 * w;
    const u32 of_clock = (u32)((u64)PHILOX_M1 * clock);
#pragma unroll
    for (u32 call = 0; call < CALLS; ++call) {
        const u64 p = (u64)PHILOX_M1 * ((u32)(word >> 32) ^ (high | call) ^ keys.second[0]);
        column.zero[call] = (u32)(p >> 32) ^ of_clock ^ keys.first[1];
        column.one[call] = (u32)p ^ keys.first[2];
    }
    return (u32)word ^ keys.second[1];
}

// What the calls of a word have in common.
struct Row {
    u32 three;  // x3 of round 1, with the key of round 2
    u64 product;  // in round 2
};

__device__ __forceinline__ Row row_of(u32 low, u32 row, u32 clock, const Keys& keys) {
    const u32 high = (u32)((u64)PHILOX_M1 * clock >> 32);
    const u64 p = (u64)PHILOX_M0 * (high ^ row ^ keys.first[0]);
    return {(u32)p ^ keys.second[2], (u64)PHILOX_M1 * ((u32)(p >> 32) ^ low)};
}

// The four words of a call.
__device__ __forceinline__ void draw(const Column& column, const Row& row, int call,
                                     const Keys& keys, u32 x[4]) {
    const u64 p = (u64)PHILOX_M0 * column.zero[call];
    x[0] = (u32)(row.product >> 32) ^ column.one[call];
    x[1] = (u32)row.product;
    x[2] = (u32)(p >> 32) ^ row.three;
    x[3] = (u32)p;
#pragma unroll
    for (int r = 3; r < ROUNDS; ++r) philox_round(x, keys.first[r], keys.second[r]);
}

// Two more planes of the integers of the sites in `open`; returns those now below their
// thresholds and leaves those that are still undecided. masks: of these planes.
__device__ __forceinline__ u64 two_planes(u64& open, const u64 digits[], const u32 x[4],
                                          const u32* masks) {
    u64 product[NUMBER], below = 0;
    products(digits, product);
    const u64 r[2] = {(u64)x[1] << 32 | x[0], (u64)x[3] << 32 | x[2]};
#pragma unroll
    for (int k = 0; k < 2; ++k) {
        const u64 t = plane_of(product, masks + k * NUMBER);
        below |= open & t & ~r[k];
        open &= ~(t ^ r[k]);
    }
    return below;
}

// Spins after the sites in `decided` have been, of which those in `below` have r < T.
__device__ __forceinline__ u64 settled(u64 old, u64 decided, u64 below) {
    return HEAT_BATH ? (old & ~decided) | below : old ^ below;
}

// The spins of a word after its visit, but for the sites left open, whose bits of N are `digits`.
__device__ __forceinline__ u64 visit(const Words& of, u32 row, u32 number, u32 clock, u64 own,
                                     const Column& column, u32 low, const Keys& keys,
                                     const Seam& seam, const u32* masks, u64 digits[],
                                     u64& open) {
    const Record record = record_of(of, number);
    u64 x[SLOTS], present[SLOTS], product[NUMBER];
    look(of, record, HEAT_BATH ? ~0ull : own, seam, x, present);
    const u64 free = count_unsatisfied(x, present, digits);
    products(digits, product);
    const Row part = row_of(low, row, clock, keys);
    u64 below = 0, tied = ~0ull;
#pragma unroll UNROLLED
    for (int call = CALLS - 1; call >= 0; --call) {
        u32 z[4];
        draw(column, part, call, keys, z);
        const u64 r[2] = {(u64)z[1] << 32 | z[0], (u64)z[3] << 32 | z[2]};
#pragma unroll
        for (int k = 1; k >= 0; --k) {
            const u64 t = plane_of(product, masks + (2 * call + k) * NUMBER);
            below = (t & ~r[k]) | (~(t ^ r[k]) & below);
            tied &= ~(t ^ r[k]);
        }
    }
    const u64 valid = valid_of(of, record);
    open = tied & valid & ~free;
    const u64 change = HEAT_BATH ? (own ^ below) & ~open : below | free;
    return own ^ (change & valid);
}
