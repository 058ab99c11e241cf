/* The compiled core in float64. */
#define FLOAT64
#include "core.c"
