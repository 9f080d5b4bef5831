"""One training on several processes: who takes which part of a batch, whose random numbers, and the mean of gradients.

Every process holds the whole model and the same state (`vaebench.engine.sharding`: or a part), and does every step on
its part of the batch. The random numbers of a step are those of one process on the whole batch, of which each keeps its
part: so all generators stay alike, and a checkpoint is the same whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vaebench.contracts import draws, parts
from vaebench.errors import UserError


class SharedError(UserError):
    """What is wrong with a training in the eyes of all its processes: one says it for all."""


@dataclass(frozen=True)
class Ranks:
    """``rank``: of this process among ``size``; the first one has the run, and writes.

    ``shard``, ``recompute``: what is done for less memory, see `vaebench.engine.sharding`. ``compile``: how PyTorch
    compiles a step's loss; None: not at all. ``talk``: the group of all in which one may wait for hours, for another
    that decodes files; None: there is no other.
    """

    rank: int = 0
    size: int = 1
    shard: bool = False
    recompute: bool = False
    compile: str | None = None
    talk: Any = None

    def part(self, rows: Tensor) -> Tensor:
        """Its rows of a batch, whose number is a multiple of the size."""
        return rows.chunk(self.size)[self.rank]

    def at_work(self) -> AbstractContextManager[None]:
        """Inside it, statistics over a batch are those of all parts."""
        return draws.at_work(self.rank, self.size)

    def share(self, model: nn.Module) -> None:
        """Give all the first one's weights and buffers: machines may differ in the last bit of what they draw."""
        if self.size > 1:
            with torch.no_grad():
                for tensor in (*model.parameters(), *model.buffers()):
                    if parts.is_part(tensor):
                        continue
                    distributed.broadcast(tensor.data, src=0)

    def whole(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state with all of each tensor, where this process has a part."""
        return parts.whole(state) if self.shard else state

    def drawing(self, count: int) -> AbstractContextManager[Any]:
        """Inside it, what is drawn for ``count`` items is this process's part of what is drawn for all."""
        return _Draws(count, self) if self.size > 1 else nullcontext()

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean of the gradients over the processes in place of each; those of parts are means already."""
        if self.size == 1:
            return
        grads = [one.grad for one in parameters if one.grad is not None and not parts.is_part(one)]
        if not grads:
            return
        flat = torch.cat([grad.flatten() for grad in grads])
        distributed.all_reduce(flat)
        flat /= self.size
        for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def means(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The means over the processes, by name."""
        if self.size == 1 or not values:
            return dict(values)
        flat = torch.cat([value.flatten() for value in values.values()])
        distributed.all_reduce(flat)
        split = (flat / self.size).split([value.numel() for value in values.values()])
        return {name: part.view_as(value) for (name, value), part in zip(values.items(), split, strict=True)}

    def first_says(self, *what: bool) -> tuple[bool, ...]:
        """What the first process says, to all. On the processor, so that no GPU is waited for."""
        if self.size == 1:
            return what
        said = torch.tensor([float(bool(one) and self.rank == 0) for one in what])
        distributed.all_reduce(said)
        return tuple(map(bool, said.tolist()))

    def told(self, what: Any) -> Any:
        """What the first process has there."""
        said = [what]
        if self.size > 1:
            distributed.broadcast_object_list(said, src=0, device=torch.device("cpu"))
        return said[0]

    def all_of(self, what: Any) -> list[Any]:
        """What each process has there, by rank."""
        found = [what] * self.size
        if self.size > 1:
            distributed.all_gather_object(found, what)
        return found

    @contextmanager
    def agreeing(self) -> Iterator[dict[str, Any]]:
        """Inside it each process prepares, and notes facts in which all must be alike (`check_alike`)."""
        facts: dict[str, Any] = {}
        try:
            yield facts
        except Exception as error:
            self.check_alike({}, str(error) or type(error).__name__)
            raise
        self.check_alike(facts)

    def check_alike(self, facts: Mapping[str, Any], problem: str = "") -> None:
        """Raise `SharedError` if the processes are about to make something else: another version, other data.

        ``problem``: why this one cannot begin; all raise it.
        """
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, (dict(facts), problem), group=self.talk)
        for rank, (_, why) in enumerate(found):
            if why:
                raise SharedError(why if rank == 0 else f"process {rank} of the training: {why}")
        for rank, (other, _) in enumerate(found):
            for name in facts:
                if other.get(name) != found[0][0].get(name):
                    raise SharedError(
                        f"runtime.processes={self.size}: process {rank} has {name} {other.get(name)}, the first one "
                        f"{found[0][0].get(name)}; start them with the same code, data and store"
                    )


