"""`charlm vocab`: count the tokens of a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.level_options import strict
from charlm.cli.options import CorpusArgument, Level, Lowercase, MinCount, Normalize, Split, VocabSize, texts
from charlm.cli.tables_out import NoHeader, format_of, tsv_field, write_records


def vocab(
    corpus: CorpusArgument,
    level: Level = "char",
    split: Split = "punct",
    lowercase: Lowercase = False,
    normalize: Normalize | None = None,
    vocab_size: VocabSize = None,
    min_count: MinCount = 1,
    coverage: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Print how much of FILE is out of vocabulary; repeatable.")
    ] = None,
    format: Annotated[
        Literal["text", "tsv", "csv", "jsonl"] | None,
        typer.Option(help="Output format.", show_default="tsv; at a terminal: a table"),
    ] = None,
    no_header: NoHeader = False,
) -> None:
    """Count the tokens of a corpus.

    The vocabulary of `train` contains only the tokens of the training part.

    \b
    charlm vocab corpus.txt | head
    charlm vocab train.txt --level word --min-count 2 --coverage test.txt
    """
    from charlm.config import TextConfig, check_vocabulary
    from charlm.session import text_defaults
    from charlm.text import UNK_ID
    from charlm.text.ids.encoder import count_tokens
    from charlm.text.learning import counted, coverage_of

    form_of_level = text_defaults("lm", level).get("normalize", TextConfig.normalize)
    config = TextConfig(level, split=split, lowercase=lowercase, normalize=normalize or form_of_level)
    check_vocabulary(config, {"vocab_size": vocab_size, "min_count": min_count})
    how = strict(config.reading)
    read, covered = texts(corpus, errors=how), texts(coverage or [], errors=how)
    output, form = ui.Output(), format_of(format, "tsv")
    splitter, vocabulary, counts = counted(read, config, max_size=vocab_size, min_count=min_count)
    if coverage:
        record = coverage_of(count_tokens(covered, splitter), vocabulary)
        write_records([record], form, output, has_header=not no_header)
        return

    def records() -> Iterator[dict[str, Any]]:
        for token, count in counts.items():
            if (token_id := vocabulary.id_of(token)) != UNK_ID:
                yield {"token": token, "id": token_id, "count": count}

    if form == "text":
        for record in records():
            output.line(f"{record['count']:>10,}  {tsv_field(record['token'])}")
        output.close()
    else:
        write_records(records(), form, output, fields=("token", "id", "count"), has_header=not no_header)
