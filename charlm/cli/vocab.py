"""`charlm vocab`: count the tokens of a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import CorpusArgument, Level, Lowercase, MinCount, Normalize, Split, VocabSize, texts


def vocab(
    corpus: CorpusArgument,
    level: Level = "char",
    split: Split = "punct",
    lowercase: Lowercase = False,
    normalize: Normalize = "nfc",
    vocab_size: VocabSize = None,
    min_count: MinCount = 1,
    coverage: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Print how much of FILE is out of vocabulary; repeatable.")
    ] = None,
    format: Annotated[Literal["text", "tsv", "jsonl"], typer.Option(help="Output format.")] = "tsv",
) -> None:
    """Count the tokens of a corpus.

    The vocabulary of `train` contains only the tokens of the training part.

    \b
    charlm vocab corpus.txt | head
    charlm vocab train.txt --level word --min-count 2 --coverage test.txt
    """
    from charlm.text import Vocabulary, make_splitter
    from charlm.text.ids.encoder import count_tokens
    from charlm.text.learning import coverage_of

    read, covered = texts(corpus), texts(coverage or [])
    output = ui.Output()
    splitter = make_splitter(level, split, lowercase, normalize)
    counts = count_tokens(read, splitter)
    vocabulary = Vocabulary.build(counts, max_size=vocab_size, min_count=min_count)
    if coverage:
        record = coverage_of(count_tokens(covered, splitter), vocabulary)
        ui.write_records([record], format, output)
        return

    def records() -> Iterator[dict[str, Any]]:
        for token_id, token in enumerate(vocabulary.tokens[2:], start=2):
            yield {"token": token, "id": token_id, "count": counts[token]}

    if format == "text":
        for record in records():
            output.line(f"{record['count']:>10,}  {ui.tsv_field(record['token'])}")
        output.close()
    else:
        ui.write_records(records(), format, output, fields=("token", "id", "count"))
