"""`charlm rescore`: choose the best hypothesis of each utterance from n-best lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.nbest_in import ListSource
from charlm.cli.options import BatchSize, Device, LabelOption, ModelArgument, Threads, input_lines, open_model
from charlm.cli.tables_out import NoHeader, Records, format_of, tsv_field

_TABLES = ("tsv", "csv", "jsonl", "table")


def rescore(
    model: ModelArgument,
    nbest: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NBEST]...", help="N-best lists or .gz; - or no file: standard input.", show_default=False
        ),
    ] = None,
    id: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="Column N or NAME of the utterance.")] = None,
    score: Annotated[
        str | None,
        typer.Option("--score", metavar="COLUMN", help="Column of the score; kaldi: file of the costs, ID COST."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="Column of the hypothesis.")] = None,
    input_format: Annotated[
        Literal["tsv", "csv", "jsonl", "kaldi", "nbest"] | None,
        typer.Option(
            help="Format of the input; kaldi: UTTERANCE-N WORD...; nbest: Moses' ID ||| TEXT ||| FEATURES ||| SCORE.",
            show_default="by the file's name; else tsv",
        ),
    ] = None,
    negate: Annotated[bool, typer.Option("--negate", help="The scores are costs: the smallest is the best.")] = False,
    kaldi_ids: Annotated[
        bool, typer.Option("--kaldi-ids", help="The ids are UTTERANCE-N, as in Kaldi's n-best lists.")
    ] = False,
    lm_weight: Annotated[
        float | None, typer.Option(metavar="F", help="Weight of ln P(text).", show_default="1.0")
    ] = None,
    word_bonus: Annotated[
        float | None, typer.Option(metavar="F", help="What each word adds to the total.", show_default="0.0")
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(metavar="REFS", help="Find both weights with reference texts, lines ID TAB TEXT."),
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Print all hypotheses, the best of an utterance first.")] = False,
    format: Annotated[
        Literal["tsv", "csv", "text", "jsonl", "kaldi", "nbest"] | None,
        typer.Option(
            help="tsv, csv: with a header; text: the hypothesis; jsonl: JSON Lines; kaldi: id and hypothesis;"
            " nbest: as Moses.",
            show_default="tsv; at a terminal: a table",
        ),
    ] = None,
    no_header: NoHeader = False,
    label: LabelOption = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Choose the best of several hypotheses.

    The best of an utterance has the largest score + lm-weight ln P(text) + word-bonus words. --tune finds the weights
    that give the fewest word errors.

    \b
    charlm rescore words dev.tsv --id 1 --score 3 --text 4 --tune dev.ref.tsv
    charlm rescore words test.tsv --id 1 --score 3 --text 4 --lm-weight 1.3
    charlm rescore words words.txt --input-format kaldi --score ac_cost
    charlm rescore words moses.nbest --input-format nbest --format nbest --all
    """
    from charlm.errors import UsageError

    for flag, weight in (("--lm-weight", lm_weight), ("--word-bonus", word_bonus)):
        if weight is not None and tune is not None:
            raise UsageError(f"{flag} with --tune", hint="leave it out: --tune finds both weights")
        if weight is not None and not math.isfinite(weight):
            raise UsageError(f"{flag} is {weight}", hint=f"give a number: {flag} 0.5")
    if tune == "-" and "-" in (nbest or ["-"]):
        raise UsageError("two inputs are standard input", hint="name the file of the lists or of the references")
    language_model = open_model(model, device, "rescore")

    from charlm.inference import rescoring
    from charlm.text.nbest import read_references

    lnp = "pseudo_lnp" if language_model.facts.is_cloze else "lnp"
    own = (lnp, "words", "total", "text")
    source = ListSource(
        nbest,
        given=(id, score, text),
        input_format=input_format,
        is_cost=negate,
        is_numbered=kaldi_ids,
        own=own,
        text=language_model.text,
    )
    weights = rescoring.Weights(1.0 if lm_weight is None else lm_weight, word_bonus or 0.0)
    form = format_of(format, "tsv")
    output = ui.Output(unbuffered=source.at_once)
    with language_model.model.ops.workers.limit(threads), source.progress():
        lists: Any = rescoring.scored_lists(
            language_model, source.hypotheses(), label=label, batch_size=batch_size, at_once=source.at_once
        )
        if tune is not None:
            references = read_references(input_lines([tune]))
            lists = list(lists)
            tuned = rescoring.tune_weights(lists, references)
            _report(tuned)
            weights = tuned.weights
        found = _chosen(lists, source, weights, is_all=all)
        if form in _TABLES:
            columns = [*source.columns, *own]
            with Records(output, form, columns, has_header=not no_header, at_once=source.at_once) as records:
                for one, row in found:
                    record = {lnp: one.lnp, "words": one.words, "total": one.total, "text": one.text}
                    records.write(source.joined(row, record, form))
        else:
            for one, row in found:
                output.line(_line(one, row, source, form, lnp, is_all=all))
    output.close()


