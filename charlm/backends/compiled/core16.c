/* Products of bfloat16 numbers, for processors with AVX512-BF16. */
#if VECTOR_BYTES == 64 && !defined(__clang__) /* which does not know the pragma */
#pragma GCC target("avx512bf16")
#define BFLOAT16
#include "vectors.h"
#include "products.h"
#endif
