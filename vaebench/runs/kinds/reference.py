"""Samples of a distribution that latents are matched with, in the raw units of the autoencoder they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.choices import choices
from vaebench.config.request import Request
from vaebench.errors import UserError
from vaebench.runs.kinds import Setup, latents
from vaebench.runs.store import Run

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from vaebench.config.spine import TrainConfig
    from vaebench.contracts import ReferenceInputs

VERB = "reference"
ROLE = "reference"
STOPS = True
REQUEST = {
    **{"name": str, "seed": int, "labelled": bool, "reference": {"_target_": str}, "dataset": str},
    "parents": {"autoencoder": str},
}
RESULT = latents.RESULT
# What a reference says of itself and no constructor takes.
_ABOUT = frozenset({"name", "parents", "embedded", "labelled", "dm_weight", "law"})


def request(cfg: TrainConfig, parents: Mapping[str, Request]) -> Request:
    """The samples of ``cfg.reference`` for the latents of ``parents['autoencoder']``."""
    options = leaf(cfg)
    found: dict[str, Any] = {
        "verb": VERB,
        "reference": options | _fingerprint(options),
        **{name: cfg.reference[name] for name in ("name", "labelled")},
        "dataset": str(cfg.dataset["name"]),
        "seed": cfg.seed,
    }
    if cfg.reference.get("embedded"):
        found["embedder"] = cfg.embedder
    return Request({**found, "parents": {role: parent.key for role, parent in parents.items()}})


def leaf(cfg: TrainConfig) -> dict[str, Any]:
    """The reference's own options, without what it says of itself. Raises `UserError` if none is chosen."""
    if cfg.reference is None:
        raise UserError(f"reference=null: choose what latents are matched with: {', '.join(choices('reference'))}")
    return {name: value for name, value in cfg.reference.items() if name not in _ABOUT}


def _fingerprint(options: Mapping[str, Any]) -> dict[str, str]:
    """A file is known by what it holds, not by where it lies."""
    from vaebench.disk import sha256_of

    if not options.get("path"):
        return {}
    path = Path(options["path"]).expanduser()
    if not path.is_file():
        raise UserError(f"reference.path={options['path']}: there is no such file")
    return {"path": str(path.absolute()), "sha256": options.get("sha256") or sha256_of(path)}


def check(request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> None:
    """Build the reference and the embedder it needs."""
    del models, remote_code
    from vaebench.runs import build

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
    from vaebench.runs import build
    from vaebench.runs.load import dataset_of, parents
    from vaebench.runs.shards import pieces, write_shards

    request = run.request()
    folders = parents(run, setup.store)
    model, trained = _normalised(folders["autoencoder"], setup.device)
    seed_all(request["seed"])
    items = build.reference(request).draw(_inputs(request, folders, model, setup.device))
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

    write_shards(run, pieces(count, latents.IMAGES_PER_SHARD), latents.SHARD, drawn, setup)
    about = latents.about(dataset_of(trained)) | {"name": f"reference {request['name']}"}
    latents.finish(run, setup.device, shape, count, about, labelled=bool(request["labelled"]))


def _normalised(folder: Path, device: torch.device) -> tuple[Any, Run]:
    """The trained autoencoder in a folder, which has a normalisation of its own, and its run."""
    from vaebench.contracts import GivesLatents, Normalised
    from vaebench.runs.load import load_model

    trained = Run(folder)
    model = load_model(trained, device)
    if not isinstance(model, Normalised) or not isinstance(model, GivesLatents):
        raise UserError(
            f"run {trained.key} is a {type(model).__name__}, which has no normalisation of its latents; name a run "
            "that has one, with latent_mean and latent_std"
        )
    return model, trained


def _inputs(request: Request, folders: Mapping[str, Path], model: Any, device: torch.device) -> ReferenceInputs:
    """What the reference of a request may be made of."""
    from vaebench.contracts import FittedEmbedder, ReferenceInputs, Work
    from vaebench.runs import build
    from vaebench.runs.load import load_model

    other = model
    if "features_autoencoder" in folders:
        other, _ = _normalised(folders["features_autoencoder"], device)
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
        features=latents.opened(folders["features"]) if "features" in folders else None,
        features_mean=float(other.latent_mean),
        features_std=float(other.latent_std),
        flow=load_model(Run(folders["flow"]), device) if "flow" in folders else None,
        embed=embed if embedder is not None else None,
    )
