"""The MobileNet students of arXiv 2408.13920, on timm: V4 small, medium and large, V3 small."""

from sertool import Model, hookimpl

#: Student -> (timm's trunk and the weights meant for it, LogMel's n_fft, fewest samples, millions of parameters in
#: the paper's Table I; network.py says how far these are from it).
STUDENTS = {
    "mobilenetv4-small": ("mobilenetv4_conv_small.e1200_r224_in1k", 64, 33, 3.12),
    "mobilenetv4-medium": ("mobilenetv4_hybrid_medium.ix_e550_r384_in1k", 64, 33, 10.38),
    # Its four anti-aliasing poolings without padding halve 31 frames at least.
    "mobilenetv4-large": ("mobilenetv4_conv_aa_large.e230_r448_in12k_ft_in1k", 144, 2160, 31.87),
    "mobilenetv3-small": ("mobilenetv3_small_075.lamb_in1k", 64, 33, 3.14),
}


def _lazily(trunk, n_fft, shortest):
    def build(**options):
        from .network import MobileNet

        return MobileNet(trunk, n_fft, shortest, **options)

    return build


@hookimpl
def register_models(register):
    for name, (trunk, n_fft, shortest, millions) in STUDENTS.items():
        register(
            Model(
                name=name,
                summary=f"{trunk} of timm (arXiv 2408.13920): {millions:.1f} M parameters, LogMel inside",
                build=_lazily(trunk, n_fft, shortest),
                outputs=("arousal", "dominance", "valence"),
                shortest=shortest,
                published={
                    "source": "arXiv 2408.13920, Table I",
                    "figures": {variant: {"parameters": millions * 1e6} for variant in ("fp32", "int8")},
                },
            )
        )
