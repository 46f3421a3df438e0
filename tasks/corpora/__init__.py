"""The readers of corpora, by name. To add one: write `tasks/corpora/<name>.py`, and name its class here."""

from tasks.corpora.corpus import ANNOTATIONS, LABELS, Corpus
from tasks.corpora.covost2 import CoVoST2Corpus
from tasks.corpora.gigaspeech import GigaSpeechCorpus
from tasks.corpora.librispeech import LibriSpeechCorpus
from tasks.corpora.manifest import ManifestCorpus
from tasks.corpora.synthetic_reader import SyntheticCorpus

READERS: dict[str, type[Corpus]] = {
    "covost2": CoVoST2Corpus,
    "gigaspeech": GigaSpeechCorpus,
    "librispeech": LibriSpeechCorpus,
    "manifest": ManifestCorpus,
    "synthetic": SyntheticCorpus,
}

__all__ = ["ANNOTATIONS", "LABELS", "READERS", "Corpus"]