def _chosen(lists: Iterable[Any], source: ListSource, weights: Any, *, is_all: bool) -> Iterator[tuple[Any, Any]]:
    """Yield the best hypothesis of each list, or all of them, with their rows."""
    from charlm.inference.rescoring import ranked

    for scored in lists:
        rows = source.rows(len(scored))
        for one in ranked(scored, weights)[: None if is_all else 1]:
            yield one, rows[one.number - 1]


def _line(one: Any, row: Any, source: ListSource, form: str, lnp: str, *, is_all: bool) -> str:
    """Return the line of a hypothesis in a format without records: text, kaldi or nbest."""
    from charlm.errors import CorpusError
    from charlm.text.nbest import BAR

    if form == "text":
        return str(one.text)
    if form == "kaldi":
        key = one.utterance
        if is_all:
            key = source.given_id(row) if source.is_numbered else f"{key}-{one.number}"
        if key.split() != [key]:
            raise CorpusError(
                f"the id {key!r} contains white space, {row.place}", hint="use --format tsv, csv or jsonl"
            )
        return " ".join([key, *one.text.split()])
    if BAR in one.text or BAR in one.utterance:
        raise CorpusError(f"a field contains {BAR}, {row.place}", hint="use --format tsv, csv or jsonl")
    parts = {"score": one.score, lnp: one.lnp, "words": one.words}
    features = " ".join(f"{name}= {tsv_field(value)}" for name, value in parts.items())
    return f" {BAR} ".join(
        [one.utterance, one.text, " ".join([*source.features(row).split(), features]), tsv_field(one.total)]
    )


def _report(tuned: Any) -> None:
    """Print the weights and the word error rates, and warn about utterances that were left out."""
    for names, missing in ((tuned.without_reference, "reference"), (tuned.without_hypotheses, "hypotheses")):
        if names:
            have = f"{len(names):,} utterances have" if len(names) > 1 else "1 utterance has"
            ui.warn(f"{have} no {missing} and cannot be tuned on; the first is {names[0]!r}")
    weights = f"lm-weight {_weight(tuned.weights.lm_weight, 2)}  word-bonus {_weight(tuned.weights.word_bonus, 1)}"
    before, after, oracle = (100.0 * rate for rate in (tuned.wer_before, tuned.wer, tuned.oracle))
    utterances = f"{tuned.utterances:,} utterances" if tuned.utterances > 1 else "1 utterance"
    ui.needed(f"{weights}  WER {before:.2f} % -> {after:.2f} %  ({utterances}, oracle {oracle:.2f} %)")


def _weight(value: float, decimals: int) -> str:
    """Return a weight with all of its decimals, and a few at least, so that it can be typed again."""
    fixed = f"{value:.{decimals}f}"
    return fixed if float(fixed) == value else repr(value)
