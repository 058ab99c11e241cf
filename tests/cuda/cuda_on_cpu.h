// What CUDA C++ needs beside C++, so that g++ compiles the kernels and they run on the processor.
// A thread of a kernel that synchronises is a fiber: each runs up to the next __syncthreads, then the next one does.
// Otherwise threads are the turns of a loop. Blocks follow each other, so that static variables serve as __shared__.
#pragma once
#include <math.h>
#include <ucontext.h>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>
#define __CUDA_ON_CPU__ 1
#define __host__
#define __device__
#define __global__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __shared__ static
using std::max;
using std::min;
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
struct Index3 { unsigned x, y, z; };
static Index3 threadIdx{0, 0, 0}, blockIdx{0, 0, 0}, blockDim{1, 1, 1}, gridDim{1, 1, 1};

namespace on_cpu {
static ucontext_t outside;
static std::vector<ucontext_t> fibers;
static std::vector<char> done, stacks;
static int current;
static void (*kernel)(void**);
static void** arguments;
static void start() { kernel(arguments); done[current] = 1; swapcontext(&fibers[current], &outside); }
static void yield() { swapcontext(&fibers[current], &outside); }
static void place(int thread) { threadIdx = {unsigned(thread) % blockDim.x, unsigned(thread) / blockDim.x, 0}; }

static void launch(const unsigned* grid, const unsigned* block, bool synchronises, bool reversed, void (*f)(void**), void** a) {
  gridDim = {grid[0], grid[1], 1}; blockDim = {block[0], block[1], 1}; kernel = f; arguments = a;
  const int threads = block[0] * block[1]; const size_t stack = 1 << 15;
  for (unsigned y = 0; y < grid[1]; y++) for (unsigned x = 0; x < grid[0]; x++) {
    blockIdx = {x, y, 0};
    if (!synchronises) { for (int i = 0; i < threads; i++) { place(reversed ? threads - 1 - i : i); f(a); } continue; }
    fibers.assign(threads, {}); done.assign(threads, 0); stacks.resize(stack * threads);
    for (int i = 0; i < threads; i++) {
      getcontext(&fibers[i]);
      fibers[i].uc_stack.ss_sp = &stacks[stack * i]; fibers[i].uc_stack.ss_size = stack; fibers[i].uc_link = &outside;
      makecontext(&fibers[i], start, 0);
    }
    for (int left = threads; left > 0;) {
      left = 0;
      for (int q = 0; q < threads; q++) {
        const int i = reversed ? threads - 1 - q : q;
        if (done[i]) continue;
        current = i; place(i); swapcontext(&outside, &fibers[i]); left += !done[i];
      }
    }
  }
}
}  // namespace on_cpu
static inline void __syncthreads() { on_cpu::yield(); }
