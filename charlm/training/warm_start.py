"""Starting a plain language model from the weights of another one."""

from __future__ import annotations

from charlm.errors import UsageError
from charlm.language_model import LanguageModel
from charlm.nn.transfer import transfer


def warm_start(target: LanguageModel, source: LanguageModel) -> int:
    """Overwrite the weights of `target` with those of `source`; return the number of tokens matched by name.

    Raises UsageError if the two differ in how they read text, or in more of the network than vocabulary, dropout and
    precision.
    """
    if source.text != target.text:
        old, new = source.text.to_dict(), target.text.to_dict()
        name = next(key for key in new if old[key] != new[key])
        raise UsageError(f"--init-from: its {name} is {old[name]}, not {new[name]}", hint="see charlm inspect")
    source_tokens, target_tokens = (lm.tokenizer.vocabulary.tokens for lm in (source, target))
    return transfer(source.model, source_tokens, target.model, target_tokens)
