"""The options of `charlm generate` for models of music: what they refuse, and the MIDI file."""

from __future__ import annotations

from pathlib import Path

from charlm.cli import signals

_MIDI_MARK = b"MThd"  # first bytes of a MIDI file: no other file is overwritten


def refuse_text_options(top_k: int | None, top_p: float | None, stop: list[str] | None, unk: bool, raw: bool) -> None:
    """Raise UsageError for an option that only models of text have."""
    from charlm.errors import UsageError

    flags = {
        "--top-k": top_k,
        "--top-p": top_p,
        "--stop": stop or None,
        "--allow-unk": unk or None,
        "--raw": raw or None,
    }
    for flag, given in flags.items():
        if given is not None:
            raise UsageError(f"{flag} with a --task music model", hint="leave it out: each key is drawn independently")


def check_midi(midi: Path, count: int) -> None:
    """Raise UsageError for several pieces, and for a file that must not be overwritten; ResourceError as writing does.

    count: number of pieces
    """
    from charlm.errors import UsageError
    from charlm.storage.files import check_writable

    if count > 1:
        raise UsageError("--midi with --num-samples", hint="leave one of them out: a MIDI file contains one piece")
    if midi.name in ("", "-", ".."):
        raise UsageError(f"--midi {midi} does not name a file", hint="name a new file, or a MIDI file to overwrite")
    with signals.undisturbed():
        check_writable(midi)
    if not _may_be_replaced(midi):
        raise UsageError(
            f"--midi: {midi} exists and is not a MIDI file", hint="name a new file, or a MIDI file to overwrite"
        )


def _may_be_replaced(path: Path) -> bool:
    """Return whether a file is missing, empty or a MIDI file; an unreadable file must not be replaced."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MIDI_MARK)) in (b"", _MIDI_MARK)
    except FileNotFoundError:
        return True
    except OSError:
        return False
