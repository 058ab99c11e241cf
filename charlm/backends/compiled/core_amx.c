/* Products of bfloat16 numbers, for processors with AMX-BF16. */
#if VECTOR_BYTES == 64 && defined(__linux__) && !defined(__clang__) && __GNUC__ >= 11
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#pragma GCC target("amx-tile,amx-bf16")
#define BFLOAT16
#define TILES
#include "vectors.h"
#include "products.h"

/* Ask the kernel for the memory that it keeps a thread's tiles in; return whether this process has it. */
int EXPORT(core_permitted)(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}
#endif
