"""Teachers: built from a recipe, asked beside the student's work."""

import torch

from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.training import loop
from sertool.training.loop import made
from sertool.training.recipe import Recipe, substituted


def asker(teacher, settings, device):
    """ask(waveforms [batch, samples], files=None): what a teacher says of them, [batch, k]; it moves to the device.

    ``files`` are the recordings that the clips are of: a teacher with ``knows_files`` answers for each one apart.
    """
    teacher = folded(teacher).to(device, memory_format=torch.channels_last)

    def ask(waveforms, files=None):
        more = {"files": files} if files and getattr(teacher, "knows_files", False) else {}
        with torch.inference_mode(), loop.mixed_precision(settings, device):
            answers = teacher(waveforms, **more).float()
        return answers.clone()  # made in inference mode, it could not take part in a loss

    return ask


def build_teacher(recipe: Recipe, student) -> torch.nn.Module:
    """The recipe's teacher, frozen; UsageError if its outputs are not the student's."""
    model = load_plugins().get("models", recipe.teacher.name)
    if model.outputs != student.outputs:
        raise UsageError(
            f"teacher {model.name!r} answers {', '.join(model.outputs)}; "
            f"student {student.name!r} needs {', '.join(student.outputs)}"
        )
    teacher = made(model, substituted(recipe, recipe.teacher.options), f"teacher.options for {model.name!r}")
    return teacher.eval().requires_grad_(False)


def folded(network: torch.nn.Module) -> torch.nn.Module:
    """The network with each BatchNorm2d that follows a Conv2d in a Sequential folded into it: a third of the time."""
    for module in list(network.modules()):
        if isinstance(module, torch.nn.Sequential):
            for i in range(len(module) - 1):
                if (type(module[i]), type(module[i + 1])) == (torch.nn.Conv2d, torch.nn.BatchNorm2d):
                    module[i] = torch.nn.utils.fuse_conv_bn_eval(module[i], module[i + 1])
                    module[i + 1] = torch.nn.Identity()
    return network
