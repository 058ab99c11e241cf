"""Starting a model from the weights of another one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from charlm.errors import UsageError
from charlm.language_model import LanguageModel
from charlm.nn.transfer import Names, transfer
from charlm.text.tokens.codec import BINARY, SPECIAL


@dataclass(frozen=True)
class Matched:
    """How many names of one kind were found in the model to start from: `count` of `total`."""

    kind: str
    count: int
    total: int


def warm_start(target: LanguageModel, source: LanguageModel) -> list[Matched]:
    """Overwrite the weights of `target` with those of `source`; return the names that were matched, by kind.

    Raises UsageError if the two differ in how they read text, or in more of the network than names, dropout and
    precision.
    """
    # How a text is cut into sequences, where its tokens stand and how tags are read does not change the tokens.
    free = ("token_column", "tag_column", "tag_scheme", *(() if source.task == target.task else ("unit",)))
    theirs = replace(source.text, **{name: getattr(target.text, name) for name in free})
    if theirs != target.text:
        old, new = theirs.to_dict(), target.text.to_dict()
        name = next(key for key in new if old[key] != new[key])
        if name == "piece_model":
            raise UsageError("--init-from: its pieces are others", hint="leave --pieces out: its own are taken over")
        raise UsageError(f"--init-from: its {name} is {old[name]}, not {new[name]}", hint="see charlm inspect")
    transfer(source.model, _names(source), target.model, _names(target))
    kinds = [("tokens", [one.tokenizer.vocabulary.tokens for one in (source, target)])]
    if target.codec.target is not None and source.codec.target is not None:
        kinds.append(("target tokens", [one.vocabulary.tokens for one in (source.codec.target, target.codec.target)]))
    if target.codec.characters is not None:
        kinds.append(("characters", [one.codec.characters or () for one in (source, target)]))
    kinds.append(("labels", [source.labels, target.labels]))
    return [
        Matched(kind, len(set(new) & set(old)), len(new))
        for kind, (old, new) in kinds
        if new and (old or kind != "labels" or source.task == target.task)
    ]


def _names(language_model: LanguageModel) -> Names:
    """Return what the rows of a model's weights are for. The names of labels cannot be those of tokens."""
    facts, codec = language_model.facts, language_model.codec
    tokens = list(codec.tokenizer.vocabulary.tokens)
    labels = [f"label\0{label}" for label in codec.labels]
    if facts.translates:
        assert codec.target is not None
        target = list(codec.target.vocabulary.tokens)
        return Names(target, target, tokens)
    if facts.inputs == "keys":
        tokens = tokens[SPECIAL:]
    if facts.needs_labels:
        # A head with one output, the probability of 1, has other weights than one with an output for each label.
        config = language_model.model.config
        is_binary = config.labels == 1 and not config.crf and codec.labels == BINARY
        return Names(tokens, ["sigmoid"] if is_binary else labels, characters=codec.characters or ())
    return Names([*tokens, *labels], tokens)
