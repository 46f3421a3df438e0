"""The readers of corpora, by name. To add one: write `tasks/corpora/<name>.py`, and name its class here."""

from tasks.corpora.corpus import ANNOTATIONS, LABELS, Corpus
from tasks.corpora.covost2 import CoVoST2Corpus
from tasks.corpora.crema_d import CremaDCorpus
from tasks.corpora.fluent_speech_commands import FluentSpeechCommandsCorpus
from tasks.corpora.gigaspeech import GigaSpeechCorpus
from tasks.corpora.huggingface import HuggingFaceCorpus
from tasks.corpora.iemocap import IemocapCorpus
from tasks.corpora.librispeech import LibriSpeechCorpus
from tasks.corpora.manifest import ManifestCorpus
from tasks.corpora.ravdess import RavdessCorpus
from tasks.corpora.slurp import SlurpCorpus
from tasks.corpora.speech_commands import SpeechCommandsCorpus
from tasks.corpora.synthetic_reader import SyntheticCorpus

READERS: dict[str, type[Corpus]] = {
    "covost2": CoVoST2Corpus,
    "gigaspeech": GigaSpeechCorpus,
    "librispeech": LibriSpeechCorpus,
    "manifest": ManifestCorpus,
    "synthetic": SyntheticCorpus,
    "slurp": SlurpCorpus,
    "fluent_speech_commands": FluentSpeechCommandsCorpus,
    "speech_commands": SpeechCommandsCorpus,
    "iemocap": IemocapCorpus,
    "crema_d": CremaDCorpus,
    "ravdess": RavdessCorpus,
    "huggingface": HuggingFaceCorpus,
}

__all__ = ["ANNOTATIONS", "LABELS", "READERS", "Corpus"]
