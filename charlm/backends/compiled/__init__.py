"""The compiled core: products, time loops, softmax, Adam and sampling in C, for processors that have a library of it."""
