"""The compiled core: products, time loops, softmax, Adam and sampling in C, for processors with a library of it."""
