"""The MobileNet students of arXiv 2408.13920, on timm: V4 small, medium and large, V3 small."""

from pathlib import Path

from sertool import Model, hookimpl

#: Student -> (timm's trunk and the weights meant for it, LogMel's n_fft, fewest samples; of the paper's Table I, for
#: 5 s: millions of parameters, G of operations, MB of memory, ms). network.py says how far our parameters are from it.
STUDENTS = {
    "mobilenetv4-small": ("mobilenetv4_conv_small.e1200_r224_in1k", 64, 33, (3.12, 0.4, 36, 5)),
    "mobilenetv4-medium": ("mobilenetv4_hybrid_medium.ix_e550_r384_in1k", 64, 33, (10.38, 1.7, 94, 13)),
    "mobilenetv4-large": ("mobilenetv4_conv_aa_large.e230_r448_in12k_ft_in1k", 144, 2160, (31.87, 2.2, 257, 24)),
    "mobilenetv3-small": ("mobilenetv3_small_075.lamb_in1k", 64, 33, (3.14, 0.4, 22, 11)),
}


def _lazily(trunk, n_fft):
    def build(**options):
        from .network import MobileNet

        return MobileNet(trunk, **{"n_fft": n_fft, **options})

    return build


@hookimpl
def register_models(register):
    for name, (trunk, n_fft, shortest, (millions, macs, megabytes, ms)) in STUDENTS.items():
        table = {"parameters": millions * 1e6, "macs": macs * 1e9}
        measured = table | {"added_bytes": megabytes * 1e6, "seconds": ms / 1e3}
        register(
            Model(
                name=name,
                summary=f"{trunk} of timm (arXiv 2408.13920): {millions:.1f} M parameters, LogMel inside",
                build=_lazily(trunk, n_fft),
                outputs=("arousal", "dominance", "valence"),
                shortest=shortest,
                recipes=(Path(__file__).with_name(f"{name}-paper.toml"),),
                published={
                    "source": "arXiv 2408.13920, Table I",
                    "figures": {"fp32": measured, "int8": table},
                },
            )
        )
