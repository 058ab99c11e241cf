"""`charlm train`: learn a model from text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from charlm.cli import signals
from charlm.cli.options import (
    CorpusArgument,
    Device,
    Lowercase,
    MinCount,
    Normalize,
    Seed,
    Split,
    Threads,
    VocabSize,
)
from charlm.cli.training_run import TrainingRun


def train(
    context: typer.Context,
    corpus: CorpusArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Model file to write.", show_default=False, readable=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the model file.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint beside the model file.")
    ] = False,
    init_from: Annotated[Path | None, typer.Option(help="Start from this model's weights.", readable=False)] = None,
    task: Annotated[
        Literal["lm", "cloze", "tag", "classify", "translate", "music"], typer.Option(help="What to learn.")
    ] = "lm",
    condition: Annotated[
        bool, typer.Option("--condition", help="lm, music: each line begins with a label and a tab.")
    ] = False,
    level: Annotated[
        Literal["char", "word"],
        typer.Option(help="What a token is.", show_default="char; of tag, translate and music: word"),
    ] = "char",
    unit: Annotated[
        Literal["line", "stream"], typer.Option(help="Each line a sequence of its own, or the text as one.")
    ] = "line",
    split: Split = "punct",
    lowercase: Lowercase = False,
    normalize: Normalize = "nfc",
    vocab_size: VocabSize = None,
    min_count: MinCount = 1,
    cell: Annotated[
        Literal["rnn", "gru-simple", "gru", "lstm", "lstm-peephole"], typer.Option(help="Recurrent unit.")
    ] = "lstm",
    activation: Annotated[
        Literal["tanh", "relu"], typer.Option(help="Of the rnn cell and of the dense layers.")
    ] = "tanh",
    reset: Annotated[
        Literal["after", "before", "both"], typer.Option(help="Where the relevance gate of gru acts.")
    ] = "after",
    relevance_gate: Annotated[
        bool, typer.Option("--relevance-gate", help="lstm: the notes' relevance gate on the candidate.")
    ] = False,
    hidden_size: Annotated[int, typer.Option(help="Hidden units of a layer.")] = 128,
    num_layers: Annotated[int, typer.Option(help="Recurrent layers.")] = 2,
    embedding_size: Annotated[int, typer.Option(help="Size of token vectors; 0 feeds one-hot tokens.")] = 0,
    dense: Annotated[list[int] | None, typer.Option(help="A feed-forward layer of N units on top; repeatable.")] = None,
    tie_weights: Annotated[bool, typer.Option("--tie-weights", help="The output layer shares the embedding.")] = False,
    bidirectional: Annotated[
        bool | None,
        typer.Option(
            "--bidirectional/--causal",
            help="Read from both sides, or from the left alone; of lm: the same as --task cloze.",
            show_default="--bidirectional for cloze, tag and classify",
        ),
    ] = None,
    dropout: Annotated[float, typer.Option(help="Share of activations dropped between layers.")] = 0.0,
    seq_length: Annotated[int, typer.Option(help="Tokens of truncated backpropagation through time.")] = 64,
    batch_size: Annotated[int, typer.Option(help="Sequences side by side.")] = 64,
    epochs: Annotated[
        int | None, typer.Option(help="Times through the corpus; 10, unless --minutes or --max-steps is given.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Train for about so long.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Train for N steps at most.")] = None,
    optimizer: Annotated[Literal["adam", "rmsprop", "sgd"], typer.Option(help="Optimizer.")] = "adam",
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.002,
    schedule: Annotated[
        Literal["constant", "cosine", "plateau"], typer.Option(help="How the learning rate falls.")
    ] = "cosine",
    clip: Annotated[float, typer.Option(help="Largest global norm of the gradient; 0 for none.")] = 5.0,
    valid: Annotated[str | None, typer.Option(metavar="FILE", help="Held-out text.")] = None,
    valid_fraction: Annotated[float, typer.Option(help="Share of the corpus to hold out instead; 0 for none.")] = 0.05,
    patience: Annotated[int | None, typer.Option(help="Stop after N evaluations without a better one.")] = None,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = None,
    dtype: Annotated[Literal["float32", "float64"], typer.Option(help="Precision.")] = "float32",
) -> None:
    """Learn a model from text.

    \b
    charlm train names.txt -o names.safetensors --epochs 40 --batch-size 16
    charlm train book.txt -o book.safetensors --unit stream --hidden-size 256 --minutes 3
    charlm train sentences.txt -o words.safetensors --level word --embedding-size 128 --min-count 2
    charlm train book.txt -o book.safetensors --resume              after Ctrl-C
    """
    run = TrainingRun(context, corpus, output, valid)
    signals.state.raises = True  # at signals: from here on there are files to be removed
    with run.alone():
        run.check_output(force=force, resume=resume)
        if resume:
            run.resume(device)
        else:
            run.start(dict(context.params), init_from, device)
        with run.session.trainer.model.ops.workers.limit(threads):
            code = run.train()
    if code:
        raise typer.Exit(code)
