"""A training with its two files: the model file with the best weights, and the checkpoint to resume from."""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from charlm.checkpoint import checkpoint_path, save, save_training
from charlm.errors import DivergenceError, ModelFileError, ResourceError
from charlm.inference.figures import figures
from charlm.session import Session
from charlm.storage.container import Container
from charlm.training import Progress

# Seconds between saves, at evaluations and at other steps. Saving takes time, and a kill loses the steps since.
SAVE_SECONDS = {True: 2.0, False: 60.0}
# The least time between saves, in the time that the last one took: a large model is saved less often.
SAVE_RATIO = 20.0


class SavedTraining:
    """A training that is saved on the way.

    model_path: the model file; the checkpoint lies beside it
    corpus: SHA-256 of the text, as hexadecimal digits
    keep: whether the checkpoint stays after the end: None removes it then, False never writes one
    after_step: called after each step with whether it is going to be saved, before that and before `is_stopped`
    """

    def __init__(self, session: Session, model_path: Path, corpus: str, *, keep: bool | None = True) -> None:
        self._trainer, self._language_model = session.trainer, session.language_model
        self._model_path, self._corpus, self._keep = model_path, corpus, keep
        self.after_step: Callable[[bool], object] = lambda _: None

    def begin(self) -> None:
        """Write the first checkpoint of a new run, so that none of an older run can be resumed in its place."""
        if self._keep is False:
            self._remove_checkpoint()
        elif not self._trainer.step:
            self._save_checkpoint()

    def learn(self, watch: Callable[[Progress], None], is_stopped: Callable[[], bool]) -> None:
        """Train to the end, or until `is_stopped` returns true after a step; call `watch` after each step.

        Raises DivergenceError and MemoryError after saving what is of use.
        """
        trainer, saved, is_better, took = self._trainer, time.perf_counter(), True, 0.0
        try:
            for progress in trainer.run():
                watch(progress)
                is_better = is_better or progress.is_best
                now = time.perf_counter()
                is_due = now - saved > max(SAVE_SECONDS[progress.is_evaluation], SAVE_RATIO * took)
                self.after_step(is_due)
                if is_due:
                    self._save(model=is_better and trainer.verdict.is_usable(on_the_way=True))
                    is_better, saved = False, time.perf_counter()
                    took = saved - now
                if is_stopped():
                    break
        except DivergenceError:
            if trainer.verdict.has_learned():
                self._save_model()
            raise
        except MemoryError as error:
            # The arrays in the frames are memory to save with.
            traceback.clear_frames(error.__traceback__)
            trainer.free_buffers()
            # In the middle of a step the checkpoint from before it stays.
            if trainer.is_whole:
                with contextlib.suppress(MemoryError):
                    self._save_checkpoint()
                    if trainer.verdict.has_learned():
                        self._save_model()
            raise

    def test(self, lines: Iterable[str]) -> None:
        """Judge the best weights on a text, in the format of the corpus, and keep the figures for the model file."""
        before = self._trainer.state()
        self._trainer.take_best()
        found = figures(self._language_model, lines)
        self._trainer.restore(before)
        scalars = {name: value for name, value in found.items() if isinstance(value, str | int | float)}
        # The speed is not the same twice.
        scalars.pop("tokens_per_second", None)
        finite = {name: v for name, v in scalars.items() if not isinstance(v, float) or math.isfinite(v)}
        self._language_model.run.test = finite

    def finish(self, *, is_stopped: bool = False) -> None:
        """Write the model file if the best weights are worth one, and the checkpoint unless the training has ended.

        is_stopped: whether the training was broken off, and so is to be continued
        """
        if self._keep is None and not is_stopped:
            # Until the model is on the disk, an older checkpoint can still be resumed.
            self._save_model_or_checkpoint()
            self._remove_checkpoint()
        else:
            self._save(model=self._trainer.verdict.is_usable())

    def renew_model(self) -> None:
        """Write the model file of a finished training if it is missing or outdated.

        Raises DivergenceError if the best weights are useless.
        """
        try:
            stored = Container(self._model_path).arrays()
        except ModelFileError:
            stored = {}
        best = self._trainer.best_weights()
        if stored.keys() != best.keys() or not all(np.array_equal(stored[name], best[name]) for name in best):
            self._trainer.verdict.check()
            self._save_model()

    def _save(self, *, model: bool) -> None:
        """Write the model file, if asked to, and the checkpoint, even if the model file cannot be written."""
        if model:
            self._save_model_or_checkpoint()
        self._save_checkpoint()

    def _save_model_or_checkpoint(self) -> None:
        """Write the model file; if it cannot be written, write the checkpoint and raise ResourceError."""
        try:
            self._save_model()
        except ResourceError as error:
            if self._keep is False:
                raise
            self._save_checkpoint()
            hint = f"{error.hint}; the checkpoint is saved: continue with --resume"
            raise ResourceError(error.message, hint=hint) from error

    def _save_model(self) -> None:
        language_model = replace(self._language_model, outcome=self._trainer.outcome())
        save(self._model_path, language_model, weights=self._trainer.best_weights())

    def _save_checkpoint(self) -> None:
        if self._keep is not False:
            path = checkpoint_path(self._model_path)
            save_training(path, self._language_model, self._trainer.state(), corpus=self._corpus)

    def _remove_checkpoint(self) -> None:
        # A file that cannot be removed is left: the model does not need it.
        with contextlib.suppress(OSError):
            checkpoint_path(self._model_path).unlink(missing_ok=True)
