/* The compiled core with products in bfloat16, for processors with AVX512-BF16. */
#if VECTOR_BYTES == 64 && !defined(__clang__) /* which does not know the pragma */
#pragma GCC target("avx512bf16")
#define BFLOAT16
#include "core.c"
#endif
