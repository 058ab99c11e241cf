/* The compiled core: every function of the library, in float32 and in float64. See vectors.h for the conventions. */
#include <stdint.h>

#ifndef VECTOR_BYTES
#error "VECTOR_BYTES is 64, 32 or 16: the width of a vector"
#endif

/* Return the width of a vector in bytes. */
int core_vector_bytes(void) { return VECTOR_BYTES; }
