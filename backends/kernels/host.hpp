// Runs CUDA C++ kernels on the processor: one thread of the system, every CUDA thread a fiber.
//
// A fiber runs until it meets a barrier, a warp operation, __nanosleep, or one of the atomics that
// algorithms retry (min, max, compare and swap), before which others run. A warp goes on when all
// lanes of the mask have arrived, a block when all its threads have. Blocks run one after another,
// or side by side when launched together (cooperative launch). The order of fibers and blocks is
// an argument: 0 forward, 1 reverse, above 1 the seed of a shuffle that is renewed at every turn;
// results that depend on it betray a missing barrier. Shared memory is filled with a byte that
// depends on the order before a block starts.
//
// Not modelled: the memory order of the device, races between blocks within a turn, timing.
// Shuffles and votes order memory here, on a device they do not: a __syncwarp beside one is not
// missed, as are those before `clear` in machine_selectors.cu and in `drain` of lattice.cu.
#pragma once
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <math.h>
#include <ucontext.h>
#include <utility>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define HOST_HARNESS 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("shared_memory")))

extern "C" char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));

struct uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
struct int2 { int x, y; };
struct __align__(16) int4 { int x, y, z, w; };
struct __align__(16) ulonglong2 { unsigned long long x, y; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}
static inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) {
    return {x, y};
}

static uint3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

namespace host {

enum State : unsigned char { READY, SLEEPING, AT_BLOCK, AT_WARP, DONE };

struct Fiber {
    jmp_buf at;
    ucontext_t boot;
    char* stack;
    uint3 thread, block;
    unsigned number;  // in its block
    unsigned mask;    // lanes it waits for
    uint64_t* warp;   // 32 words that its warp exchanges
    State state;
    bool started, predicate;
#if defined(__SANITIZE_ADDRESS__)
    void* fake;
#endif
};

struct Block {
    Fiber* fibers;
    char* fixed;    // its __shared__ variables while another block runs
    char* dynamic;  // its dynamic shared memory
};

#if defined(__SANITIZE_ADDRESS__) || defined(HOST_BIG_STACKS)
static const size_t STACK = 256 * 1024;
#else
static const size_t STACK = 64 * 1024;
#endif
static const unsigned PATIENCE = 100000;  // turns in which fibers only sleep

static Fiber* current;
static Block* block_now;
static jmp_buf scheduler;
static void (*kernel)(void*);
static void* arguments;
static char fault[256];
static unsigned threads;
static uint64_t shuffle_state;
#if defined(__SANITIZE_ADDRESS__)
static const void* main_stack;
static size_t main_size;
static void* main_fake;
#endif

static void leave(State state) {
    Fiber* self = current;
    self->state = state;
    if (_setjmp(self->at) == 0) {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_start_switch_fiber(&self->fake, main_stack, main_size);
#endif
        _longjmp(scheduler, 1);
    }
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self->fake, &main_stack, &main_size);
#endif
    threadIdx = self->thread;
    blockIdx = self->block;
}

static void boot() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &main_stack, &main_size);
#endif
    for (;;) {
        threadIdx = current->thread;
        blockIdx = current->block;
        kernel(arguments);
        leave(DONE);
    }
}

static void enter(Fiber* fiber) {
    current = fiber;
    if (_setjmp(scheduler) == 0) {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_start_switch_fiber(&main_fake, fiber->stack, STACK);
#endif
        if (fiber->started) _longjmp(fiber->at, 1);
        fiber->started = true;
        getcontext(&fiber->boot);
        fiber->boot.uc_stack.ss_sp = fiber->stack;
        fiber->boot.uc_stack.ss_size = STACK;
        fiber->boot.uc_link = nullptr;
        makecontext(&fiber->boot, boot, 0);
        setcontext(&fiber->boot);
    }
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(main_fake, nullptr, nullptr);
#endif
}

static void arrange(unsigned* order, unsigned n, unsigned mode) {
    for (unsigned k = 0; k < n; ++k) order[k] = mode == 1 ? n - 1 - k : k;
    if (mode < 2) return;
    for (unsigned k = n; k > 1; --k) {
        shuffle_state = shuffle_state * 6364136223846793005ull + 1442695040888963407ull;
        unsigned other = (unsigned)((shuffle_state >> 33) % k), kept = order[k - 1];
        order[k - 1] = order[other];
        order[other] = kept;
    }
}

static size_t fixed_size() {
    return __start_shared_memory ? (size_t)(__stop_shared_memory - __start_shared_memory) : 0;
}

