"""A task that is added in one file: its record, the reader of its corpus, and their two entries in registries."""

from collections import Counter

import numpy as np
import pytest

import charlm as library
from charlm.errors import ModelFileError, UsageError
from charlm.inference.figures import figures
from charlm.task import TASKS, Task
from charlm.text.dataset import Sequences, offsets_of
from charlm.text.reader import CorpusReader
from charlm.text.tasks import READERS
from charlm.text.tokens.codec import Codec
from charlm.text.tokens.levels import splitter_of
from charlm.text.tokens.tokenizer import Tokenizer
from charlm.text.tokens.vocabulary import Vocabulary

# ---- the toy


class Echoes(CorpusReader):
    """Lines of words. The label of a word is "old" if the word before it is the same, else "new"."""

    def read(self, lines, known=None):
        return [(line.split(), _labels(line)) for line in lines]

    def codec(self, records, train, everything):
        counts = Counter(word for words, _ in records for word in words)
        return Codec(Tokenizer(splitter_of(self.text), Vocabulary.build(counts)), ("new", "old"))

    def encode(self, records, codec):
        ids = np.concatenate([codec.tokenizer.encode_tokens(words) for words, _ in records])
        labels = codec.label_ids(label for _, of_line in records for label in of_line)
        return Sequences(ids, labels, offsets_of(len(words) for words, _ in records))


ECHO = Task("echo", ("predict", "evaluate"), "tags", reader="echoes", levels=("word",), targets="labels")


def _labels(line):
    words = line.split()
    return ["old" if before == one else "new" for before, one in zip(["", *words], words, strict=False)]


# ---- what is asked of it


@pytest.fixture
def added(monkeypatch):
    monkeypatch.setitem(TASKS, "echo", ECHO)
    monkeypatch.setitem(READERS, "echoes", Echoes)


def lines(count, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(["to", "be"], rng.integers(3, 9))) for _ in range(count)]


def trained(**options):
    network = {"task": "echo", "cell": "rnn", "hidden_size": 8, "num_layers": 1}
    return library.train(lines(200, 1), **{**network, "max_steps": 60, "learning_rate": 0.03, **options})


def test_it_learns_is_saved_and_answers(added, charlm, tmp_path):
    path = tmp_path / "echo.safetensors"
    library.save(trained(), path)
    model = library.load(path)
    assert (model.task, model.text.level, model.labels, model.model.config.labels) == (
        "echo",
        "word",
        ("new", "old"),
        2,
    )
    unseen = lines(20, 2)
    for line, answer in zip(unseen, library.predict(model, unseen), strict=True):
        assert answer.prediction == _labels(line)
    assert figures(model, unseen)["accuracy"] == 1.0
    stdin = "".join(f"{line}\n" for line in unseen).encode()
    found = charlm("predict", path, stdin=stdin).succeeded().lines
    assert found == [" ".join(_labels(line)) for line in unseen]
    (record,) = charlm("evaluate", path, "--format", "jsonl", stdin=stdin).succeeded().records
    assert (record["accuracy"], record["tokens"]) == (1.0, sum(len(line.split()) for line in unseen))
    (record,) = charlm("inspect", path, "--format", "jsonl").succeeded().records
    assert (record["task"], record["commands"]) == ("echo", ["charlm predict", "charlm evaluate"])


def test_its_record_says_what_is_refused(added, charlm, tmp_path):
    for options, flag in (
        ({"level": "char"}, "--level char"),
        ({"unit": "stream"}, "--unit stream"),
        ({"condition": True}, "--condition"),
        ({"bidirectional": True}, "--bidirectional"),
        ({"tie_weights": True, "embedding_size": 8}, "--tie-weights"),
    ):
        with pytest.raises(UsageError, match=f"{flag}.*") as refusal:
            trained(**options)
        assert "--task echo" in refusal.value.message
    path = tmp_path / "echo.safetensors"
    library.save(trained(max_steps=1), path)
    for command in ("generate", "score", "fill"):
        charlm(command, path, stdin=b"ab\n").failed(2, "does not work with a --task echo model", "charlm predict")


def test_without_its_entry_its_models_are_of_a_newer_charlm(tmp_path):
    path = tmp_path / "echo.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "echo", ECHO)
        patch.setitem(READERS, "echoes", Echoes)
        library.save(trained(max_steps=1), path)
        assert library.load(path).task == "echo"
    with pytest.raises(ModelFileError, match="task 'echo' is newer"):
        library.load(path)
    with pytest.raises(UsageError, match="--task is 'echo'"):
        trained()
