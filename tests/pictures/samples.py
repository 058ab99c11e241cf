"""Names drawn while a model learns to write them."""

from __future__ import annotations

from charlm import api
from charlm.session import prepare_from
from tests.pictures.drawing import svg, text
from tests.pictures.runs import lines_of

STEPS = (0, 1, 5, 10, 20, 40, 80, 160, 320, 590)
NAMES, LONGEST = 4, 17  # names a row, and characters of a name that are shown
ROW, COLUMNS = 24, (60, 130, 150)  # pixels: a row; right edges of step and loss, left edge of the names


def drawn() -> str:
    """Return names drawn after more and more steps, each row with its loss on held-out names."""
    names = lines_of("dinosaurs.txt")
    heldout = names[::10]
    session = prepare_from([name for name in names if name not in heldout], {"seed": 1}, valid_lines=heldout)
    rows = [_row(0, session.language_model, heldout)]
    rows += [
        _row(progress.step, session.language_model, heldout)
        for progress in session.trainer.run()
        if progress.step in STEPS
    ]
    y, parts = 60, [text(COLUMNS[0], 56, "step", "faint", "end"), text(COLUMNS[1], 56, "nats/char", "faint", "end")]
    for step, nats, drawn_names in rows:
        y += ROW
        parts += [text(COLUMNS[0], y, str(step), anchor="end"), text(COLUMNS[1], y, f"{nats:.2f}", anchor="end")]
        parts += [text(COLUMNS[2] + 150 * at, y, name, "mono") for at, name in enumerate(drawn_names)]
    described = "; ".join(f"step {step}, {nats:.2f} nats a character: {', '.join(drawn)}" for step, nats, drawn in rows)
    return svg("Names of dinosaurs that a model draws while it learns, at temperature 0.8", described, y + 24, parts)


def _row(step: int, model: api.LanguageModel, heldout: list[str]) -> tuple[int, float, list[str]]:
    """Return a step, the loss in nats a character, and some names."""
    scores = list(api.score(model, heldout))
    nats = sum(score.nats for score in scores) / sum(score.tokens for score in scores)
    names = [
        sample.text for sample in api.generate_many(model, NAMES, seed=2, temperature=0.8, length=40, min_length=1)
    ]
    return step, nats, [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in names]
