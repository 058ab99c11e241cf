"""`charlm inspect --samples`: the samples that were drawn while each model was trained."""

from __future__ import annotations

from charlm.cli import ui
from charlm.cli.inspect_views import Asked
from charlm.cli.tables_out import tsv_field


def show_samples(asked: Asked) -> None:
    """Print the step and the text of each sample."""
    if asked.is_table:
        asked.table({"model": name, **sample} for name, one in asked.models for sample in one.run.samples)
        return
    for name, language_model in asked.models:
        asked.title(name)
        for sample in language_model.run.samples:
            if asked.format == "jsonl":
                asked.output.line(ui.strict_json({**sample, **asked.name_of(name)}))
            else:
                asked.output.line(f"{sample['step']:>10,}  {tsv_field(sample['text'])}")
