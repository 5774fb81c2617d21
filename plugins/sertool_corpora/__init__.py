"""Folder layouts of labelled audio."""

from importlib import import_module

from sertool import Corpus, hookimpl


def _reader(module):
    def read(root):
        return import_module(f".{module}", __package__).read(root)

    return read


@hookimpl
def register_corpora(register):
    register(
        Corpus(
            "manifest", "a folder with manifest.csv: file, speaker, and any of emotion, split, ...", _reader("manifest")
        )
    )
    register(Corpus("iemocap", "IEMOCAP_full_release: Session1 to Session5, with ratings", _reader("iemocap")))
    register(Corpus("msp-podcast", "MSP-Podcast: Labels and Audios, with ratings and splits", _reader("msp_podcast")))
    register(Corpus("crema-d", "CREMA-D: AudioWAV and VideoDemographics.csv", _reader("crema_d")))
    register(Corpus("ravdess", "RAVDESS: the speech of Actor_01 to Actor_24", _reader("ravdess")))
    register(Corpus("emodb", "EmoDB: wav/03a01Fa.wav ...", _reader("emodb")))
