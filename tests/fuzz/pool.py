"""The folder that random command lines work in: models and texts, good and odd, put right again after each of them."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from charlm import checkpoint
from tests.cli.shell import run
from tests.fuzz import models
from tests.task_models import TEXTS, saved, task_model

DRAWN = range(100, 118)  # numbers of random models, two of each kind
LINES = {  # files that are read as text
    "corpus.txt": b"the cat sees it.\nthe dog\n\nit sees the cat, the dog.\nthe cat\nit\n" * 3,
    "abc.txt": b"abc\n\nca\nbbb\nabcabc\n",
    "gaps.txt": b"the ___ sees it.\n___\nthe ___ and ___\nno gap\na____b\n___ ___ ___ ___\n",
    "odd.txt": "a\rb\n\ufeffx\n<EOS> <UNK>\n\u2028\n👩\u200d🚀 🇩🇪 שלום\n\u0301\n".encode(),
    "tabs.txt": b"x\tabc\ty\n\t\nthe\tcat\n\\t\\n\\\n",
    "latin1.txt": "das Mädchen\nabc\n".encode("latin-1"),
    "bytes.txt": b"\xff\xfeabc\xc3\n\x80\x80\nabc\n",
    "zero.txt": b"abc\0abc\n\0\n",
    "crlf.txt": b"abc\r\nthe cat\r\n\r\n",
    "no_end.txt": b"abc\nthe cat",
    "mark.txt": b"\xef\xbb\xbfabc\nca\n",
    "only_mark.txt": b"\xef\xbb\xbf",
    "utf16.txt": "abc\n".encode("utf-16"),
    "empty.txt": b"",
    "blank.txt": b"\n\n \n\t\n",
    "long.txt": b"abc\n" + b"the cat sees it. " * 60 + b"\nabc\n",
    "packed.txt.gz": gzip.compress(b"abc\nthe cat\n", mtime=0),
    "cut.txt.gz": gzip.compress(b"abc\nthe cat\n" * 50, mtime=0)[:-9],
    "-d.txt": b"abc\n",
    "ä ö\n.txt": b"abc\n",
    "lists.tsv": b"u1\t-1\tabc\nu1\t-1.5\tthe cat\nu2\t0\t\nu 3\t-7e2\tit sees ||| it\n",
    "kaldi.txt": b"u1-1 abc\nu1-2 the cat\nu2-1\n",
    "costs.txt": b"u1-1 1\nu1-2 1.5\nu2-1 0\n",
    "moses.txt": b"0 ||| abc ||| lm: -1 ||| -1\n0 ||| the cat ||| lm: -2 ||| -2 ||| 0-0\n1 |||  |||  ||| 0\n",
    "refs.txt": b"u1\tthe cat\nu2\t\nx\tno list\n0\tabc\n",
    "abc.arpa": b"\\data\\\nngram 1=4\n\n\\1-grams:\n-0.3\t</s>\n-0.6\ta\n-0.9\tb\n-0.9\t<unk>\n\n\\end\\\n",
    **{f"{kind}.tsv": text.encode() for kind, text in TEXTS.items()},
}
ODD_TEXTS = ("-", "missing.txt", "folder", "", "lm.safetensors", "no/such/file", "x" * 300)  # nothing elsewhere
ODD_MODELS = ("missing", "corpus.txt", "folder", "", "damaged.safetensors", "cut.safetensors", "empty.txt", "old.ckpt")
LISTS = (*["lists.tsv"] * 8, "kaldi.txt", "moses.txt")  # n-best lists
LABELS = {"conditioned": ("x", "y", "zz"), "genre": ("jig", "waltz")}
NOT_FINITE = {  # models whose weights are finite, and whose outputs are not
    f"huge-{kind}.safetensors": kind for kind in ("lm", "cloze", "tag", "classify", "translate")
}
TINY = ("--hidden-size", 4, "--num-layers", 1, "--batch-size", 4, "--seq-length", 16, "--max-steps", 3, "--seed", 1)
MIDI = bytes.fromhex("4d546864000000060000000101e04d54726b0000000400ff2f00")


class Pool:
    """The folder; `kinds` has the kind of each good model by its file's name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kinds: dict[str, str] = {}
        for name, data in LINES.items():
            (folder / name).write_bytes(data)
        self._write_models()
        run(
            "train", "corpus.txt", "-o", "old", *TINY, cwd=folder, CHARLM_CACHE=str(folder.parent / "cache")
        ).succeeded()
        self.kinds["old.safetensors"] = "lm"
        (folder / "folder").mkdir()
        (folder / "folder" / "inside.txt").write_bytes(b"abc\n")
        (folder / "tune.mid").write_bytes(MIDI)
        (folder / "curve.svg").write_bytes(b"<svg/>\n")
        os.symlink("old.safetensors", folder / "link.safetensors")
        os.symlink("corpus.txt", folder / "link.txt")
        os.mkfifo(folder / "fifo.safetensors")
        os.mkfifo(folder / "fifo.mid")
        self._pristine = {path: self._contents(path) for path in self._paths()}
        self.before = self.state()

    def _write_models(self) -> None:
        saved(self.folder)
        self.kinds |= {f"{kind}.safetensors": kind for kind in TEXTS}
        for number in DRAWN:
            drawn = models.draw(number)
            checkpoint.save(self.folder / f"m{number}.safetensors", drawn.model)
            self.kinds[f"m{number}.safetensors"] = drawn.kind
        for name, kind in NOT_FINITE.items():
            huge = task_model(kind, cell="rnn", activation="relu", num_layers=1)
            for parameter_name, array in huge.model.parameters.named(huge.model.parameters.values).items():
                array[...] = 0.0
                if parameter_name.endswith("W"):
                    array[:, -1] = 1e200  # b, which is what the layer gives
                elif parameter_name == "head.W_y":
                    array[...] = 1e200
            checkpoint.save(self.folder / name, huge)
        whole = (self.folder / "lm.safetensors").read_bytes()
        (self.folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
        (self.folder / "damaged.safetensors").write_bytes(whole[:9] + b"\xff" + whole[10:])

    def _paths(self) -> list[Path]:
        return sorted(self.folder.rglob("*"))

    def _entries(self, folder: str = "") -> Iterator[tuple[str, os.stat_result]]:
        """Yield the name and the state of all that the folder holds; faster than with `Path`."""
        with os.scandir(self.folder / folder) as entries:
            for entry in entries:
                name = folder + entry.name
                yield name, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    yield from self._entries(f"{name}/")

    def _contents(self, path: Path) -> tuple[str, bytes]:
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            return "file", path.read_bytes()
        if stat.S_ISLNK(mode):
            return "link", os.fsencode(os.readlink(path))
        return ("folder" if stat.S_ISDIR(mode) else "fifo"), b""

    def state(self) -> dict[str, tuple[int, ...]]:
        """Return what changes when a file does: its kind, its length, when, and which one it is."""
        found = {}
        for name, s in self._entries():
            is_folder = stat.S_ISDIR(s.st_mode)
            found[name] = (s.st_mode,) if is_folder else (s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
        return found

    def changes(self) -> set[str]:
        """Return the names of the files that are new, gone, or others than at first."""
        now = self.state()
        return {name for name in {*now, *self.before} if now.get(name) != self.before.get(name)}

    def restore(self) -> None:
        """Make the folder what it was."""
        changed = self.changes()
        for name in sorted(changed, reverse=True):
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for path, (kind, data) in self._pristine.items():
            if str(path.relative_to(self.folder)) not in changed:
                continue
            if kind == "folder":
                path.mkdir()
            elif kind == "fifo":
                os.mkfifo(path)
            elif kind == "link":
                os.symlink(os.fsdecode(data), path)
            else:
                path.write_bytes(data)
        self.before = self.state()
