"""How fast a page writes in Chromium: python -m tests.benchmarks.page.

The weights are drawn, because speed does not depend on them. Two speeds are printed, each the best of five texts: a
second of the processor time of the page, which other programs hardly change, and a second by the clock.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from unittest import mock

import charlm
from tests import task_models
from tests.exchange.chromium import Chromium

CASES = {  # tokens, length of a text, fields of the text, fields of the network
    "characters, lstm of 2 x 128": (64, 2000, {}, {"hidden_size": 128}),
    "33,278 words, lstm of 2 x 200, tied weights": (
        33_276,
        100,
        {"level": "word", "split": "whitespace"},
        {"hidden_size": 200, "embedding_size": 200, "tie_weights": True},
    ),
}


def model_of(tokens: int, text: dict, network: dict):
    """Draw a model of running text with so many tokens."""
    names = [f"w{one}" for one in range(tokens)] if text else [chr(0x4E00 + one) for one in range(tokens)]
    with mock.patch.dict(task_models.KINDS, {"page": (tuple(names), (), (), text, {"task": "lm"})}):
        return task_models.task_model("page", text={"unit": "stream"}, dtype="float32", spread=0.1, **network)


def main() -> None:
    """Print the size of each page and its speed."""
    with tempfile.TemporaryDirectory() as folder, Chromium() as browser:
        for name, (tokens, length, text, network) in CASES.items():
            path, model = Path(folder, "page.html"), model_of(tokens, text, network)
            sizes = []
            for precision in ("float16", "float32"):
                charlm.export(model, path, precision=precision)
                sizes.append(f"{path.stat().st_size / 1e6:.1f} MB as {precision}")
            browser.open(path)
            browser.evaluate(f"page.stop(); document.getElementById('length').value = {length}")
            browser.send("Performance.enable", timeDomain="threadTicks")
            of_processor, of_clock = [], []
            for _ in range(5):
                before = seconds(browser)
                browser.evaluate("document.getElementById('write').click()")
                browser.wait("page.plan === null", seconds=600)
                of_processor.append(length / (seconds(browser) - before))
                shown = browser.evaluate("document.getElementById('summary').textContent")
                of_clock.append(int(re.search(r"([\d,]+) \w+ a second", shown)[1].replace(",", "")))
            print(f"{name}: {', '.join(sizes)}", flush=True)
            print(f"  {max(of_processor):,.0f} a second of the processor, {max(of_clock):,} by the clock", flush=True)


def seconds(browser: Chromium) -> float:
    """Return the processor time of the page: of its scripts, its layout and its drawing."""
    metrics = browser.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "TaskDuration")


if __name__ == "__main__":
    main()
