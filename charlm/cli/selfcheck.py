"""`charlm selfcheck`: check that this machine computes correctly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import Device
from charlm.cli.tables_out import NoHeader, write_records


def selfcheck(
    device: Device = "auto",
    format: Annotated[Literal["text", "tsv", "csv", "jsonl"], typer.Option(help="Output format.")] = "text",
    no_header: NoHeader = False,
) -> None:
    """Check that this machine computes correctly.

    The gradients of every cell are compared with central differences. On a GPU and on the compiled core, every function
    and training steps of every cell are compared with NumPy's. Each check prints its largest difference, relative to
    the largest number. The exit code is 1 if a check fails.

    \b
    charlm selfcheck
    charlm selfcheck --device cuda
    """
    from charlm.backends import get_backend, why_numpy
    from charlm.errors import CharlmError
    from charlm.selfcheck import checks

    ops = get_backend(device)
    output = ui.Output(unbuffered=True)  # a check takes seconds
    if ops.core == "numpy" and (reason := why_numpy()):
        ui.note(reason)
    records: list[dict[str, Any]] = []
    failed = 0

    def checked() -> Any:
        nonlocal failed
        for check in checks(ops):
            failed += not check.passed
            records.append({"device": ops.name, "core": ops.core, **vars(check), "passed": check.passed})
            yield records[-1]

    if format == "text":
        output.line(f"core    {ops.core}")
        for record in checked():
            verdict = "ok    " if record["passed"] else "FAILED"
            figures = f"{record['difference']:8.1e}  {ui.figure(record['seconds'], 3):>7} s"
            output.line(f"{verdict}  {ops.name:<4}  {record['dtype']:<8}  {figures}  {record['what']}")
        output.close()
    else:
        write_records(checked(), format, output, has_header=not no_header)
    if failed:
        without = {"cuda": "use --device cpu, and ", "numpy": ""}.get(ops.core, "set CHARLM_CORE=numpy, and ")
        raise CharlmError(
            f"{failed} of {len(records)} checks failed on {ops.name}, core {ops.core}",
            hint=f"{without}report this output",
        )
    ui.note(f"all {len(records)} checks passed on {ops.name}, core {ops.core}")