ALONE = Ranks()


class _Draws(TorchFunctionMode):
    """Draws for the whole batch where PyTorch is asked for the numbers of a part of it, and gives the part.

    A draw is for the batch's items if its first dimension (`draws.along`: another one) is a multiple of their number:
    of their tokens, if not of themselves. One with a generator of its own is left alone.
    """

    def __init__(self, count: int, ranks: Ranks) -> None:
        super().__init__()
        self.count, self.ranks = count, ranks

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if given.get("generator") is not None or draws.dimension() is None:
            return func(*args, **given)
        if func in _REFUSED:
            raise UserError(
                f"runtime.processes: a step draws with {func.__name__}, which cannot be cut into parts; draw with "
                "torch.rand, randn or randint, or within vaebench.contracts.draws.whole()"
            )
        draw: Any = func
        if func in (torch.randn_like, torch.rand_like):
            return self._part(args[0].shape, lambda shape: draw(_larger(args[0], shape), *args[1:], **given))
        if func in (torch.randn, torch.rand):
            sizes = args[0] if args and not isinstance(args[0], int) else args or given.pop("size")
            return self._part(sizes, lambda shape: draw(shape, **given))
        if func is torch.randint:
            *bounds, sizes = args if "size" not in given else (*args, given.pop("size"))
            return self._part(sizes, lambda shape: draw(*bounds, shape, **given))
        if func in (F.dropout, torch.dropout):
            return self._dropout(draw, *args, **given)
        return func(*args, **given)

    def _part(self, sizes: Sequence[int], draw: Callable[[list[int]], Tensor]) -> Tensor:
        shape, dimension = list(sizes), draws.dimension()
        if dimension is None or len(shape) <= dimension or not shape[dimension] or shape[dimension] % self.count:
            return draw(shape)
        shape[dimension] *= self.ranks.size
        return draw(shape).chunk(self.ranks.size, dim=dimension)[self.ranks.rank]

    def _dropout(self, draw: Any, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """The mask is PyTorch's own, of ones."""
        if not training or p == 0:
            return x
        return x * self._part(x.shape, lambda shape: draw(_larger(x, shape).fill_(1), p, True))


def _larger(x: Tensor, shape: Sequence[int]) -> Tensor:
    """An empty tensor like another one, of a larger shape: what is drawn for it is laid out as for that."""
    order = sorted(range(x.dim()), key=lambda dim: x.stride(dim))
    strides, step = [0] * x.dim(), 1
    for dim in order:
        strides[dim], step = step, step * shape[dim]
    return torch.empty_strided(list(shape), strides, dtype=x.dtype, device=x.device)


# Ways to draw that nothing of ours uses in a step; cut they would have to be, too.
_REFUSED = frozenset(
    {
        *(torch.bernoulli, torch.normal, torch.multinomial, torch.poisson, torch.randint_like, torch.randperm),
        *(Tensor.bernoulli_, Tensor.normal_, Tensor.uniform_, Tensor.exponential_, Tensor.random_, Tensor.cauchy_),
        *(F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, F.gumbel_softmax, F.rrelu),
    }
)