// Runs the fibers of a block that can; returns whether one did anything but sleep.
static bool turn(Block& block, unsigned* order, unsigned mode) {
    if (fixed_size()) memcpy(__start_shared_memory, block.fixed, fixed_size());
    block_now = &block;
    bool progress = false;
    arrange(order, threads, mode);
    for (unsigned k = 0; k < threads; ++k) {
        Fiber* fiber = &block.fibers[order[k]];
        if (fiber->state != READY && fiber->state != SLEEPING) continue;
        enter(fiber);
        progress |= fiber->state != SLEEPING;
    }
    for (unsigned first = 0; first < threads; first += 32) {
        unsigned lanes = threads - first < 32 ? threads - first : 32, here = 0, wanted = 0;
        unsigned exist = lanes == 32 ? ~0u : (1u << lanes) - 1;
        for (unsigned k = 0; k < lanes; ++k)
            if (block.fibers[first + k].state == AT_WARP) {
                here |= 1u << k;
                wanted |= block.fibers[first + k].mask;
            }
        if (!here || (wanted & exist & ~here)) continue;
        for (unsigned k = 0; k < lanes; ++k)
            if (here >> k & 1) block.fibers[first + k].state = READY;
        progress = true;
    }
    unsigned waiting = 0;
    for (unsigned k = 0; k < threads; ++k) waiting += block.fibers[k].state == AT_BLOCK;
    if (waiting == threads) {
        for (unsigned k = 0; k < threads; ++k) block.fibers[k].state = READY;
        progress = true;
    }
    if (fixed_size()) memcpy(block.fixed, __start_shared_memory, fixed_size());
    return progress;
}

static unsigned how_many(const Block& block, State state) {
    unsigned n = 0;
    for (unsigned k = 0; k < threads; ++k) n += block.fibers[k].state == state;
    return n;
}

static bool run(Block* blocks, unsigned n, unsigned* order, unsigned mode) {
    unsigned* blocks_order = (unsigned*)malloc(n * sizeof(unsigned));
    bool well = true;
    for (unsigned idle = 0;;) {
        bool progress = false, done = true, asleep = false;
        arrange(blocks_order, n, mode);
        for (unsigned k = 0; k < n; ++k) {
            Block& block = blocks[blocks_order[k]];
            if (how_many(block, DONE) < threads) progress |= turn(block, order, mode);
            done &= how_many(block, DONE) == threads;
            asleep |= how_many(block, SLEEPING) > 0;
        }
        if (done) break;
        idle = progress ? 0 : idle + 1;
        if (progress || (asleep && idle < PATIENCE)) continue;
        for (unsigned k = 0; k < n; ++k) {
            const Block& b = blocks[k];
            if (how_many(b, DONE) == threads) continue;
            snprintf(fault, sizeof fault,
                     "divergent barrier in block %u: %u threads wait at __syncthreads, %u in a "
                     "warp operation, %u in __nanosleep, %u have returned",
                     k, how_many(b, AT_BLOCK), how_many(b, AT_WARP), how_many(b, SLEEPING),
                     how_many(b, DONE));
            break;
        }
        well = false;
        break;
    }
    free(blocks_order);
    return well;
}

static Fiber* idle_fibers;  // kept from launch to launch, with their stacks
static unsigned idle_count;

static void hold(unsigned n) {
    if (n <= idle_count) return;
    Fiber* more = (Fiber*)calloc(n, sizeof(Fiber));
    // a context holds addresses of itself: fibers that moved start anew
    for (unsigned k = 0; k < n; ++k)
        more[k].stack = k < idle_count ? idle_fibers[k].stack : (char*)malloc(STACK);
    free(idle_fibers);
    idle_fibers = more;
    idle_count = n;
}

