// Products of bytes by tensor cores, which have no other name than an instruction of PTX.
#pragma once
#include "portable.cuh"

// c += a b for a 16 x 32, b 32 x 8, of signed bytes. With g = lane / 4 and t = lane % 4, a lane
// holds a of rows g, g + 8, g, g + 8 at columns 4 t (the first two) and 16 + 4 t, b of column g at
// rows 4 t and 16 + 4 t, and c of rows g, g, g + 8, g + 8 at columns 2 t and 2 t + 1.
__device__ __forceinline__ void multiply(int (&c)[4], const uint4& a, u32 b0, u32 b1) {
#ifdef HOST_HARNESS
    host::multiply(c, a.x, a.y, a.z, a.w, b0, b1);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
#endif
}
