"""espeak-ng, the speech synthesiser, as the package espeakng-loader bundles it: text and voice in, samples out.

A reused espeak-ng is not deterministic: state carries over from one utterance to the next. So this file is two things.
Imported, it is the client. Run as a script it is a small server (the standard library only, one thread, no packages of
ours) that loads the library once and answers every request in a fork of that pristine state. The audio of an utterance
then depends on nothing but its settings, and the fork is safe whatever threads the client's process has.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

SAMPLE_RATE = 22_050
"""Hz, of the samples that espeak-ng gives."""

# Of espeak-ng's speak_lib.h
_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}

_LENGTH = struct.Struct("<q")
"""Before each answer: how many bytes of samples follow, or -1 where the synthesis failed."""


@dataclass(frozen=True)
class Speech:
    """What is said and how.

    Attributes:
        text: English, plain words.
        voice: an espeak-ng voice with its variant, such as `en-us+f2`.
        rate: words a minute, 80 to 450.
        pitch: 0 to 100; 50 is the variant's own.
        range: of the pitch around its mean, 0 (monotone) to 100; 50 is the variant's own.
        volume: 0 to 200.
    """

    text: str
    voice: str
    rate: int
    pitch: int
    range: int
    volume: int = 80


class Espeak:
    """A running synthesiser; close it or use it in a `with`. Not for two threads at once: each takes its own."""

    def __init__(self) -> None:
        import espeakng_loader

        command = [sys.executable, "-I", "-S", __file__]
        command += [espeakng_loader.get_library_path(), espeakng_loader.get_data_path()]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.version: str = self._read(self._answer()).decode()

    def say(self, speech: Speech) -> bytes:
        """The samples: 16-bit integers in the machine's byte order at 22,050 Hz.

        Raises:
            ValueError: espeak-ng has no such voice, or nothing to say.
        """
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(asdict(speech)).encode() + b"\n")
        self._server.stdin.flush()
        length = self._answer()
        if length <= 0:
            raise ValueError(f"espeak-ng can't say {speech!r}")
        return self._read(length)

    def close(self) -> None:
        """Ends the server."""
        self._server.communicate()

    def __enter__(self) -> Espeak:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> int:
        return int(_LENGTH.unpack(self._read(_LENGTH.size))[0])

    def _read(self, size: int) -> bytes:
        assert self._server.stdout is not None
        found = self._server.stdout.read(size)
        if len(found) < size:
            raise RuntimeError(f"espeak-ng ended unexpectedly (exit status {self._server.wait()})")
        return found


def _serve(library: str, data: str) -> None:
    espeak = ctypes.CDLL(library)
    if espeak.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DONT_EXIT) != SAMPLE_RATE:
        sys.exit(f"espeak-ng can't read its data in {data}")
    espeak.espeak_Info.restype = ctypes.c_char_p
    version = espeak.espeak_Info(None).split()[0]
    _write(_LENGTH.pack(len(version)) + version)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                samples = _synthesise(espeak, json.loads(line))
                _write(_LENGTH.pack(len(samples)) + samples)
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            _write(_LENGTH.pack(-1))


def _synthesise(espeak: ctypes.CDLL, speech: dict[str, Any]) -> bytes:
    heard = bytearray()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def listen(samples: int | None, count: int, _: int | None) -> int:
        if samples and count:
            heard.extend(ctypes.string_at(samples, 2 * count))
        return 0

    # Some voices breathe at random: by espeak-ng's own generator, seeded by the clock, and by the C library's.
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
    ctypes.CDLL(None).srand(1)
    espeak.espeak_SetSynthCallback(listen)
    if espeak.espeak_SetVoiceByName(speech["voice"].encode()) != 0:
        raise ValueError(speech["voice"])
    for name, number in _PARAMETERS.items():
        espeak.espeak_SetParameter(number, speech[name], 0)
    text = speech["text"].encode()
    espeak.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, _UTF8, None, None)
    espeak.espeak_Synchronize()
    return bytes(heard)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    _serve(*sys.argv[1:])
