"""What a trained autoencoder makes of its training images, stored once for all diffusion models on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vaebench.config.request import Request
from vaebench.errors import UserError, unknown
from vaebench.runs.kinds import Setup, asked, check_all
from vaebench.runs.load import dataset_of, load_model, with_grid
from vaebench.runs.store import Run

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vaebench.config.spine import TrainConfig
    from vaebench.data.images import ImageData
    from vaebench.data.latents import LatentData
    from vaebench.engine.ranks import Ranks

VERB = "latents"
ROLE = "latents"
STOPS = True
REQUEST = {"latents": {"flip": bool, "dtype": str}, "parents": {"autoencoder": str}}
ABOUT = ("name", "source", "digest", "note", "stand_in")  # of the images that latents were made of
RESULT = {
    "shape": [int],
    "images": int,
    "of": {"name": str, "digest": str, "note": str, "stand_in": bool, "source": str},
}
IMAGES_PER_SHARD = 4096
SHARD = "latents-{:05d}.safetensors"
_ENCODED_AT_ONCE = 256


def request(cfg: TrainConfig, parents: Mapping[str, Request]) -> Request:
    """The latents of the training images of ``parents['autoencoder']``."""
    return asked(VERB, {"autoencoder": parents["autoencoder"]}, latents=asdict(cfg.latents))


def check(request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> None:
    """Raise `UserError` if these latents cannot be made."""
    del remote_code
    from vaebench.data.latents import DTYPES

    dtype = request["latents"]["dtype"]
    if dtype not in DTYPES:
        raise UserError(unknown("latents.dtype", dtype, DTYPES))
    autoencoder = models.get(request["parents"]["autoencoder"])
    if autoencoder is not None:
        with_grid(autoencoder, "parent")


def title(request: Request) -> str:
    """``latents of KEY``."""
    return f"latents of {request['parents']['autoencoder']}"


def seconds(request: Request) -> float:
    """A rough guess."""
    del request
    return 15.0


def work(run: Run, setup: Setup) -> None:
    """Encode the images, those of the mirror image too if the request says so."""
    data, shape = _encode(run, setup)
    setup.finish(run, {"shape": shape, "images": len(data), "of": about(data)})


def along(run: Run, device: torch.device, ranks: Ranks) -> None:
    """Make the shards of one of several processes."""
    _encode(run, Setup(device, lambda done, total: None, lambda: False, ranks=ranks))


def _encode(run: Run, setup: Setup) -> tuple[ImageData, list[int]]:
    """Make the shards that are missing; the images, and the shape of a latent."""
    import torch

    from vaebench.data import latents as files
    from vaebench.data.ahead import ahead
    from vaebench.engine.ranks import ALONE
    from vaebench.engine.runtime import commit

    with (setup.ranks or ALONE).agreeing() as facts:
        spec = run.request()["latents"]
        trained = run.parents()["autoencoder"]
        model = with_grid(load_model(trained, setup.device), f"run {trained.key}")
        data = dataset_of(trained).to(setup.device)
        dtype = files.DTYPES[spec["dtype"]]
        facts |= {"code": commit(), "data": data.digest}

    def encoded(rows: range) -> bytes:
        means, logvars, labels = [], [], []
        parts = torch.arange(rows.start, rows.stop).split(_ENCODED_AT_ONCE)
        for _, batch in ahead(data.batch, parts, 1, 1):
            views = (batch.x, batch.x.flip(-1)) if spec["flip"] else (batch.x,)
            mean, logvar = zip(*(model.latent_moments(view) for view in views), strict=True)
            means.append(torch.stack(mean, 1).to("cpu", dtype))
            logvars += [] if logvar[0] is None else [torch.stack(logvar, 1).to("cpu", dtype)]
            labels.append(batch.y)
        return files.to_bytes(torch.cat(means), torch.cat(logvars) if logvars else None, torch.cat(labels))

    with torch.no_grad():
        setup.write_shards(run, SHARD, len(data), IMAGES_PER_SHARD, encoded)
    return data, list(model.latent_shape)


def about(data: Any) -> dict[str, Any]:
    """What is kept of the images: `ABOUT`."""
    return {name: getattr(data, name) for name in ABOUT}


def opened(run: Run) -> LatentData:
    """The latents of a finished run. Raises `UserError` if a shard is missing or damaged."""
    from vaebench.data.latents import read

    facts = run.result()
    found = read(run.all_intact("latents-*.safetensors"), run.folder, {name: facts["of"][name] for name in ABOUT})
    check_all(run, len(found), facts["images"], "latents")
    if list(found.shape) != facts["shape"]:
        raise UserError(f"{run.folder}: its latents are {list(found.shape)}, not {facts['shape']}; {run.again()}")
    return found
