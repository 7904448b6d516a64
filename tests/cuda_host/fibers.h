// CUDA threads as fibers on a CPU thread. A fiber runs up to the next barrier, then the next fiber of its warp; a warp
// runs up to the next barrier of the block, then the next warp; blocks run one after another. A barrier that cannot be
// passed, a barrier reached at different lines, undefined behaviour and writes beyond shared memory end the launch with
// a message.
#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

static dim3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

// Filled by the linker with every static __shared__ variable.
extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_cuda_shared[], __stop_cuda_shared[];

namespace cuda_host {

constexpr size_t STACK = 256 << 10;
constexpr size_t GUARD = 4096;  // bytes watched on both sides of dynamic shared memory
constexpr int POISON = 0xff;    // makes floating-point numbers NaN
constexpr int MAX_THREADS = 1024;

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Fiber {
    ucontext_t context;
    jmp_buf resume;
    State state;
    bool started, vote, parity;
    int line;
    dim3 index;
};

static Fiber fibers[MAX_THREADS];
static Fiber* self;
static int threads;
static jmp_buf scheduler;
static char message[512];
static int votes, voters;                                // of the last block barrier
static uint64_t slots[MAX_THREADS / 32][2][32];          // values that the lanes of a warp exchange
static std::vector<unsigned char> arena;                 // dynamic shared memory between its guards
static unsigned char* shared_start;
static size_t shared_bytes;
static void (*body)(void**);
static void** body_args;

[[noreturn]] static void fail(const char* format, ...) {
    if (!message[0]) {
        va_list list;
        va_start(list, format);
        int used = snprintf(message, sizeof message, "block (%u, %u, %u), thread (%u, %u, %u): ", blockIdx.x,
                            blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
        vsnprintf(message + used, sizeof message - used, format, list);
        va_end(list);
    }
    _longjmp(scheduler, 1);
}

static unsigned char* dynamic_shared() { return shared_start; }

__attribute__((noinline)) static void wait(State state, int line) {
    self->state = state;
    self->line = line;
    if (_setjmp(self->resume) == 0) _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void barrier(bool vote, int line) {
    self->vote = vote;
    wait(AT_BLOCK_BARRIER, line);
}

static int barrier_count(bool vote, int line) {
    barrier(vote, line);
    return votes;
}

static int rank_of(const Fiber* fiber) { return int(fiber - fibers); }
static int lane() { return rank_of(self) % 32; }

// Hands the lanes of a warp each other's values. Two sets of slots take turns, so that a lane that is ahead by one
// exchange does not overwrite what others still have to read.
__attribute__((noinline)) static const uint64_t* exchange(unsigned mask, uint64_t value, int line) {
    int warp = rank_of(self) / 32;
    for (int i = 0; i < 32; ++i) {
        int thread = warp * 32 + i;
        bool lives = thread < threads && fibers[thread].state != DONE;
        if (lives && !(mask >> i & 1)) fail("line %d: lane %d runs but is not in the mask 0x%08x", line, i, mask);
        if (!lives) memset(&slots[warp][!self->parity][i], POISON, sizeof(uint64_t));
    }
    bool parity = self->parity = !self->parity;
    slots[warp][parity][lane()] = value;
    wait(AT_WARP_BARRIER, line);
    return slots[warp][parity];
}

static void enter() {
    body(body_args);
    self->state = DONE;
    _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void resume(Fiber* fiber) {
    self = fiber;
    threadIdx = fiber->index;
    if (_setjmp(scheduler)) return;
    if (fiber->started) _longjmp(fiber->resume, 1);
    fiber->started = true;
    setcontext(&fiber->context);
}

// Lets the fibers of [first, last) pass if all that live wait at one barrier; false if they do not.
static bool release(int first, int last, State state) {
    int line = 0, waiting = 0, live = 0, yes = 0;
    for (int i = first; i < last; ++i) {
        const Fiber& fiber = fibers[i];
        if (fiber.state == DONE) continue;
        ++live;
        if (fiber.state != state) continue;
        if (!waiting++) line = fiber.line;
        yes += fiber.vote;
        if (fiber.line != line) {
            snprintf(message, sizeof message,
                     "block (%u, %u, %u): threads wait at different barriers, lines %d and %d", blockIdx.x, blockIdx.y,
                     blockIdx.z, line, fiber.line);
            return false;
        }
    }
    if (!live || waiting < live) return false;
    if (state == AT_BLOCK_BARRIER) votes = yes, voters = live;
    for (int i = first; i < last; ++i)
        if (fibers[i].state == state) fibers[i].state = READY;
    return true;
}

static void report_deadlock() {
    int at_block = 0, at_warp = 0, done = 0, line = 0;
    for (int i = 0; i < threads; ++i) {
        const Fiber& fiber = fibers[i];
        at_block += fiber.state == AT_BLOCK_BARRIER;
        at_warp += fiber.state == AT_WARP_BARRIER;
        done += fiber.state == DONE;
        if (fiber.state != DONE) line = fiber.line;
    }
    snprintf(message, sizeof message,
             "block (%u, %u, %u): deadlock: %d threads wait at __syncthreads, %d at a barrier of their warp, %d have "
             "returned; one of them waits in line %d",
             blockIdx.x, blockIdx.y, blockIdx.z, at_block, at_warp, done, line);
}

static void check_guards(const unsigned char* stacks) {
    for (int i = 0; i < threads; ++i)
        if (*reinterpret_cast<const uint64_t*>(stacks + size_t(i) * STACK))
            snprintf(message, sizeof message, "block (%u, %u, %u), thread %d: its stack of %zu bytes overflowed",
                     blockIdx.x, blockIdx.y, blockIdx.z, i, STACK);
    for (size_t i = 0; i < GUARD && !message[0]; ++i)
        if (shared_start[-1 - ptrdiff_t(i)] != POISON || shared_start[shared_bytes + i] != POISON)
            snprintf(message, sizeof message,
                     "block (%u, %u, %u): wrote outside its %zu bytes of dynamic shared memory", blockIdx.x,
                     blockIdx.y, blockIdx.z, shared_bytes);
}

// Runs the threads of a warp as far as they get without the other warps.
static void run_warp(int first, bool backwards) {
    const int last = first + 32 < threads ? first + 32 : threads;
    do {
        for (int i = first; i < last; ++i) {
            Fiber& fiber = fibers[backwards ? first + last - 1 - i : i];
            if (fiber.state == READY) resume(&fiber);
            if (message[0]) return;
        }
    } while (release(first, last, AT_WARP_BARRIER));
}

static void run_block(unsigned char* stacks, bool backwards) {
    memset(arena.data(), POISON, arena.size());
    if (__start_cuda_shared) memset(__start_cuda_shared, POISON, size_t(__stop_cuda_shared - __start_cuda_shared));
    memset(slots, POISON, sizeof slots);
    for (int i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        fiber.state = READY;
        fiber.started = fiber.parity = fiber.vote = false;
        unsigned rest = unsigned(i) / blockDim.x;
        fiber.index = {unsigned(i) % blockDim.x, rest % blockDim.y, rest / blockDim.y};
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = stacks + size_t(i) * STACK;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
        *reinterpret_cast<uint64_t*>(fiber.context.uc_stack.ss_sp) = 0;
    }
    const int warps = (threads + 31) / 32;
    for (int live = threads; live;) {
        for (int i = 0; i < warps && !message[0]; ++i) run_warp(32 * (backwards ? warps - 1 - i : i), backwards);
        live = 0;
        for (int i = 0; i < threads; ++i) live += fibers[i].state != DONE;
        if (live && !message[0] && !release(0, threads, AT_BLOCK_BARRIER) && !message[0]) report_deadlock();
        if (message[0]) return;
    }
    check_guards(stacks);
}

// Runs all blocks; returns what went wrong, or the empty string.
static const char* run(void (*kernel)(void**), void** args, const unsigned* grid, const unsigned* block, size_t shared,
                       bool backwards) {
    message[0] = 0;
    body = kernel;
    body_args = args;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    threads = int(block[0] * block[1] * block[2]);
    shared_bytes = shared;
    arena.resize(shared + 2 * GUARD + 256);
    shared_start = reinterpret_cast<unsigned char*>((uintptr_t(arena.data()) + GUARD + 255) / 256 * 256);
    size_t bytes = size_t(threads) * STACK;
    void* stacks = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) return "no memory for the stacks of the threads";
    for (unsigned z = 0; z < grid[2] && !message[0]; ++z)
        for (unsigned y = 0; y < grid[1] && !message[0]; ++y)
            for (unsigned x = 0; x < grid[0] && !message[0]; ++x) {
                blockIdx = {x, y, z};
                run_block(static_cast<unsigned char*>(stacks), backwards);
            }
    munmap(stacks, bytes);
    return message;
}

// What -fsanitize=undefined calls. Defining it here keeps libubsan out of the process, which would end it.
struct Location {
    const char* file;
    uint32_t line, column;
};
#define CUDA_HOST_UNDEFINED(what)                                                            \
    extern "C" void cuda_host_##what(Location* at) __asm__("__ubsan_handle_" #what);         \
    extern "C" __attribute__((used, visibility("hidden"))) void cuda_host_##what(Location* at) { \
        fail("undefined behaviour (" #what ") at %s:%u", at->file, at->line);                \
    }
CUDA_HOST_UNDEFINED(type_mismatch_v1)
CUDA_HOST_UNDEFINED(add_overflow)
CUDA_HOST_UNDEFINED(sub_overflow)
CUDA_HOST_UNDEFINED(mul_overflow)
CUDA_HOST_UNDEFINED(negate_overflow)
CUDA_HOST_UNDEFINED(divrem_overflow)
CUDA_HOST_UNDEFINED(shift_out_of_bounds)
CUDA_HOST_UNDEFINED(out_of_bounds)
CUDA_HOST_UNDEFINED(load_invalid_value)
CUDA_HOST_UNDEFINED(float_cast_overflow)
CUDA_HOST_UNDEFINED(pointer_overflow)
CUDA_HOST_UNDEFINED(nonnull_arg)
CUDA_HOST_UNDEFINED(builtin_unreachable)
CUDA_HOST_UNDEFINED(missing_return)
CUDA_HOST_UNDEFINED(vla_bound_not_positive)
CUDA_HOST_UNDEFINED(invalid_builtin)

}  // namespace cuda_host
