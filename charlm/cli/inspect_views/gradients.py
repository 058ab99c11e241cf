"""`charlm inspect --gradients`: how far back in time the gradients of each model reach."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from charlm.cli import signals, ui
from charlm.cli.inspect_views import Asked
from charlm.cli.options import input_lines
from charlm.cli.tables_out import write_records


def show_gradients(asked: Asked, file: str, longest: int, plot: str | None) -> None:
    """Print and plot the norms of each model's gradients by the distance in time.

    file: the text to measure on; longest: number of steps back; plot: the picture, - for one in characters
    """
    from charlm.cli.chart import decay_chart
    from charlm.inference.vanishing import gradient_decay

    output = asked.output
    # A file is read again for each model, so that errors name the file and the line.
    read = partial(input_lines, [file], text=asked.reading)
    lines = list(read()) if file == "-" else None
    measured = [gradient_decay(one, read() if lines is None else lines, longest=longest) for _, one in asked.models]
    decays = dict(zip(asked.short_names(), measured, strict=True))
    if plot not in (None, "-"):
        from charlm.cli import pictures

        # Written before the text, whose reader may go away.
        with signals.undisturbed():
            pictures.decays({name: decay.norms.tolist() for name, decay in decays.items()}, Path(str(plot)))
    if asked.format == "jsonl":
        for (name, _), decay in zip(asked.models, decays.values(), strict=True):
            norms = [{"k": k, "norm": float(norm)} for k, norm in enumerate(decay.norms)]
            output.line(ui.strict_json({"model": name, "gradients": norms, "half_life": decay.half_life}))
    elif asked.is_table:
        rows = (
            {"model": name, "k": k, "norm": float(norm)}
            for name, decay in decays.items()
            for k, norm in enumerate(decay.norms)
        )
        write_records(rows, asked.format, output, has_header=asked.has_header)
    else:
        width = max(12, *(len(name) + 2 for name in decays))
        output.line("mean norm of dL<t>/da<t-k>")
        output.line(f"{'k':>9}" + "".join(f"{name:>{width}}" for name in decays))
        for k in range(max(len(decay.norms) for decay in decays.values())):
            cells = (f"{decay.norms[k]:.3e}" if k < len(decay.norms) else "" for decay in decays.values())
            output.line(f"{k:>9}" + "".join(f"{cell:>{width}}" for cell in cells))
        output.line(
            f"{'half-life':>9}" + "".join(f"{ui.figure(decay.half_life, 2):>{width}}" for decay in decays.values())
        )
        asked.styled(decay_chart({name: decay.norms.tolist() for name, decay in decays.items()}))