static int launch(void (*thunk)(void*), void* data, const unsigned* grid, const unsigned* shape,
                  unsigned dynamic, unsigned mode, bool together) {
    fault[0] = 0;
    kernel = thunk;
    arguments = data;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {shape[0], shape[1], shape[2]};
    threads = shape[0] * shape[1] * shape[2];
    if (threads == 0 || threads > 1024 || shape[2] > 64) {
        snprintf(fault, sizeof fault, "no block has %u threads", threads);
        return 1;
    }
    unsigned total = grid[0] * grid[1] * grid[2], side_by_side = together ? total : 1;
    unsigned warps = (threads + 31) / 32;
    int poison = (int)(0xA5 + 0x49 * mode) & 0xFF;
    shuffle_state = mode;
    hold(side_by_side * threads);
    Block* blocks = (Block*)calloc(side_by_side, sizeof(Block));
    uint64_t* exchange = (uint64_t*)calloc((size_t)side_by_side * warps * 32, 8);
    unsigned* order = (unsigned*)malloc(threads * sizeof(unsigned));
    unsigned* sequence = (unsigned*)malloc(total * sizeof(unsigned));
    arrange(sequence, total, mode);
    bool well = true;
    for (unsigned start = 0; start < total && well; start += side_by_side) {
        for (unsigned b = 0; b < side_by_side; ++b) {
            unsigned place = sequence[start + b];
            Block& block = blocks[b];
            block.fibers = idle_fibers + (size_t)b * threads;
            block.fixed = (char*)malloc(fixed_size() + 1);
            block.dynamic = (char*)malloc(dynamic + (dynamic == 0));
            memset(block.fixed, poison, fixed_size());
            memset(block.dynamic, poison, dynamic);
            uint3 index = {place % grid[0], place / grid[0] % grid[1],
                           place / (grid[0] * grid[1])};
            for (unsigned k = 0; k < threads; ++k) {
                Fiber& f = block.fibers[k];
                f.block = index;
                f.thread = {k % shape[0], k / shape[0] % shape[1], k / (shape[0] * shape[1])};
                f.number = k;
                f.state = READY;
                f.warp = exchange + ((size_t)b * warps + k / 32) * 32;
            }
        }
        well = run(blocks, side_by_side, order, mode);
        for (unsigned b = 0; b < side_by_side; ++b) {
            free(blocks[b].fixed);
            free(blocks[b].dynamic);
        }
    }
    if (!well)  // they stand in the middle of a kernel
        for (unsigned k = 0; k < idle_count; ++k) idle_fibers[k].started = false;
    free(blocks);
    free(exchange);
    free(order);
    free(sequence);
    return well ? 0 : 2;
}

template <class... A, size_t... I>
static void apply(void (*f)(A...), void** given, std::index_sequence<I...>) {
    f(*static_cast<A*>(given[I])...);
}

template <class... A> struct Call {
    void (*f)(A...);
    void** given;
    static void run(void* self) {
        Call* call = static_cast<Call*>(self);
        apply(call->f, call->given, std::index_sequence_for<A...>{});
    }
};

template <class... A>
static int start(void (*f)(A...), void** given, unsigned n, const unsigned* grid,
                 const unsigned* shape, unsigned dynamic, unsigned mode, bool together) {
    if (n != sizeof...(A)) {
        snprintf(fault, sizeof fault, "the kernel takes %zu arguments, got %u", sizeof...(A), n);
        return 1;
    }
    Call<A...> call{f, given};
    return launch(Call<A...>::run, &call, grid, shape, dynamic, mode, together);
}

static inline unsigned lane() { return current->number & 31; }

static inline void meet(unsigned mask) {
    current->mask = mask;
    leave(AT_WARP);
}

// What lane `source` of the warp gave, for every lane of the mask.
template <class T> static T exchange(unsigned mask, T value, unsigned source) {
    static_assert(sizeof(T) <= 8, "a shuffle carries at most 8 bytes");
    uint64_t word = 0;
    memcpy(&word, &value, sizeof(T));
    current->warp[lane()] = word;
    meet(mask);
    word = current->warp[source];
    meet(mask);
    memcpy(&value, &word, sizeof(T));
    return value;
}

// What all lanes of a warp gave.
static inline void gather(uint64_t value, uint64_t all[32]) {
    current->warp[lane()] = value;
    meet(~0u);
    memcpy(all, current->warp, 32 * sizeof(uint64_t));
    meet(~0u);
}

// See mma.cuh.
static inline void multiply(int (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                            unsigned b0, unsigned b1) {
    uint64_t low[32], high[32], b[32];
    gather((uint64_t)a1 << 32 | a0, low);  // rows g, g + 8 of columns 0..15
    gather((uint64_t)a3 << 32 | a2, high);
    gather((uint64_t)b1 << 32 | b0, b);
    for (unsigned k = 0; k < 4; ++k) {
        const unsigned row = lane() / 4, column = 2 * (lane() % 4) + k % 2;
        for (unsigned t = 0; t < 4; ++t)
            for (unsigned at = 0; at < 64; at += 8) {
                const unsigned byte = 8 * (at / 8 % 4);
                const uint64_t of_a = (at < 32 ? low : high)[4 * row + t];
                const uint64_t of_b = b[4 * column + t];
                c[k] += (int8_t)(of_a >> (k < 2 ? byte : 32 + byte)) *
                        (int8_t)(of_b >> (at < 32 ? byte : 32 + byte));
            }
    }
}

}  // namespace host

