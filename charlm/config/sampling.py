"""How text is generated."""

from __future__ import annotations

from dataclasses import dataclass

from charlm.config.record import Record, number, whole
from charlm.errors import UsageError


@dataclass(frozen=True)
class SampleConfig(Record):
    """How the next token is sampled, and where a text ends."""

    length: int = 200  # maximum of new tokens
    temperature: float = 1.0  # 0: always the likeliest token
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    allow_unk: bool = False
    raw: bool = False  # draw bytes that are not UTF-8, too

    def __post_init__(self) -> None:
        whole("--length", self.length, 0, 1 << 40)
        number("--temperature", self.temperature, 0.0, 1e300)
        if self.top_k is not None:
            whole("--top-k", self.top_k, 1, 1 << 40)
        if self.top_p is not None:
            number("--top-p", self.top_p, 0.0, 1.0)
        if any(text == "" for text in self.stop):
            raise UsageError("--stop is empty", hint="give the text at which to stop")
