"""The network, forward and backward, in the notation of the notes.

The notes are the lecture notes "Recurrent neural networks" of a course, in the notation of Andrew Ng.

| letter | meaning |
|---|---|
| T, B | time steps, sequences side by side |
| V, D | tokens of the vocabulary, size of an embedding |
| I, H, G, K | inputs and hidden units of a cell, its gate blocks, its blocks of dL/dz |
| x<t>, a<t>, c<t> | input, output and memory at step t: `x[t]`, matrices `[rows, B]` with the batch as the last axis |
| a, c, x; a', c' | in the equations of one step: a<t-1>, c<t-1>, x<t>; a<t>, c<t> |
| W = [W_a, W_x, b] | the weights of all gates `[G·H, H+I+1]`: z = W [a<t-1>; x<t>; 1]; the notes' W_aa, W_ax, b_a |
| z, Gamma | pre-activation, gate value |
| d... | dL/d...; losses are in nats |

`Layer` says what a layer is, `Cell` what one time step is, `Head` what stands on top; `build` makes the network that a
configuration describes. State goes in and comes out, buffers lie in a `Workspace`, parameters in one flat vector.
"""
