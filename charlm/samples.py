"""Samples that are drawn while a model is trained, and kept in its file."""

from __future__ import annotations

from charlm.config import SampleConfig
from charlm.errors import NonFiniteOutputError, UsageError
from charlm.inference.generation import Sampler
from charlm.inference.music import PieceSampler
from charlm.language_model import LanguageModel

_TOKENS, _STEPS = 100, 32  # at most, of a text and of a piece of music
_CHARACTERS = 500  # that are kept of a sample
_MOST = 200  # samples that are kept


class Sampling:
    """Draws a sample every `run.sample_every` steps, by the seed of the training and the number of the step.

    Of a conditioned model the labels take turns.
    Raises UsageError for a task that draws nothing, and for an invalid prompt.
    """

    def __init__(self, language_model: LanguageModel) -> None:
        self._language_model, self._run = language_model, language_model.run
        if "generate" not in language_model.commands:
            raise UsageError(
                f"--sample-every with --task {language_model.task}", hint="it is for models that generate: leave it out"
            )
        # The prompt is checked before the training begins.
        self._draw(0)

    def after(self, step: int) -> str | None:
        """Return the sample that is due after a step, and keep it; None if none is due."""
        samples, every = self._run.samples, self._run.sample_every
        if step % every or (samples and samples[-1]["step"] >= step):
            return None
        try:
            text = self._draw(step)
        except NonFiniteOutputError:
            # An explosion is left to the training.
            return None
        samples.append({"step": step, "text": text})
        if len(samples) > _MOST:
            # Every other one is dropped, so that they are spread over the whole training.
            del samples[1:-1:2]
        return text

    def _draw(self, step: int) -> str:
        """Return one sample. The sampler is a new one, because it remembers what the weights have computed."""
        model, prompt, seed = self._language_model, self._run.sample_prompt, self._language_model.train.seed
        labels = model.labels
        label = labels[step // max(1, self._run.sample_every) % len(labels)] if labels else None
        if model.facts.answers == "pieces":
            steps = PieceSampler(model, SampleConfig(length=_STEPS))
            text = steps.sample(prompt, label=label, seed=seed, number=step).text
        else:
            sampler = Sampler(model, SampleConfig(length=_TOKENS), label=label)
            text = sampler.sample(prompt, seed=seed, number=step).text
        return text[:_CHARACTERS]
