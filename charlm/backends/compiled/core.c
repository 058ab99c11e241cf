/* The compiled core in float32; core64.c is the same in float64. */
#include "vectors.h"
#include "products.h"
#include "cells.h"
#include "scan.h"
#include "training.h"
#include "stream.h"