#define HOST_KERNEL(name)                                                                      \
    extern "C" int name##__host(void** given, unsigned n, const unsigned* grid,                \
                                const unsigned* shape, unsigned dynamic, unsigned mode,        \
                                int together) {                                                \
        return host::start(name, given, n, grid, shape, dynamic, mode, together != 0);         \
    }
extern "C" const char* host_fault() { return host::fault; }

static inline void __syncthreads() { host::leave(host::AT_BLOCK); }
static inline int __syncthreads_count(int predicate) {
    host::current->predicate = predicate != 0;
    __syncthreads();
    int count = 0;
    for (unsigned k = 0; k < host::threads; ++k) count += host::block_now->fibers[k].predicate;
    __syncthreads();
    return count;
}
static inline void __syncwarp(unsigned mask = ~0u) { host::meet(mask); }
static inline void __nanosleep(unsigned) { host::leave(host::SLEEPING); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

template <class T> static T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    unsigned first = host::lane() & ~(unsigned)(width - 1);
    return host::exchange(mask, value, first | ((unsigned)source & (unsigned)(width - 1)));
}
template <class T> static T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
    unsigned here = host::lane(), there = here ^ (unsigned)with, low = ~(unsigned)(width - 1);
    return host::exchange(mask, value, (there & low) <= (here & low) ? there : here);
}
template <class T> static T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    unsigned here = host::lane(), there = here + by, low = ~(unsigned)(width - 1);
    return host::exchange(mask, value, (there & low) == (here & low) ? there : here);
}
template <class T> static T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    unsigned here = host::lane(), first = here & ~(unsigned)(width - 1);
    return host::exchange(mask, value, here >= first + by ? here - by : here);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    host::current->warp[host::lane()] = predicate != 0;
    host::meet(mask);
    unsigned bits = 0;
    for (unsigned k = 0; k < 32; ++k)
        if (mask >> k & 1) bits |= (unsigned)host::current->warp[k] << k;
    host::meet(mask);
    return bits;
}
static inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
static inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }

template <class T, class V> static T atomicAdd(T* at, V v) { T o = *at; *at = o + (T)v; return o; }
template <class T, class V> static T atomicSub(T* at, V v) { T o = *at; *at = o - (T)v; return o; }
template <class T, class V> static T atomicXor(T* at, V v) { T o = *at; *at = o ^ (T)v; return o; }
template <class T, class V> static T atomicOr(T* at, V v) { T o = *at; *at = o | (T)v; return o; }
template <class T, class V> static T atomicAnd(T* at, V v) { T o = *at; *at = o & (T)v; return o; }
template <class T, class V> static T atomicExch(T* at, V v) { T o = *at; *at = (T)v; return o; }
template <class T, class V> static T atomicMin(T* at, V v) {
    host::leave(host::READY);
    T o = *at;
    *at = (T)v < o ? (T)v : o;
    return o;
}
template <class T, class V> static T atomicMax(T* at, V v) {
    host::leave(host::READY);
    T o = *at;
    *at = (T)v > o ? (T)v : o;
    return o;
}
template <class T, class U, class V> static T atomicCAS(T* at, U expected, V v) {
    host::leave(host::READY);
    T o = *at;
    if (o == (T)expected) *at = (T)v;
    return o;
}

template <class T> static T __ldg(const T* at) { return *at; }
template <class T> static T __ldcg(const T* at) { return *at; }
template <class T> static void __stcg(T* at, T value) { *at = value; }
template <class T> static T min(T a, T b) { return b < a ? b : a; }
template <class T> static T max(T a, T b) { return a < b ? b : a; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((uint64_t)a * b >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    uint64_t both = (uint64_t)y << 32 | x;
    unsigned made = 0;
    for (unsigned k = 0; k < 4; ++k)
        made |= (unsigned)(both >> 8 * (selector >> 4 * k & 7) & 0xFF) << 8 * k;
    return made;
}
static inline int __dp4a(int a, int b, int c) {
    for (int k = 0; k < 32; k += 8) c += (int)(int8_t)(a >> k) * (int)(int8_t)(b >> k);
    return c;
}
static inline float __int_as_float(int x) { float f; memcpy(&f, &x, 4); return f; }
static inline int __float_as_int(float f) { int x; memcpy(&x, &f, 4); return x; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline int __double2int_rd(double x) {
    return x >= 2147483647.0 ? 2147483647 : x < -2147483648.0 ? -2147483647 - 1 : (int)floor(x);
}
static inline float __int2float_rn(int x) { return (float)x; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
