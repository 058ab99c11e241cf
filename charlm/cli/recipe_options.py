"""The options of `charlm train` that recipes of papers set: regularisation, and how the optimizer moves the weights."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from charlm.config import DROPOUT_KINDS

DropoutKind = Annotated[
    Literal[DROPOUT_KINDS],  # type: ignore[valid-type]
    typer.Option(metavar="KIND", help="variational: one mask for all steps of a sequence in a batch."),
]
EmbeddingDropout = Annotated[float, typer.Option(metavar="P", help="Drop whole words of the embedding.")]
WeightDrop = Annotated[float, typer.Option(metavar="P", help="Drop recurrent weights, the same ones at all steps.")]
WeightNoise = Annotated[float, typer.Option(metavar="N", help="Noise of this deviation on all weights.")]
ActivationPenalty = Annotated[float, typer.Option(metavar="N", help="Penalty on large outputs of the last layer.")]
TemporalPenalty = Annotated[float, typer.Option(metavar="N", help="Penalty on their changes from step to step.")]
WeightDecay = Annotated[float, typer.Option(metavar="N", help="Shrink all weights by this share of the rate.")]
Average = Annotated[float, typer.Option(metavar="P", help="Average the weights over this last share of the steps.")]
Momentum = Annotated[float, typer.Option(metavar="P", help="sgd: momentum.")]
Beta1 = Annotated[float, typer.Option("--beta1", metavar="P", help="adam: decay of the mean gradient.")]
Beta2 = Annotated[float, typer.Option("--beta2", metavar="P", help="adam: decay of its mean square.")]
Schedule = Annotated[
    Literal["constant", "cosine", "plateau", "step"], typer.Option(help="How the learning rate falls.")
]
Decay = Annotated[float, typer.Option(metavar="P", help="step: factor of the rate in each later epoch.")]
DecayFrom = Annotated[int, typer.Option(metavar="EPOCH", help="step: last epoch at the full rate.")]
Warmup = Annotated[int, typer.Option(metavar="N", help="Steps in which the learning rate rises to its value.")]
ClipValue = Annotated[float, typer.Option(metavar="N", help="Clip each element of the gradient; 0: never.")]
Accumulate = Annotated[int, typer.Option(metavar="N", help="Batches for each step of the optimizer.")]
InitScale = Annotated[
    float, typer.Option(metavar="N", help="Draw all weights from -N to N; 0: each layer has its own scale.")
]
