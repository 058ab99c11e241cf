"""The figures of each task on a whole corpus: accuracy, F1, BLEU, chrF, perplexity."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from charlm.errors import CorpusError
from charlm.inference.adaptation import Adapter, evaluate_in_order
from charlm.inference.entities import Entities, precision_recall_f1
from charlm.inference.evaluation import CONTEXT, Evaluation, evaluate
from charlm.inference.mixtures import Mixture, evaluate_mixture
from charlm.inference.prediction import Translator, classify
from charlm.inference.prediction.tagging import tag_tokens
from charlm.language_model import LanguageModel
from charlm.text.dataset import offsets_of
from charlm.text.iob import are_entities
from charlm.text.tokens.codec import BINARY
from charlm.text.tokens.tokenizer import Tokenizer

_STEPS = 64
_LENGTH_STEP = 2  # lengths of a source, in tokens, that share one row of BLEU
BLEU_TOKENIZERS = {"char": "char", "word": "13a"}  # sacrebleu's, by the level of the target

Figures = dict[str, Any]


def figures(
    language_model: LanguageModel,
    lines: Iterable[str],
    *,
    batch_size: int = 64,
    beam: int = 1,
    warn: Callable[[str], None] | None = None,
    watch: Callable[[int], None] | None = None,
    adapter: Adapter | None = None,
    mixture: Mixture | None = None,
) -> Figures:
    """Return the figures of a corpus, by name.

    beam: width of the beam of a translation
    warn: called with a message for each doubt about the pairs of a translation
    watch: called with the number of targets of each batch whose loss was computed
    adapter: of this model, if it is to adapt to a text
    mixture: of this model with others, which predicts a text in its place; its first member may adapt itself
    Raises CorpusError if the corpus is empty, in the form of another task, or has an unknown label.
    """
    if language_model.facts.answers == "text":
        return evaluate_text(
            language_model, lines, batch_size=batch_size, watch=watch, adapter=adapter, mixture=mixture
        )
    reader = language_model.reader
    records = reader.read(lines, set(language_model.labels) or None)
    if not records:
        raise CorpusError("nothing to evaluate: the corpus is empty", hint="name a file with at least one record")
    if warn is not None and language_model.facts.translates:
        for doubt in reader.doubts(records):
            warn(doubt)
    dataset = reader.encode(records, language_model.codec)
    batches = dataset.batches(*dataset.fit(batch_size, _STEPS))
    loss = evaluate(language_model.model, batches, language_model.model.workspace(), watch=watch)
    return FIGURES[language_model.facts.answers](language_model, records, loss, batch_size, beam)


def evaluate_text(
    language_model: LanguageModel,
    lines: Iterable[str],
    *,
    batch_size: int = 64,
    watch: Callable[[int], None] | None = None,
    adapter: Adapter | None = None,
    mixture: Mixture | None = None,
) -> dict[str, float]:
    """Return the figures of a text: tokens, OOVs, nats a token, perplexities, accuracy, bits a character, speed.

    Characters and bytes are those of the text; the end of a line counts as one if it is predicted. Accuracy is the
    share of tokens, except `<EOS>`, that are the likeliest choice. A cloze model computes pseudo-probabilities, so the
    names of its figures begin with `pseudo_`.

    watch: called with the number of targets of each batch
    adapter: of this model, if it is to adapt: the lines are then read one after the other, as `score` reads them
    mixture: of this model with others, which predicts the text in its place; its accuracy is NaN
    Raises CorpusError for a text without lines, or with a label that a conditioned model does not know.
    """
    records = language_model.reader.read(lines, set(language_model.labels) or None)
    text = [record[1] for record in records] if language_model.is_conditioned else records
    if not text:
        raise CorpusError("nothing to evaluate: the text is empty", hint="name a file with at least one line")
    dataset = language_model.reader.encode(records, language_model.codec)
    if not dataset.size:
        raise CorpusError("nothing to evaluate: no line has a token", hint="name a file with at least one word")
    lanes, steps = dataset.fit(batch_size, _STEPS)
    model = language_model.model
    begin = time.perf_counter()
    in_order = map("\t".join, records) if language_model.is_conditioned else text
    if mixture is not None:
        figures = evaluate_mixture(mixture, in_order, watch=watch)
    elif adapter is not None:
        figures = evaluate_in_order(adapter, in_order, watch=watch)
    else:
        batches = dataset.batches(lanes, steps, context=CONTEXT)
        figures = evaluate(model, batches, model.workspace(), count_right=True, watch=watch)
    seconds = time.perf_counter() - begin
    bits, ends = figures.nats / math.log(2.0), not language_model.facts.is_cloze
    pseudo = "" if ends else "pseudo_"
    characters = sum(len(line) + ends for line in text)
    size = sum(len(line.encode("utf-8", "surrogateescape")) + ends for line in text)
    return {
        "tokens": figures.tokens,
        "oov": figures.oov,
        f"{pseudo}nats_per_token": figures.nats_per_token,
        f"{pseudo}perplexity": figures.perplexity,
        f"{pseudo}perplexity_without_oov": figures.perplexity_without_oov,
        "accuracy": figures.right / figures.words if figures.words else math.nan,
        f"{pseudo}bits_per_char": bits / max(1, characters),
        f"{pseudo}bits_per_byte": bits / max(1, size),
        "tokens_per_second": round(figures.tokens / seconds, 1),
    }


def _of_tags(language_model: LanguageModel, records: Any, loss: Evaluation, batch_size: int, _: int) -> Figures:
    found = tag_tokens(language_model, [tokens for tokens, _ in records], batch_size=batch_size)
    predicted = [tag for tags, _ in found for tag in tags]
    truth = [tag for _, tags in records for tag in tags]
    counts = {"sentences": len(records), "tokens": len(truth), "nats_per_token": loss.nats_per_token}
    if language_model.labels == BINARY:
        return {**counts, "accuracy": accuracy(predicted, truth), **scores_of(BINARY[1], predicted, truth)}
    figures = {**counts, "accuracy": accuracy(predicted, truth), "macro_f1": macro_f1(predicted, truth)}
    if are_entities(language_model.labels):
        figures |= _of_entities(language_model, predicted, truth, [len(tokens) for tokens, _ in records])
    return figures


def _of_entities(
    language_model: LanguageModel, predicted: Sequence[str], truth: Sequence[str], lengths: Sequence[int]
) -> Figures:
    """Return precision, recall and F1 of entities, of all and by type; lengths: the tokens of each sentence."""
    entities, codec = Entities(language_model.labels), language_model.codec
    first = np.zeros(len(truth), bool)
    first[offsets_of(lengths)[:-1]] = True
    entities.add(codec.label_ids(predicted), codec.label_ids(truth), first)
    by_type = [
        {"type": name, "entities": true, **precision_recall_f1(right, found, true)}
        for name, (right, found, true) in zip(entities.types, entities.counts.tolist(), strict=True)
    ]
    return {**precision_recall_f1(*entities.counts.sum(axis=0).tolist()), "by_type": by_type}


def _of_classes(language_model: LanguageModel, records: Any, loss: Evaluation, batch_size: int, _: int) -> Figures:
    truth = [label for label, _ in records]
    found = classify(language_model, [text for _, text in records], batch_size=batch_size)
    predicted = [one.prediction for one in found]
    return {
        "texts": len(records),
        "nats_per_text": loss.nats_per_token,
        "accuracy": accuracy(predicted, truth),
        "macro_f1": macro_f1(predicted, truth),
    }


def _of_translations(
    language_model: LanguageModel, records: Any, loss: Evaluation, batch_size: int, beam: int
) -> Figures:
    sources, written = (list(side) for side in zip(*records, strict=True))
    found = Translator(language_model, beam=beam, batch_size=batch_size).predict(sources)
    translations = [one.prediction for one in found]
    target = language_model.codec.target
    assert target is not None
    references, as_compared = as_the_model_writes(target, written)
    tokenizer = BLEU_TOKENIZERS[target.level]
    return {
        "sentences": len(records),
        "tokens": loss.tokens,
        "nats_per_token": loss.nats_per_token,
        "perplexity": loss.perplexity,
        **bleu_and_chrf(translations, references, tokenizer),
        "bleu_tokenizer": tokenizer,
        "references": as_compared,
        "beam": beam,
        "by_source_length": _by_length(language_model, sources, translations, references, tokenizer),
    }


def _of_music(_: LanguageModel, records: Any, loss: Evaluation, _batch_size: int, _beam: int) -> Figures:
    return {"pieces": len(records), "steps": loss.tokens, "nats_per_step": loss.nats_per_token}


# By what a model answers, `Task.answers`.
FIGURES: dict[str, Callable[..., Figures]] = {
    "tags": _of_tags,
    "classes": _of_classes,
    "translations": _of_translations,
    "pieces": _of_music,
}


def accuracy(predicted: Sequence[str], truth: Sequence[str]) -> float:
    """Return the share of right predictions."""
    return sum(one == other for one, other in zip(predicted, truth, strict=True)) / max(1, len(truth))


def scores_of(label: str, predicted: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """Return precision, recall and F1 of one label; 0 for an empty denominator."""
    both = sum(one == other == label for one, other in zip(predicted, truth, strict=True))
    return precision_recall_f1(both, predicted.count(label), truth.count(label))


def macro_f1(predicted: Sequence[str], truth: Sequence[str]) -> float:
    """Return the mean F1 of all labels that are in the truth or are predicted, as scikit-learn defines it.

    A label that is only predicted has an F1 of 0 and counts.
    """
    labels = sorted({*truth, *predicted})
    return sum(scores_of(label, predicted, truth)["f1"] for label in labels) / max(1, len(labels))


def as_the_model_writes(target: Tokenizer, references: Sequence[str]) -> tuple[list[str], str]:
    """Return the references in the letters of the model, and how they differ from the original.

    A model trained on lower-cased text cannot print a capital, nor one trained on normalised text another Unicode form.
    Spaces are compared as they were written.
    """
    compared = [target.splitter.spelled(one) for one in references]
    cased = [one.lower() for one in references] if target.splitter.lowercase else list(references)
    changes = {
        "lower-cased": cased != list(references),
        "normalized": compared != cased,
    }
    return compared, " and ".join(name for name, has_changed in changes.items() if has_changed) or "as written"


def bleu_and_chrf(
    translations: Sequence[str], references: Sequence[str], tokenizer: str = "13a"
) -> dict[str, float | None]:
    """Return BLEU (Papineni et al. 2002) and chrF2 (Popovic 2015), from 0 to 100, as sacrebleu computes them.

    BLEU is the geometric mean of the precisions of 1-grams to 4-grams. It is None if no reference has four tokens. chrF
    is None if no reference has a character besides white space.

    tokenizer: sacrebleu's name of the tokenizer whose n-grams BLEU counts
    """
    from sacrebleu import BLEU, corpus_chrf

    # Without `force`, sacrebleu logs a warning to standard error about text that ends in " .".
    metric = BLEU(tokenize=tokenizer, force=True)
    has_4_grams = any(len(metric.tokenizer(one.rstrip()).split()) >= metric.max_ngram_order for one in references)
    return {
        "bleu": float(metric.corpus_score(translations, [references]).score) if has_4_grams else None,
        "chrf": float(corpus_chrf(translations, [references]).score) if any(map(str.strip, references)) else None,
    }


def _by_length(
    language_model: LanguageModel, sources: list[str], translations: list[str], references: list[str], tokenizer: str
) -> list[Figures]:
    """Return BLEU by the number of tokens of the source, as in Cho et al. 2014."""
    lengths = np.array([len(language_model.tokenizer.split(source)) for source in sources])
    # A source of nothing but white space is with the shortest ones.
    row_of = (np.maximum(lengths, 1) - 1) // _LENGTH_STEP
    rows = []
    for row in np.unique(row_of).tolist():
        chosen = np.flatnonzero(row_of == row).tolist()
        start, pairs = row * _LENGTH_STEP + 1, ([translations[i] for i in chosen], [references[i] for i in chosen])
        bleu = bleu_and_chrf(*pairs, tokenizer)["bleu"]
        rows.append({"from": start, "to": start + _LENGTH_STEP - 1, "sentences": len(chosen), "bleu": bleu})
    return rows
