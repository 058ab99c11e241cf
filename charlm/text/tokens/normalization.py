"""Unicode normalisation forms, in time and memory linear in the text."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Normalization = Literal["nfc", "nfkc", "none"]

_FORMS: dict[Normalization, tuple[Literal["NFC", "NFKC"], Literal["NFD", "NFKD"]]] = {
    "nfc": ("NFC", "NFD"),
    "nfkc": ("NFKC", "NFKD"),
}
_LONG = 1000  # characters
# Characters, those of most text, whose decomposition has a starter: no mark is sorted across one.
_STARTERS = r"\0-\u02ff\u0370-\u0482\u048a-\u0590\u0621-\u064a\u0904-\u0939"
_STARTERS += r"\u3040-\u3098\u309b-\u9fff\uac00-\ud7a3\U0001f000-\U0001faff\U00020000-\U0003ffff"
# `re` compiles these patterns when they are first used: compiling takes milliseconds of every start.
_OTHER = f"[^{_STARTERS}]"
_LONG_RUN = f"[^{_STARTERS}]{{{_LONG},}}+"


def normalized(text: str, form: Normalization) -> str:
    """Return the text in the Unicode normalisation form "nfc" or "nfkc"; "none" returns it unchanged.

    Canonically equivalent texts become equal. Lone surrogates stay as they are. Source: Unicode Standard Annex 15.
    """
    if form == "none" or text.isascii():
        return text
    # `unicodedata` sorts a run of combining marks by insertion, in time quadratic in its length.
    if len(text) > _LONG and re.search(_OTHER, text[:: _LONG // 2]):
        text = re.sub(_LONG_RUN, lambda run: _decomposed(run[0], form), text)
    return unicodedata.normalize(_FORMS[form][0], text)


def _decomposed(run: str, form: Normalization) -> str:
    """Return an equivalent text: decomposed, with its long runs of marks in canonical order."""
    text = run.translate({ord(one): unicodedata.normalize(_FORMS[form][1], one) for one in set(run)})
    classes = {one: unicodedata.combining(one) for one in set(text)}
    marks = "".join(re.escape(one) for one, number in classes.items() if number)
    if not marks:
        return text
    # The table of each class deletes the marks of all other classes.
    others = [
        {ord(one): None for one, other in classes.items() if other != number}
        for number in sorted(set(classes.values()) - {0})
    ]
    long_run = re.compile(f"[{marks}]{{{_LONG},}}+")
    return long_run.sub(lambda found: "".join(map(found[0].translate, others)), text)
