"""`charlm train`: learn a model from text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from charlm.cli import signals, ui
from charlm.cli.command import TrainingCommand
from charlm.cli.completion import complete_model
from charlm.cli.dry_run import print_estimate
from charlm.cli.options import (
    Activation,
    Cell,
    CorpusArgument,
    Cutoffs,
    Device,
    Dtype,
    Lowercase,
    Normalize,
    RelevanceGate,
    Reset,
    Seed,
    Softmax,
    Split,
    TaskName,
    Threads,
    VocabSize,
)
from charlm.cli.recipe_options import (
    Accumulate,
    ActivationPenalty,
    Average,
    Beta1,
    Beta2,
    ClipValue,
    Decay,
    DecayFrom,
    DropoutKind,
    EmbeddingDropout,
    InitScale,
    Momentum,
    Schedule,
    TemporalPenalty,
    Warmup,
    WeightDecay,
    WeightDrop,
    WeightNoise,
)
from charlm.cli.tables_out import NoHeader
from charlm.cli.tag_columns import TagColumn, TokenColumn
from charlm.cli.train_options import options_of
from charlm.cli.training_preparation import Preparation
from charlm.cli.training_ranks import agreed, as_started
from charlm.cli.training_run import train_once
from charlm.cli.training_seeds import train_seeds

FROM_CORPUS = "from the corpus"

COMMAND = TrainingCommand


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
        Path | None,
        typer.Option(
            metavar="MODEL", help="Start from this model's weights.", readable=False, autocompletion=complete_model
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Start the embedding from word vectors: word2vec's or GloVe's text form."),
    ] = None,
    keep_checkpoint: Annotated[
        bool | None,
        typer.Option(
            "--keep-checkpoint/--no-checkpoint",
            help="Keep the checkpoint after the end, to train more with --resume; or never write one.",
            show_default="remove it at the end",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="Take the settings of this model.", readable=False, autocompletion=complete_model
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Take options from this TOML file, or from a recipe by name.", readable=False
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append each evaluation to this JSON Lines file.", readable=False),
    ] = None,
    sample_every: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="lm, music: draw a sample every N steps.")
    ] = None,
    sample_prompt: Annotated[str | None, typer.Option(help="How each of these samples begins.")] = None,
    test: Annotated[
        str | None, typer.Option(metavar="FILE", help="Judge the best weights on this file at the end.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=2, max=1000, help="Train with N seeds, and keep the best.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the training would take, and train nothing.")
    ] = False,
    progress: Annotated[
        Literal["lines", "bar"], typer.Option(help="Lines and a bar, or only a bar and the last line.")
    ] = "lines",
    format: Annotated[
        Literal["text", "tsv", "csv", "jsonl"],
        typer.Option(help="--dry-run, --seeds: output format; --seeds: of a record for each seed."),
    ] = "text",
    no_header: NoHeader = False,
    task: TaskName = "lm",
    condition: Annotated[bool, typer.Option("--condition", help="lm, music: lines start with LABEL TAB.")] = False,
    level: Annotated[
        Literal["char", "byte", "subword", "word"],
        typer.Option(
            metavar="UNIT",
            help="What a token is: char, byte, subword (a piece of SentencePiece) or word.",
            show_default="char; of tag, translate and music: word",
        ),
    ] = "char",
    unit: Annotated[
        Literal["line", "stream"] | None,
        typer.Option(help="What a sequence is: each line, or the whole text.", show_default=FROM_CORPUS),
    ] = None,
    split: Split = "punct",
    lowercase: Lowercase = False,
    normalize: Normalize = "nfc",
    raw: Annotated[
        bool,
        typer.Option("--raw", help="byte: keep byte order marks and carriage returns; read .gz files as they are."),
    ] = False,
    pieces: Annotated[
        Path | None, typer.Option(metavar="FILE", help="subword: take the pieces of this SentencePiece model.")
    ] = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    tag_scheme: Annotated[
        Literal["iob2", "none"], typer.Option(help="tag: read and predict B-X, I-X and O as IOB2, or as written.")
    ] = "iob2",
    vocab_size: VocabSize = None,
    min_count: Annotated[
        int | None, typer.Option(min=1, help="Keep tokens that occur at least N times.", show_default=FROM_CORPUS)
    ] = None,
    cell: Cell = "lstm",
    activation: Activation = "tanh",
    reset: Reset = "after",
    relevance_gate: RelevanceGate = False,
    hidden_size: Annotated[
        int | None, typer.Option(metavar="N", help="Hidden units per layer.", show_default=FROM_CORPUS)
    ] = None,
    num_layers: Annotated[
        int | None, typer.Option(metavar="N", help="Recurrent layers.", show_default=FROM_CORPUS)
    ] = None,
    embedding_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Size of token embeddings; 0: one-hot tokens.", show_default=FROM_CORPUS),
    ] = None,
    dense: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Add a dense layer of N units on top; repeatable.")
    ] = None,
    tie_weights: Annotated[bool, typer.Option("--tie-weights", help="Use the embedding as output layer.")] = False,
    softmax: Softmax = "full",
    cutoffs: Cutoffs = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option(
            "--bidirectional/--causal",
            help="Read from both sides, or only from the left; with lm, --bidirectional means --task cloze.",
            show_default="--bidirectional for cloze, tag and classify",
        ),
    ] = None,
    crf: Annotated[bool, typer.Option("--crf", help="tag: let each tag depend on the tag before it.")] = False,
    char_features: Annotated[
        int, typer.Option(metavar="N", min=0, help="tag: read characters too, with N units from each side; 0: never.")
    ] = 0,
    dropout: Annotated[
        float | None, typer.Option(metavar="P", help="Dropout probability between layers.", show_default=FROM_CORPUS)
    ] = None,
    dropout_kind: DropoutKind = "standard",
    embedding_dropout: EmbeddingDropout = 0.0,
    weight_drop: WeightDrop = 0.0,
    weight_noise: WeightNoise = 0.0,
    activation_penalty: ActivationPenalty = 0.0,
    temporal_penalty: TemporalPenalty = 0.0,
    weight_decay: WeightDecay = 0.0,
    average: Average = 0.0,
    seq_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of backpropagation through time.", show_default=FROM_CORPUS)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Sequences per mini-batch.", show_default=FROM_CORPUS)
    ] = None,
    shards: Annotated[
        int, typer.Option(metavar="N", min=1, help="Sum gradients over N parts of a mini-batch, as mpiexec does.")
    ] = 1,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the corpus.", show_default=FROM_CORPUS)
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="N", help="Train for about N minutes.")] = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", help="Train for at most N steps.")] = None,
    optimizer: Annotated[Literal["adam", "rmsprop", "sgd"], typer.Option(help="Optimizer.")] = "adam",
    lr: Annotated[float | None, typer.Option(metavar="N", help="Learning rate.", show_default=FROM_CORPUS)] = None,
    momentum: Momentum = 0.0,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.999,
    schedule: Schedule = "cosine",
    decay: Decay = 0.5,
    decay_from: DecayFrom = 4,
    warmup: Warmup = 0,
    clip: Annotated[float, typer.Option(metavar="N", help="Clip the gradient to this norm; 0: never.")] = 5.0,
    clip_value: ClipValue = 0.0,
    accumulate: Accumulate = 1,
    init_scale: InitScale = 0.0,
    valid: Annotated[str | None, typer.Option(metavar="FILE", help="Held-out text.")] = None,
    valid_fraction: Annotated[
        float | None,
        typer.Option(metavar="P", help="Share of the corpus to hold out; 0: none.", show_default=FROM_CORPUS),
    ] = None,
    valid_seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the held-out lines.", show_default="--seed; with --seeds, the first one"),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after N evaluations without a new best.")
    ] = None,
    keep: Annotated[
        Literal["loss", "accuracy", "f1", "last"] | None,
        typer.Option(
            metavar="FIGURE",
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
    charlm train names.txt -o names
    charlm train book.txt -o book --minutes 3
    charlm train sentences.txt -o words --level word --hidden-size 256
    charlm train book.txt -o book --resume              after Ctrl-C
    """
    options = agreed(options_of(context, device))
    if progress == "bar" and not ui.settings.quiet:
        ui.settings.quiet = ui.settings.has_bar = True
    if dry_run and seeds is None:
        prepared = Preparation(options, output)
        prepared.prepare()
        with prepared.session.trainer.model.ops.workers.limit(options.values["threads"]):
            print_estimate(prepared.session, prepared.corpus_memory, format, has_header=not no_header)
        return
    # From here on there are files to remove, so a signal raises an exception.
    signals.state.raises = True
    once = train_once if options.values["seeds"] is None else train_seeds
    if code := once(as_started(context.command_path), options, output):
        raise typer.Exit(code)
