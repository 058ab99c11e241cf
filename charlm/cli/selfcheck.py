"""`charlm selfcheck`: whether this machine computes what it should."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import Device


def selfcheck(
    device: Device = "auto",
    format: Annotated[Literal["text", "tsv", "jsonl"], typer.Option(help="Output format.")] = "text",
) -> None:
    """Check the gradients of every cell, and a GPU's every function and training steps against the processor's.

    Prints the largest difference of each check, relative to the largest number, and ends with 1 if one is too large.

    \b
    charlm selfcheck
    charlm selfcheck --device cuda
    """
    from charlm.backends import get_backend
    from charlm.errors import CharlmError
    from charlm.selfcheck import checks

    ops = get_backend(device)
    output = ui.Output(unbuffered=True)  # each takes its time
    records: list[dict[str, Any]] = []
    failed = 0

    def told() -> Any:
        nonlocal failed
        for check in checks(ops):
            failed += not check.passed
            records.append({"device": ops.name, **vars(check), "passed": check.passed})
            yield records[-1]

    if format == "text":
        for record in told():
            verdict = "ok    " if record["passed"] else "FAILED"
            figures = f"{record['difference']:8.1e}  {ui.figure(record['seconds'], 3):>7} s"
            output.line(f"{verdict}  {ops.name:<4}  {record['dtype']}  {figures}  {record['what']}")
        output.close()
    else:
        ui.write_records(told(), format, output)
    if failed:
        raise CharlmError(
            f"{failed} of {len(records)} checks failed on {ops.name}",
            hint="use --device cpu, and report what this has printed",
        )
    ui.note(f"all {len(records)} checks passed on {ops.name}")
