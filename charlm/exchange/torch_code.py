"""The lines of Python with which PyTorch loads an exported model."""

from __future__ import annotations

from charlm.exchange.blocks import Form
from charlm.exchange.network import rows_of, stacks_of
from charlm.language_model import LanguageModel

_TOP = """import torch
from safetensors.torch import load_file

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding({rows}, {size}, padding_idx={nothing})
{layers}        self.output = torch.nn.Linear({top}, {choices})
"""
_STATE = """
    def forward(self, ids, state=None):  # ids [batch, time]; the first id of a line is {first}
        y, state = self.rnn(self.embedding(ids), state)
{dense}        return torch.log_softmax(self.output(y), -1), state
"""
_BOTH = """
    def forward(self, ids, lengths):  # ids [batch, time], lengths [batch]
        packed = torch.nn.utils.rnn.pack_padded_sequence
        y, state = self.rnn(packed(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False))
        {y}
{dense}        return torch.log_softmax(self.output(y), -1)
"""
_TOWERS = """
    def forward(self, ids, lengths):  # ids [batch, time], lengths [batch]; output at t: ln P(token t | all others)
        places = (lengths[:, None] - 1 - torch.arange(ids.shape[1])) % ids.shape[1]
        def turned(x):  # each row from its last place to its first
            return x.gather(1, places if x.ndim == 2 else places[..., None].expand(x.shape))
        def after_nothing(x):  # the zero vector, then all but the last
            return torch.nn.functional.pad(x, (1, -1), value={nothing})
        left, _ = self.left(self.embedding(after_nothing(ids)))
        right, _ = self.right(self.embedding(after_nothing(turned(ids))))
        y = torch.cat([left, turned(right)], -1)
{dense}        return torch.log_softmax(self.output(y), -1)
"""
_BOTTOM = """
model = Model()
model.load_state_dict(load_file({file!r}))
model.eval()
"""
_DENSE = "        for layer in self.dense:\n            y = torch.{activation}(layer(y))\n"


def loader(language_model: LanguageModel, form: Form, embedding: tuple[int, ...], file: str) -> str:
    """Return the lines; embedding: the shape of the embedding, file: the name of the exported model."""
    config = language_model.model.config
    rows, size = embedding
    options = [f"{size}, {config.hidden_size}, {config.num_layers}, batch_first=True"]
    options += [f"{key}={value!r}" for key, value in form.attributes.items() if value != "tanh"]
    both = config.facts.body != "towers" and config.bidirectional
    options += ["bidirectional=True"] * both
    layers = [f"self.{stack} = torch.nn.{form.operator}({', '.join(options)})" for stack in stacks_of(config)]
    top = config.hidden_size * (2 if config.bidirectional else 1)
    if config.dense:
        sizes = list(zip((top, *config.dense), config.dense, strict=False))
        linear = ", ".join(f"torch.nn.Linear({a}, {b})" for a, b in sizes)
        layers.append(f"self.dense = torch.nn.ModuleList([{linear}])")
    body, y = _STATE, ""
    if config.facts.body == "towers":
        body = _TOWERS
    elif config.facts.body == "last step":
        last = "state[0]" if form.operator == "LSTM" else "state"
        body, y = _BOTH, f"y = torch.cat(tuple({last}[-{1 + both}:]), -1)"
    elif both:
        body, y = _BOTH, "y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)"
    nothing = rows_of(config)
    text = _TOP.format(
        rows=rows,
        size=size,
        nothing=nothing,
        layers="".join(f"        {layer}\n" for layer in layers),
        top=config.top,
        choices=len(language_model.labels) if config.facts.needs_labels else config.vocabulary_size,
    )
    first = "0, <EOS>" if language_model.is_stream else "that of its label" if config.is_conditioned else nothing
    dense = _DENSE.format(activation=config.activation) if config.dense else ""
    text += body.format(nothing=nothing, first=first, y=y, dense=dense)
    text += _BOTTOM.format(file=file)
    return text if config.array_dtype == "float32" else text.replace("Model()\n", "Model().double()\n")
