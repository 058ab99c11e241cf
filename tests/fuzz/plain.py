"""What a whole network says of one sequence, from the equations: slowly, a step at a time, in float64.

Only `tests.naive` is used, and the arrays of the model by the names that they have in its file.
"""

from __future__ import annotations

import numpy as np

from tests import naive

NOTHING = -1


class Plain:
    """A network of the arrays `parameters`, read off its configuration."""

    def __init__(self, config, parameters):
        self.config = config
        self.p = {name: np.array(array, np.float64) for name, array in parameters.items()}
        if not config.embedding_size:
            self._unproject()
        self.kind = (config.cell, config.variant)

    def _unproject(self):
        """Put the W_x of many one-hot tokens, which lies in a table of its own, back into the first layer's W."""
        for table in [name for name in self.p if name.endswith("input.E")]:
            layer = table.removesuffix("input.E") + "layer0."
            names = [name for name in self.p if name.startswith(layer) and name.endswith("W")]
            for name, W_x in zip(names, np.split(self.p[table].T, len(names)), strict=True):
                W = self.p[name]
                self.p[name] = np.concatenate([W[:, :-1], W_x, W[:, -1:]], axis=1)

    # ---- what each task says

    def next_token(self, inputs, source=None):
        """Return ln P of every token at every step [T, V], after ids [T]; source: the ids that are translated."""
        return _log_softmax(self.next_logits(inputs, source))

    def next_logits(self, inputs, source=None):
        """Return the logits whose softmax that is."""
        states = None if source is None else self._encoded(source)
        y, _ = self._stack(self._inputs(inputs), "", states)
        return self._logits(self._dense(y))

    def cloze(self, ids):
        """Return ln P(token | all others) of every token at every place of a line."""
        return _log_softmax(self.cloze_logits(ids))

    def cloze_logits(self, ids):
        """Return the logits whose softmax that is."""
        before, after = [NOTHING, *ids[:-1]], [*ids[1:], NOTHING]
        left, _ = self._stack(self._inputs(before, "towers.from_left."), "towers.from_left.")
        right, _ = self._stack(self._inputs(after[::-1], "towers.from_right."), "towers.from_right.")
        return self._logits(self._dense(np.concatenate([left, right[::-1]], axis=1)))

    def tags(self, ids, spellings=()):
        """Return ln P of every tag at every place of a sentence; spellings: the ids of each word's characters."""
        x = self._inputs(ids)
        if self.config.char_features:
            x = np.concatenate([x, [self._ends(one) for one in spellings]], axis=1)
        y, _ = self._stack(x, "")
        z = self._logits(self._dense(y))
        if self.config.labels == 1:
            return np.concatenate([_log_sigmoid(-z), _log_sigmoid(z)], axis=1)
        return _log_softmax(z)

    def classes(self, ids):
        """Return ln P of every class, after the last token of a text."""
        y, _ = self._stack(self._inputs(ids), "")
        last = y[-1:].copy()
        if self.config.bidirectional:
            half = y.shape[1] // 2
            last[0, half:] = y[0, half:]
        return _log_softmax(self._logits(self._dense(last)))[0]

    def keys(self, x):
        """Return the logit of every key at every step [T, N], after rows of zeros and ones [T, inputs]."""
        y, _ = self._stack(x, "")
        return self._logits(self._dense(y))

    # ---- the parts

    def _inputs(self, ids, prefix=""):
        """Return x [T, inputs]: rows of the embedding, or of the identity."""
        name = "towers.from_left." if prefix == "towers.from_right." and self.config.embedding_size else prefix
        config = self.config
        if config.embedding_size:
            table = self.p[f"{name}input.E"]
        else:
            tokens = config.vocabulary_size + (config.labels if config.task == "lm" else 0)
            table = np.eye(config.target_size if config.target_size and prefix != "encoder." else tokens)
        return np.array([table[i] if i != NOTHING else np.zeros(table.shape[1]) for i in ids]).reshape(len(ids), -1)

    def _ends(self, characters):
        """Return the last states of both directions over the characters of a word."""
        x, name = self.p["input.characters.input.E"][characters], "input.characters.layer0."
        left, _ = self._layer(x, f"{name}from_left.", None, self.config.char_features)
        right, _ = self._layer(x[::-1], f"{name}from_right.", None, self.config.char_features)
        return np.concatenate([left[-1], right[-1]])

    def _stack(self, x, prefix, states=None):
        """Run the recurrent layers over x [T, n]; return y and the last state of each layer."""
        after = []
        for index in range(self.config.num_layers):
            name = f"{prefix}layer{index}."
            if self.config.bidirectional and not prefix.startswith("towers."):
                one, _ = self._layer(x, f"{name}from_left.", None)
                other, _ = self._layer(x[::-1], f"{name}from_right.", None)
                x = np.concatenate([one, other[::-1]], axis=1)
            else:
                x, last = self._layer(x, name, None if states is None else states[index])
                after.append(last)
        return x, after

    def _layer(self, x, name, state, hidden=None):
        arrays = {key: self.p[name + key] for key in ("W", "b_ca", "P") if name + key in self.p}
        hidden = hidden or self.config.hidden_size
        a = c = np.zeros(hidden)
        c = c if self.config.cell.startswith("lstm") else None
        if state is not None:
            a, c = state
        y = np.empty((len(x), hidden))
        for t in range(len(x)):
            a, c = naive.step(*self.kind, arrays, a, c, x[t])
            y[t] = a
        return y, (a, c)

    def _encoded(self, source):
        _, states = self._stack(self._inputs(source[::-1], "encoder."), "encoder.")
        return states

    def _dense(self, y):
        for index in range(len(self.config.dense)):
            z = y @ self.p[f"dense{index}.W"].T + self.p[f"dense{index}.b"][:, 0]
            y = np.tanh(z) if self.config.activation == "tanh" else np.maximum(z, 0.0)
        return y

    def _logits(self, y):
        b_y = self.p["head.b_y"][:, 0]
        if self.config.tie_weights:
            E = self.p["towers.from_left.input.E" if self.config.task == "cloze" else "input.E"]
            if self.config.softmax == "adaptive":
                return self._tied_clusters(y, E)
            W_y = E[: len(b_y)]
        else:
            W_y = self.p["head.W_y"]
        logits = y @ W_y.T + b_y
        return logits if self.config.softmax == "full" else self._adaptive(y, logits)

    def _tied_clusters(self, y, E):
        """Return ln P of all tokens, where each cluster's weights are rows of the embedding."""
        of_clusters = _log_softmax(y @ self.p["head.W_y"].T + self.p["head.b_y"][:, 0])
        parts, first = [], 0
        for number in range(len(self.config.cutoffs) + 1):
            b_y = self.p[f"head.cluster{number + 1}.b_y"][:, 0]
            within = _log_softmax(y @ E[first : first + len(b_y)].T + b_y)
            parts.append(of_clusters[:, number : number + 1] + within)
            first += len(b_y)
        return np.concatenate(parts, axis=1)

    def _adaptive(self, y, logits):
        """Return ln P of all tokens, from the logits of the shortlist and the clusters."""
        first, log_probs = self.config.cutoffs[0], _log_softmax(logits)
        parts = [log_probs[:, :first]]
        for number in range(len(self.config.cutoffs)):
            P, W_y, b_y = (self.p[f"head.cluster{number + 1}.{name}"] for name in ("P", "W_y", "b_y"))
            within = _log_softmax(y @ P.T @ W_y.T + b_y[:, 0])
            parts.append(log_probs[:, first + number : first + number + 1] + within)
        return np.concatenate(parts, axis=1)


def _log_softmax(z):
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _log_sigmoid(z):
    return -np.logaddexp(0.0, -z)
