"""Words that are read by their characters too: a small recurrent network beside the word's vector."""

from __future__ import annotations

import numpy as np

from charlm.backends import Array, Shape
from charlm.nn.cells import Cell
from charlm.nn.directions import BothWays, LastSteps
from charlm.nn.embedding import Embedding
from charlm.nn.grads import Grads
from charlm.nn.layer import Layer, Stack, State, Views, views_of
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from charlm.text.batches.spellings import spellings_of

_CHARACTERS = "characters."


class SpelledEmbedding(Layer):
    """x<t> = [E[v]; a→<K>; a←<1>]: the vector of a word v, and the last states over its characters q<1>, ..., q<K>.

    a→<k> = cell(a→<k-1>, E'[q<k>]) and a←<k> = cell(a←<k+1>, E'[q<k>]) are two recurrent layers over the characters.
    Source: Lample et al. 2016.
    A word that is out of vocabulary has the vector of `<UNK>` or of its shape, and the characters that it is spelled
    with. A batch computes each of its words once; dL/da is then the sum over all places of the word.

    The input is `[T, 1 + K, B]`: the id of a word and then its characters, see `Codec.read_words`.

    words: the vectors of words
    characters: the number of characters; one more vector is that of an unknown one
    cells: of the two directions, with as many inputs as hidden units, which is the size of a character's vector
    rms: root mean square of the elements of x before training, roughly
    """

    def __init__(self, words: Embedding, characters: int, cells: tuple[Cell, Cell], *, rms: float) -> None:
        self.ops, self.words = words.ops, words
        one, other = cells
        both = BothWays(Recurrent(one), Recurrent(other))
        vectors = Embedding(self.ops, characters + 1, one.n_in, rms=words.rms)
        self.characters = Stack({"input": vectors, "layer0": both, "ends": LastSteps(both)})
        self.n_in, self.n_out, self.rms = words.n_in, words.n_out + both.n_out, rms

    def shapes(self) -> dict[str, Shape]:
        of_characters = {_CHARACTERS + name: shape for name, shape in self.characters.shapes().items()}
        return self.words.shapes() | of_characters

    def bind(self, values: Views, grads: Grads) -> None:
        self.words.bind(values, grads)
        self.characters.bind(views_of(values, _CHARACTERS), grads.of(_CHARACTERS))

    def initialise(self, rng: np.random.Generator) -> None:
        self.words.initialise(rng)
        self.characters.initialise(rng)

    def zero_state(self, batch: int) -> State:
        return ()

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        (T, _, batch), size = x.shape, self.words.n_out
        y = ws.steps("y", (T, self.n_out, batch))
        y[:, :size], _ = self.words.forward(np.ascontiguousarray(x[:, 0]), (), ws.scope("words"), noise=noise)
        words, own = spellings_of(x), ws.scope("characters")
        ends, _ = self.characters.forward(
            words.characters, self.characters.zero_state(words.characters.shape[1]), own, starts=words.starts
        )
        vectors = self._vectors("vectors", words.last, own)
        self.ops.move_columns(ends, (words.last, words.lane), out=vectors, to=_rows(words.last))
        self.ops.lookup(vectors[:, :, 0], words.which, out=y[:, size:])
        ws.keep("spellings", words)
        return y, ()

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        """Add the gradients of both parts: dL/da of a word's last states is the sum of dL/dx<t> over all its places."""
        size, words, own = self.words.n_out, ws.kept("spellings"), ws.scope("characters")
        self.words.backward(dy[:, :size], (), ws.scope("words"))
        d_vectors = self._vectors("d_vectors", words.last, own)
        d_vectors[...] = 0
        self.ops.lookup_grad(dy[:, size:], words.which, table_grad=d_vectors[:, :, 0])
        steps, lanes = words.characters.shape
        d_ends = own.steps("d_ends", (steps, self.characters.n_out, lanes))
        d_ends[...] = 0
        self.ops.move_columns(d_vectors, _rows(words.last), out=d_ends, to=(words.last, words.lane))
        self.characters.backward(d_ends, (), own)
        return dy, ()  # nothing below learns

    def _vectors(self, name: str, words: np.ndarray, ws: Workspace) -> Array:
        """Return a buffer for a vector of each word, `[W, n, 1]`; of one, if there is no word."""
        return ws.array(name, (max(1, words.size), self.characters.n_out, 1))


def _rows(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the vectors of words among the buffer's, as `Backend.move_columns` takes them."""
    return np.arange(words.size), np.zeros(words.size, np.int64)
