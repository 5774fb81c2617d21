"""The hooks a plugin may implement. Whatever is registered is light: heavy libraries load when it is used."""

import pluggy

hookspec = pluggy.HookspecMarker("sertool")
hookimpl = pluggy.HookimplMarker("sertool")


@hookspec
def register_models(register):
    """Call ``register(sertool.Model(...))`` for each network that can be built, trained and exported."""


@hookspec
def register_augmentations(register):
    """Call ``register(sertool.Augmentation(...))`` for each way of changing audio while training."""


@hookspec
def register_exporters(register):
    """Call ``register(sertool.Exporter(...))`` for each file format that a network can be written to."""


@hookspec
def register_corpora(register):
    """Call ``register(sertool.Corpus(...))`` for each folder layout of labelled audio that can be read."""


@hookspec
def register_commands(cli):
    """Add click commands to ``cli``, the group behind ``sertool``."""
