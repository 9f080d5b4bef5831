"""Samples of a distribution that latents are matched with, in the raw units of the autoencoder they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.choices import choices
from vaebench.config.request import Request
from vaebench.contracts import FittedEmbedder, GivesLatents, Normalised, ReferenceInputs, Work
from vaebench.disk import sha256_of
from vaebench.errors import UserError
from vaebench.runs import build
from vaebench.runs.kinds import LEAF, Setup, asked, latents
from vaebench.runs.load import dataset_of, load_model
from vaebench.runs.store import Run

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from vaebench.config.spine import TrainConfig

VERB = "reference"
ROLE = "reference"
STOPS = True
REQUEST = {
    **{"name": str, "seed": int, "labelled": bool, "reference": LEAF, "dataset": str},
    "parents": {"autoencoder": str},
}
RESULT = latents.RESULT
# What a reference says of itself and no constructor takes.
_ABOUT = frozenset({"name", "parents", "embedded", "labelled", "dm_weight", "law"})


def request(cfg: TrainConfig, parents: Mapping[str, Request]) -> Request:
    """The samples of ``cfg.reference`` for the latents of ``parents['autoencoder']``."""
    options = leaf(cfg)
    parts = {name: cfg.reference[name] for name in ("name", "labelled")}
    parts |= {"reference": options | _fingerprint(options), "dataset": str(cfg.dataset["name"]), "seed": cfg.seed}
    parts |= {"embedder": cfg.embedder} if cfg.reference.get("embedded") else {}
    return asked(VERB, parents, **parts)


def leaf(cfg: TrainConfig) -> dict[str, Any]:
    """The reference's own options, without what it says of itself. Raises `UserError` if none is chosen."""
    if cfg.reference is None:
        raise UserError(f"reference=null: choose what latents are matched with: {', '.join(choices('reference'))}")
    return {name: value for name, value in cfg.reference.items() if name not in _ABOUT}


def _fingerprint(options: Mapping[str, Any]) -> dict[str, str]:
    """A file is known by what it holds, not by where it lies."""
    if not options.get("path"):
        return {}
    path = Path(options["path"]).expanduser()
    if not path.is_file():
        raise UserError(f"reference.path={options['path']}: there is no such file")
    return {"path": str(path.absolute()), "sha256": options.get("sha256") or sha256_of(path)}


def check(request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> None:
    """Build the reference and the embedder it needs."""
    del models, remote_code
    build.reference(request)
    if "embedder" in request.data:
        build.embedder(request)


def title(request: Request) -> str:
    """``gmm for latents of KEY``."""
    return f"{request['name']} for latents of {request['parents']['autoencoder']}"


def seconds(request: Request) -> float:
    """A rough guess."""
    return latents.seconds(request)


def work(run: Run, setup: Setup) -> None:
    """Draw the samples once; they are stored as latents are."""
    import torch

    from vaebench.data import latents as files
    from vaebench.engine.runtime import seed_all

    request, trained = run.request(), run.parents()["autoencoder"]
    model = _normalised(trained, setup.device)
    seed_all(request["seed"])
    items = build.reference(request).draw(_inputs(run, model, setup.device))
    mean, std = float(model.latent_mean), float(model.latent_std)
    shape, count = tuple(items.z.shape[1:]), len(items.z)
    if shape != tuple(model.latent_shape):
        raise UserError(f"reference: its samples are {list(shape)} and the latents {list(model.latent_shape)}")
    if request["labelled"] and items.labels is None:
        raise UserError(
            f"reference {request['name']}: has no labels, and matching within classes needs them; set "
            "reference.labelled=false (model.conditioning is none then)"
        )
    labels = torch.zeros(count, dtype=torch.int64) if items.labels is None else items.labels.cpu()

    def drawn(rows: range) -> bytes:
        some = slice(rows.start, rows.stop)
        return files.to_bytes((items.z[some].cpu() * std + mean)[:, None], None, labels[some].contiguous())

    setup.write_shards(run, latents.SHARD, count, latents.IMAGES_PER_SHARD, drawn)
    about = latents.about(dataset_of(trained)) | {"name": f"reference {request['name']}"}
    setup.finish(run, {"shape": list(shape), "images": count, "of": about, "labelled": bool(request["labelled"])})


def _normalised(trained: Run, device: torch.device) -> Any:
    """A trained autoencoder that has a normalisation of its own."""
    model = load_model(trained, device)
    if not isinstance(model, Normalised) or not isinstance(model, GivesLatents):
        raise UserError(
            f"run {trained.key} is a {type(model).__name__}, which has no normalisation of its latents; name a run "
            "that has one, with latent_mean and latent_std"
        )
    return model


def _inputs(run: Run, model: Any, device: torch.device) -> ReferenceInputs:
    """What the reference of a request may be made of."""
    request, parents = run.request(), run.parents()
    other = _normalised(parents["features_autoencoder"], device) if "features_autoencoder" in parents else model
    embedder = build.embedder(request) if "embedder" in request.data else None

    def embed(texts: Sequence[str]) -> Tensor:
        assert embedder is not None
        embedder.open(Work({}, device))
        if isinstance(embedder, FittedEmbedder):
            embedder.fit(texts)
        return embedder.embed(texts, "solution")

    return ReferenceInputs(
        latent_shape=tuple(model.latent_shape),
        latent_mean=float(model.latent_mean),
        latent_std=float(model.latent_std),
        dataset=request["dataset"],
        seed=request["seed"],
        features=latents.opened(parents["features"]) if "features" in parents else None,
        features_mean=float(other.latent_mean),
        features_std=float(other.latent_std),
        flow=load_model(parents["flow"], device) if "flow" in parents else None,
        embed=embed if embedder is not None else None,
    )
