"""A network's embedding: what its last layers turn into the outputs.

A network that has one has two methods: ``embedding(waveform)``, [batch, samples] -> [batch, width], and
``answer(embedding)``, [batch, width] -> [batch, outputs]; ``forward`` is the one after the other. If the embedding is
pooled from tokens, it may also have ``embedding_and_tokens(waveform)``: both, tokens as [batch, tokens, width].
"""

from typing import Any

from torch import Tensor, nn

from sertool.errors import UsageError


class WithEmbedding(nn.Module):
    """A network (as in a bundle, maybe with a softmax) that returns (outputs, embedding), and tokens if it has them.

    Raises UsageError for a network without an embedding.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        inner: Any = module[0] if isinstance(module, nn.Sequential) else module
        if not (hasattr(inner, "embedding") and hasattr(inner, "answer")):
            raise UsageError(f"{type(inner).__name__} has no embedding: it needs methods embedding and answer")
        self.module, self.last = module, module[1:] if isinstance(module, nn.Sequential) else nn.Identity()

    @property
    def names(self) -> list[str]:
        """The names of the outputs."""
        return ["outputs", "embedding", *(["tokens"] if hasattr(self._inner, "embedding_and_tokens") else [])]

    @property
    def _inner(self) -> Any:
        return self.module[0] if isinstance(self.module, nn.Sequential) else self.module

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        tokens: tuple[Tensor, ...] = ()
        if "tokens" in self.names:
            embedding, *tokens = self._inner.embedding_and_tokens(waveform)
        else:
            embedding = self._inner.embedding(waveform)
        outputs: Tensor = self.last(self._inner.answer(embedding))
        return outputs, embedding, *tokens
