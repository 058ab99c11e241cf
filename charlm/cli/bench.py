"""`charlm bench`: measure how fast this machine trains, generates, scores and starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.command import TrainingCommand
from charlm.cli.options import Activation, Cell, Dtype, RelevanceGate, Reset, Threads
from charlm.cli.tables_out import NoHeader, write_records

_SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # variables with which OpenBLAS assumes another processor
_SYNTHETIC_VOCABULARY = 65

COMMAND = TrainingCommand


def bench(
    case: Annotated[
        Literal["train", "generate", "score", "start"] | None,
        typer.Argument(
            metavar="[CASE]",
            help="train: training steps; generate: one text; score: lines of 5 to 40 tokens; start: a process that "
            "generates 1,000 tokens. Without an argument, all four.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[Literal["char", "byte", "word"], typer.Option(help="Token unit.")] = "char",
    vocab_size: Annotated[
        int | None,
        typer.Option(
            min=3,
            max=1 << 20,
            help="Tokens in the vocabulary, including <EOS> and <UNK>.",
            show_default="65; of --text: all",
        ),
    ] = None,
    cell: Cell = "lstm",
    activation: Activation = "tanh",
    reset: Reset = "after",
    relevance_gate: RelevanceGate = False,
    hidden_size: Annotated[int, typer.Option(help="Hidden units per layer.")] = 128,
    num_layers: Annotated[int, typer.Option(help="Recurrent layers.")] = 2,
    embedding_size: Annotated[int, typer.Option(help="Size of token embeddings; 0: one-hot tokens.")] = 0,
    dense: Annotated[list[int] | None, typer.Option(help="Add a dense layer of N units on top; repeatable.")] = None,
    tie_weights: Annotated[
        bool, typer.Option("--tie-weights", help="Share the embedding with the output layer.")
    ] = False,
    dropout: Annotated[
        float, typer.Option(metavar="P", help="Probability to drop an activation between layers.")
    ] = 0.0,
    seq_length: Annotated[int, typer.Option(help="train: tokens of truncated backpropagation through time.")] = 64,
    batch_size: Annotated[int, typer.Option(help="train, score: sequences per mini-batch.")] = 64,
    optimizer: Annotated[Literal["adam", "rmsprop", "sgd"], typer.Option(help="Optimizer.")] = "adam",
    dtype: Dtype = "float32",
    text: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Use this text in place of random tokens.", show_default=False),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Minimum seconds of each repeat.")] = 1.0,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Repeats, whose median is printed.")] = 5,
    threads: Threads = None,
    format: Annotated[Literal["text", "tsv", "csv", "jsonl"], typer.Option(help="Output format.")] = "text",
    no_header: NoHeader = False,
) -> None:
    """Measure tokens per second on this machine.

    The peak share is the rate of the operations that the case needs over the fastest rate of this machine.

    \b
    charlm bench
    charlm bench train --cell gru --hidden-size 512 --threads 1
    charlm bench --level word --vocab-size 10000 --embedding-size 200
    charlm bench score --text lines.txt --format jsonl | jq .tokens_per_second
    """
    from charlm.benchmark import CASES, BenchmarkConfig, measure, synthetic_workload, text_workload
    from charlm.config import TextConfig, TrainConfig
    from charlm.errors import UsageError

    if level == "byte" and vocab_size is not None:
        raise UsageError("--vocab-size with --level byte", hint="leave it out: the tokens are the 256 bytes")
    config = BenchmarkConfig(seconds, repeats, threads)
    train = TrainConfig(seq_length=seq_length, batch_size=batch_size, optimizer=optimizer)
    network = {
        "cell": cell,
        "activation": activation,
        "reset": reset,
        "relevance_gate": relevance_gate,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "embedding_size": embedding_size,
        "dense": tuple(dense or ()),
        "tie_weights": tie_weights,
        "dropout": dropout,
        "dtype": dtype,
    }
    for name in _SLOWING:
        if os.environ.get(name):
            ui.warn(f"{name} is set: matrix products may be half as fast")
    if text is None:
        work = synthetic_workload(network, level, train, vocabulary_size=vocab_size or _SYNTHETIC_VOCABULARY)
    else:
        from charlm.cli.options import input_lines

        lines = input_lines([text], text=TextConfig(level=level))
        work = text_workload(lines, network, level, train, vocabulary_size=vocab_size)
    measured = measure(work, CASES if case is None else (case,), config)
    output = ui.Output(unbuffered=True)  # a case takes seconds
    if format == "text":
        for line in _readable(measured):
            output.line(line)
        output.close()
    else:
        absent = None if format == "jsonl" else ""
        write_records(_records(measured, absent), format, output, has_header=not no_header)


def _records(measured: Iterable[Any], absent: str | None) -> Iterator[dict[str, Any]]:
    """Yield the fields of each measurement, with `absent` in place of None."""
    for one in measured:
        yield {key: absent if value is None else value for key, value in vars(one).items()}


def _readable(measured: Iterable[Any]) -> Iterator[str]:
    """Yield a line for each case as soon as it is complete, below the sizes, which follow the precision."""
    dtype = None
    for one in measured:
        if one.dtype != dtype:
            dtype = one.dtype
            tokens = f"embedded {one.embedding_size}" if one.embedding_size else "one-hot"
            sizes = f"{one.num_layers} x {one.hidden_size}, vocabulary {one.vocabulary_size:,}"
            yield f"network   {one.cell} {sizes}, {tokens}, {one.dtype}"
            best = "" if one.peak_gflops is None else f", peak {one.peak_gflops:,.1f} GFLOP/s"
            yield f"machine   core {one.core}, threads {one.threads}{best}"
        share = (
            f"{ui.figure(one.seconds, 3)} seconds"
            if one.peak_share is None
            else f"peak share {ui.figure(one.peak_share, 3)}"
        )
        size = f"{one.batch_size} x {one.seq_length} tokens"
        yield f"{one.case:<8}  {one.tokens_per_second:,.0f} tokens/s, {share}, {size}"
