"""The MobileNet students of arXiv 2408.13920, built on timm: V4 small, medium and large, V3 small."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sertool import Model, hookimpl

#: Student -> (name of timm's trunk and its weights, n_fft of LogMel, minimum number of samples, the paper's Table I for
#: 5 s: parameters in millions, operations in G, memory in MB, ms). network.py compares our parameter counts.
STUDENTS = {
    "mobilenetv4-small": ("mobilenetv4_conv_small.e1200_r224_in1k", 64, 33, (3.12, 0.4, 36, 5)),
    "mobilenetv4-medium": ("mobilenetv4_hybrid_medium.ix_e550_r384_in1k", 64, 33, (10.38, 1.7, 94, 13)),
    "mobilenetv4-large": ("mobilenetv4_conv_aa_large.e230_r448_in12k_ft_in1k", 144, 2160, (31.87, 2.2, 257, 24)),
    "mobilenetv3-small": ("mobilenetv3_small_075.lamb_in1k", 64, 33, (3.14, 0.4, 22, 11)),
}


def _lazily(trunk: str, n_fft: int) -> Callable[..., Any]:
    def build(**options: Any) -> Any:
        from .network import MobileNet

        return MobileNet(trunk, **{"n_fft": n_fft, **options})

    return build


@hookimpl
def register_models(register: Callable[[Model], None]) -> None:
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
