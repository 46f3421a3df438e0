"""The synthetic corpus: commands, keywords and emotions, spoken by espeak-ng. Real speech of unreal speakers.

One corpus holds three disjoint groups of utterances. Commands have a text, phonemes, a German translation and an
intent; keywords are single words; emotions are commands spoken in four manners. An annotation that does not apply is
None, so a task uses the utterances that have its annotation. The splits share no voice and no sentence; test has an
accent and sentence templates of its own.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from tasks.corpora.synthetic.espeak import Espeak
from tasks.corpora.synthetic.utterance import PRESETS, Preset, Utterance, utterances
from tasks.corpora.synthetic.voices import SAMPLE_RATE, render

__all__ = ["PRESETS", "SAMPLE_RATE", "VERSION", "Preset", "Utterance", "engine", "speak", "speak_all", "utterances"]

VERSION = 1
"""Raised whenever the same preset and seed would give other speech or annotations."""

_AHEAD = 8
"""Utterances a worker makes before the first of them is asked for."""


def engine() -> str:
    """The synthesiser and its version, such as `espeak-ng 1.52.0`. Another one gives other audio."""
    with Espeak() as espeak:
        return f"espeak-ng {espeak.version}"


def speak(utterance: Utterance) -> np.ndarray:
    """The audio of an utterance, float32 [samples] at 16 kHz, |x| < 1. It depends on the utterance alone."""
    with Espeak() as espeak:
        return render(espeak.say(utterance.speech), utterance.scene)


def speak_all(utterances: Iterable[Utterance], workers: int = 1) -> Iterator[tuple[str, np.ndarray]]:
    """Speaks many utterances, each as `speak` does, and yields (id, wave) in their order.

    Args:
        workers: synthesisers at work side by side, each a process of its own.
    """
    with ExitStack() as stack:
        idle: queue.SimpleQueue[Espeak] = queue.SimpleQueue()
        for _ in range(workers):
            idle.put(stack.enter_context(Espeak()))

        def work(utterance: Utterance) -> tuple[str, np.ndarray]:
            espeak = idle.get()
            try:
                samples = espeak.say(utterance.speech)
            finally:
                idle.put(espeak)
            return utterance.id, render(samples, utterance.scene)

        threads = ThreadPoolExecutor(workers)
        # Last in, first out: when the caller stops early, the threads end before their synthesisers do.
        stack.callback(threads.shutdown, cancel_futures=True)
        ahead: deque[Future[tuple[str, np.ndarray]]] = deque()
        for utterance in utterances:
            ahead.append(threads.submit(work, utterance))
            if len(ahead) > _AHEAD * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
