"""DMVAE (arXiv 2512.07778): an autoencoder whose latents, all together, are led to a reference distribution.

Time 0 is noise and 1 is data, as in the authors' code; their formulas run the other way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.config.signatures import Count, Fraction, NonNegative, checked, require
from vaebench.contracts import Batch, LossOutput, Phase, TrainingData
from vaebench.errors import UserError
from vaebench.nn import across
from vaebench.nn.averaged import Averaged
from vaebench.nn.flows import flow, laws, matching
from vaebench.nn.networks.feature_network import FeatureModel, filled_in
from vaebench.nn.pretrained.frozen import Frozen
from vaebench.nn.sampling import highest_label
from vaebench.nn.transformers import dit

if TYPE_CHECKING:
    from vaebench.config.request import Request

# Of a diffusion model's options, those of its network.
_SCORE = tuple(one.name for one in fields(dit.DiTOptions))


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class DMVAE(FeatureModel):
    """Autoencoder: ``ReconstructionLoss + dm_weight DM``; student: flow matching on the autoencoder's latents.

    DM moves latents by `matching.gradient`, from where the student says they come to where the teacher, a flow of the
    reference, says so. Both see ``z~ = (z - latent_mean) / latent_std`` in the tokenizer's normalisation, which stays.
    DM reaches encoder and head alone, the student's loss the student alone. The student learns at every step, the
    autoencoder at every ``autoencoder_every``-th; then both use the latents from before the autoencoder's update.

    ``guidance``: weight w of v_null + w (v_y - v_null), of both flows; 1: none. ``times``, ``anneal_to``,
    ``anneal_steps``: of DM (`matching.Times`). ``normalise_gradient``: of DM, per image. ``conditioning``: class
    (latents of a class are led to the reference's of this class) or none. ``closed_form``: ``law`` (`laws.build`) takes
    the teacher's place. ``score``: of both flows, options of `dit.DiT` without the latents' shape. ``label_dropout``:
    the student's. ``floor``: what the latents' deviation within a batch must not fall below. The other options are
    those of `FeatureModel`.
    """

    adopts = ("start", "teacher", "perceptual")
    keeps = ()

    dm_weight: NonNegative | None
    guidance: NonNegative
    times: Sequence[float]
    anneal_to: float | None
    anneal_steps: Count | None
    normalise_gradient: bool
    autoencoder_every: Count
    conditioning: Literal["class", "none"] | None
    closed_form: bool | None
    law: Mapping[str, Any] | None
    score: Mapping[str, Any] | None
    label_dropout: Fraction
    floor: NonNegative

    def __post_init__(self) -> None:
        score = self._score_options()
        require(*self._mistakes(score))
        self._build(stochastic=False)
        self.by_class = self.conditioning == "class"
        self.classes: int = score["classes"]
        self.student = dit.DiT(latent_shape=self.latent_shape, **score)
        self.reference = laws.build(self.law, self.latent_shape) if self.closed_form and self.law is not None else None
        self._times = matching.Times(self.times[0], self.times[1], self.anneal_to, self.anneal_steps)
        self._teacher: Frozen | None = None
        self._encoded: tuple[Tensor, Tensor] | None = None  # a batch's images and their z~, for the same step's student

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The autoencoder's, where there is a discriminator then its own, the student's."""
        every = self.autoencoder_every
        autoencoder = Phase("autoencoder", tuple(self.network.parameters()), self.loss, every)
        student = Phase("student", tuple(self.student.parameters()), self.student_loss)
        return autoencoder, *self.reconstruction.judging(self.discriminator_loss, every), student

    @property
    def floors(self) -> Mapping[str, tuple[float, str]]:
        """Latents that have become one point match nothing and cannot be decoded."""
        advice = "the latents have collapsed; try a smaller model.dm_weight, optim.lr or model.guidance"
        return {"autoencoder/latent_std": (self.floor, advice)} if self.floor else {}

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """The autoencoder's. Terms of the `ReconstructionLoss`, ``dm``: mean ``|g|``, and two of the batch's ``z~``.

        ``latent_mean``: over all its numbers. ``latent_std``: of each number over the batch, root of the mean square.
        """
        z = self.network.encode(batch.x)
        seen = self._normalised(z)
        fixed = seen.detach()
        self._encoded = batch.x, fixed
        total, terms = self.reconstruction.loss(self.network.decode(z), batch.x, step, self.network.last_weight)
        g = self._gradient(fixed, batch.y, step)
        terms["dm"] = g.abs().mean()
        terms["latent_mean"] = fixed.mean()
        if len(fixed) * across.parts() > 1:  # one item has no deviation, collapsed or not
            terms["latent_std"] = across.var_mean(fixed.flatten(1), correction=0)[0].mean().sqrt()
        assert self.dm_weight is not None
        return LossOutput(total + self.dm_weight * matching.loss(seen, g), terms)

    def student_loss(self, batch: Batch, step: int) -> LossOutput:
        """Flow matching, ``|v(z~_t, t, y) - (z~ - eps)|^2``, mean over elements, t uniform; nothing reaches z~."""
        z = self._latents(batch.x)
        labels = flow.drop_labels(self._labels(batch.y), self.label_dropout if self.by_class else 0.0, self.classes)
        return LossOutput(flow.matching_loss(partial(self.student, labels=labels), z, "uniform"))

    def look(self, data: TrainingData) -> None:
        """Raise `UserError` if evenly spread items have labels that the flows do not know; draws nothing."""
        if not self.by_class:
            return
        highest = highest_label(data)
        if highest >= self.classes:
            raise UserError(
                f"model.conditioning=class: {data.name} has labels up to {highest}, the teacher knows {self.classes} "
                "classes; train it with this number of model.classes, or set model.conditioning=none"
            )

    @staticmethod
    def completed(
        options: Mapping[str, Any], parents: Mapping[str, Request], reference: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """See `Completed`: the network is as in the run it begins with, the rest follows from teacher and reference.

        Raises `UserError`: matching within classes without classes, a closed form without a law, a teacher of another
        method, or an option that has its place elsewhere.
        """
        options, about = filled_in(options, parents), reference or {}
        if "teacher" not in parents:
            return options
        elsewhere = {"score": "model options in chain.teacher.overrides", "law": "options of reference"}
        given = [name for name in elsewhere if options.get(name) is not None]
        require(*(f"model.{name}: leave it out, it is filled in; set the {elsewhere[name]}" for name in given))
        teacher, law = parents["teacher"]["model"], about.get("law")
        if any(name not in teacher for name in _SCORE):
            name = str(teacher.get("_target_")).rpartition(".")[2]
            raise UserError(
                f"{parents['teacher'].where}: {name} is no latent diffusion model; name one (experiment=dmvae/teacher)"
            )
        impossible = []
        if options["conditioning"] == "class" and not teacher["classes"]:
            impossible.append(
                f"model.conditioning=class: reference {about.get('name', 'of the teacher')} has no labels, so its "
                "teacher knows no classes; set model.conditioning=none"
            )
        if options["closed_form"] and law is None:
            impossible.append("model.closed_form=true: only reference=gaussian and reference=gmm have a closed form")
        require(*impossible)
        closed = law is not None if options["closed_form"] is None else options["closed_form"]
        weight = about.get("dm_weight", 10.0) if options["dm_weight"] is None else options["dm_weight"]
        return options | {
            "score": {**{name: teacher[name] for name in _SCORE}, "null": teacher["label_dropout"] > 0},
            "conditioning": options["conditioning"] or ("class" if teacher["classes"] else "none"),
            "closed_form": closed,
            "law": law if closed else None,
            "dm_weight": float(weight) if options["dm_weight"] is None else weight,
        }

    def adopt(self, role: str, parent: nn.Module) -> None:
        """Start with another network's weights, then take the teacher; or the classifier of the perceptual term."""
        perceive = self.reconstruction.perceptual.perceive
        {"start": self._start, "teacher": self._teach, "perceptual": perceive}[role](parent)

    def _start(self, trained: nn.Module) -> None:
        self._take_over(trained, "DMVAE starts with a feature autoencoder or another DMVAE")

    def _teach(self, teacher: nn.Module) -> None:
        """Take a trained `LDM`: its averaged weights are the teacher's and the student's first; after the start.

        With ``closed_form`` the student's alone. The teacher is not stored with the model.

        Raises `UserError`: it is another model, for other latents, in another normalisation or with another network.
        """
        averaged: Any = getattr(teacher, "averaged", None)
        if not isinstance(averaged, Averaged) or not isinstance(averaged.network, dit.DiT):
            raise UserError(f"DMVAE's teacher is a latent diffusion model (model=ldm), not {type(teacher).__name__}")
        require(*self._unlike(teacher))
        try:
            self.student.load_state_dict(averaged.network.state_dict())
        except RuntimeError as error:
            raise UserError(
                "model.score: the teacher's network has other weights than these options describe; leave it null, it "
                "is filled in"
            ) from error
        if self.reference is None:
            self._teacher = Frozen(copy.deepcopy(self.student))

    def _normalised(self, z: Tensor) -> Tensor:
        return (z - self.latent_mean) / self.latent_std

    def _latents(self, x: Tensor) -> Tensor:
        """``z~`` without a graph: what the autoencoder's turn of this step has found, or by the encoder as it is."""
        encoded, self._encoded = self._encoded, None
        if encoded is not None and encoded[0] is x:
            return encoded[1]
        with torch.no_grad():
            return self._normalised(self.network.encode(x))

    def _labels(self, labels: Tensor) -> Tensor:
        """What the flows are told: the classes, or "any class"; flows that know no classes ignore it."""
        return labels if self.by_class else torch.full_like(labels, self.classes)

    def _gradient(self, z: Tensor, labels: Tensor, step: int) -> Tensor:
        """`matching.gradient` of ``z~`` without a graph; both flows in evaluation mode."""
        labels = self._labels(labels)
        t = self._times.draw(len(z), step, z.device)
        noise = torch.randn_like(z)
        fake = matching.guided(self.student, labels, null=self.classes, weight=self.guidance)
        self.student.eval()
        g = matching.gradient(z, noise, t, real=self._real(labels), fake=fake, normalise=self.normalise_gradient)
        self.student.train(self.training)
        return g

    def _real(self, labels: Tensor) -> matching.Velocity:
        """The reference's velocity. Raises `UserError` if there is neither a law nor a teacher."""
        if self.reference is not None:
            return self.reference.velocity
        if self._teacher is None:
            raise UserError("DMVAE follows a trained latent diffusion model, and none was given: name chain.teacher")
        return matching.guided(self._teacher, labels, null=self.classes, weight=self.guidance)

    def _score_options(self) -> Mapping[str, Any]:
        """The score networks' options. Raises `UserError` for all that is missing, or that no `dit.DiT` takes."""
        filled_in = ("score", "dm_weight", "conditioning", "closed_form")
        missing = [name for name in filled_in if getattr(self, name) is None]
        require(
            *(f"model.{name}=null: it is filled in from the teacher and its reference; name them" for name in missing)
        )
        assert self.score is not None
        require(*signatures.mistakes("model.score", self.score, dit.DiT, needed_by="DiT", provided={"latent_shape"}))
        return self.score

    def _mistakes(self, score: Mapping[str, Any]) -> Iterator[str]:
        """One line for each two options that do not go together, and for what the flows have no labels for."""
        yield from matching.time_mistakes(self.times, self.anneal_to, self.anneal_steps)
        if self.closed_form and self.law is None:
            yield (
                "model.law=null: model.closed_form=true needs one, and the reference has none; set "
                "model.closed_form=false"
            )
        by_class, guided = self.conditioning == "class", self.guidance != 1
        if by_class and not score["classes"]:
            yield "model.conditioning=class: the teacher knows no classes; set model.conditioning=none"
        if guided and (self.closed_form or not by_class):
            yield f"model.guidance={self.guidance}: without classes there is nothing to be guided to; use 1"
        needs = {
            f"model.guidance={self.guidance}": guided and by_class and not self.closed_form,
            f"model.label_dropout={self.label_dropout}": self.label_dropout > 0 and by_class,
            "model.conditioning=none": not by_class,
        }
        for option, needed in needs.items():
            if needed and score["classes"] and not score["null"]:
                yield (
                    f"{option}: the teacher was trained with label_dropout=0 and has no label for any class; "
                    "train it with 0.1"
                )

    def _unlike(self, teacher: Any) -> Iterator[str]:
        """One line for each thing about a teacher's latents that is not so with these; there may be no values yet."""
        if tuple(teacher.latent_shape) != tuple(self.latent_shape):
            yield (
                f"model.latent_channels={self.latent_shape[0]}: latents are {list(self.latent_shape)}, the teacher's "
                f"are {list(teacher.latent_shape)}; train it on a reference for this tokenizer"
            )
        ours, theirs = (self.latent_mean, self.latent_std), (teacher.mean, teacher.std)
        if not self.latent_mean.is_meta and not all(
            torch.allclose(their.to(our.device), our) for our, their in zip(ours, theirs, strict=True)
        ):
            yield (
                f"the tokenizer's latents have mean {float(ours[0]):.4g} and deviation {float(ours[1]):.4g}, the "
                f"teacher was trained with {_values(theirs[0])} and {_values(theirs[1])}; train it with "
                "model.statistics=autoencoder on a reference for this tokenizer"
            )


def _values(x: Tensor) -> str:
    """The one value of a tensor, or its range."""
    low, high = float(x.min()), float(x.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
