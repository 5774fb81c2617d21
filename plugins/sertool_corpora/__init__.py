"""Folder layouts of labelled audio."""

from sertool import Corpus, hookimpl


def read_manifest(root):
    from .manifest import read

    return read(root)


@hookimpl
def register_corpora(register):
    register(
        Corpus("manifest", "a folder with manifest.csv: file, speaker, and any of emotion, split, ...", read_manifest)
    )
