"""`charlm train`: learn a model from text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from charlm.cli import signals
from charlm.cli.options import (
    Activation,
    Cell,
    CorpusArgument,
    Device,
    Dtype,
    Lowercase,
    MinCount,
    Normalize,
    RelevanceGate,
    Reset,
    Seed,
    Split,
    TaskName,
    Threads,
    VocabSize,
)
from charlm.cli.training_output import check_output, kept_alone
from charlm.cli.training_run import TrainingRun


def train(
    context: typer.Context,
    corpus: CorpusArgument,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Model file to write.", show_default=False, readable=False),
    ],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the model file.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint of the model file.")] = False,
    init_from: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Start from this model's weights.", readable=False)
    ] = None,
    task: TaskName = "lm",
    condition: Annotated[bool, typer.Option("--condition", help="lm, music: lines start with LABEL TAB.")] = False,
    level: Annotated[
        Literal["char", "word"],
        typer.Option(help="What a token is.", show_default="char; of tag, translate and music: word"),
    ] = "char",
    unit: Annotated[
        Literal["line", "stream"], typer.Option(help="What a sequence is: each line, or the whole text.")
    ] = "line",
    split: Split = "punct",
    lowercase: Lowercase = False,
    normalize: Normalize = "nfc",
    vocab_size: VocabSize = None,
    min_count: MinCount = 1,
    cell: Cell = "lstm",
    activation: Activation = "tanh",
    reset: Reset = "after",
    relevance_gate: RelevanceGate = False,
    hidden_size: Annotated[int, typer.Option(metavar="N", help="Hidden units per layer.")] = 128,
    num_layers: Annotated[int, typer.Option(metavar="N", help="Recurrent layers.")] = 2,
    embedding_size: Annotated[int, typer.Option(metavar="N", help="Size of token embeddings; 0: one-hot tokens.")] = 0,
    dense: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Add a dense layer of N units on top; repeatable.")
    ] = None,
    tie_weights: Annotated[bool, typer.Option("--tie-weights", help="Use the embedding as output layer.")] = False,
    bidirectional: Annotated[
        bool | None,
        typer.Option(
            "--bidirectional/--causal",
            help="Read from both sides, or only from the left; with lm, --bidirectional means --task cloze.",
            show_default="--bidirectional for cloze, tag and classify",
        ),
    ] = None,
    dropout: Annotated[float, typer.Option(metavar="P", help="Dropout probability between layers.")] = 0.0,
    seq_length: Annotated[int, typer.Option(metavar="N", help="Tokens of backpropagation through time.")] = 64,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Sequences per mini-batch.")] = 64,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the corpus; 10 without --minutes or --max-steps.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="N", help="Train for about N minutes.")] = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", help="Train for at most N steps.")] = None,
    optimizer: Annotated[Literal["adam", "rmsprop", "sgd"], typer.Option(help="Optimizer.")] = "adam",
    lr: Annotated[float, typer.Option(metavar="N", help="Learning rate.")] = 0.002,
    schedule: Annotated[
        Literal["constant", "cosine", "plateau"], typer.Option(help="How the learning rate falls.")
    ] = "cosine",
    clip: Annotated[float, typer.Option(metavar="N", help="Clip the gradient to this norm; 0: never.")] = 5.0,
    valid: Annotated[str | None, typer.Option(metavar="FILE", help="Held-out text.")] = None,
    valid_fraction: Annotated[
        float, typer.Option(metavar="P", help="Share of the corpus to hold out without --valid; 0: none.")
    ] = 0.05,
    patience: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after N evaluations without a new best.")
    ] = None,
    keep: Annotated[
        Literal["loss", "accuracy", "f1", "last"] | None,
        typer.Option(
            help="What decides which weights are kept.",
            show_default="tag: f1 or accuracy; classify: accuracy; else loss",
        ),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = None,
    dtype: Dtype = "float32",
) -> None:
    """Learn a model from text.

    \b
    charlm train names.txt -o names.safetensors --epochs 40 --batch-size 16
    charlm train book.txt -o book.safetensors --unit stream --hidden-size 256 --minutes 3
    charlm train sentences.txt -o words.safetensors --level word --embedding-size 128 --min-count 2
    charlm train book.txt -o book.safetensors --resume              after Ctrl-C
    """
    run = TrainingRun(context, corpus, output, valid)
    # From here on there are files to remove, so a signal raises an exception.
    signals.state.raises = True
    with kept_alone(output, run.model_path, run.checkpoint_path):
        texts = [*corpus, *([] if valid is None else [valid])]
        check_output(run.model_path, run.checkpoint_path, texts, force=force, resume=resume)
        if resume:
            run.resume(device)
        else:
            run.start(dict(context.params), init_from, device)
        with run.session.trainer.model.ops.workers.limit(threads):
            code = run.train()
    if code:
        raise typer.Exit(code)
