"""The compiled core in C: products, time loops, softmax, Adam and sampling."""
