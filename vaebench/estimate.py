"""How long a request will take on one core: rough, for the plan and to start the longest jobs first."""

from __future__ import annotations

from vaebench.config import LATENTS, Request, about
from vaebench.schedules import total_steps

# Items per second and core (float32), for the plan's estimate only; measured on a 2 GHz server core.
_RATES = {"mlp": 12_000, "conv": 2_000, "classifier": 4_500}
_OTHER_RATE = 2_000  # of a network that is none of these
_GRID_RATE = 450  # of a ViT autoencoder at the size of the small tables
_DIFFUSION_RATE = 900
_FEATURES_RATE = 2_500  # of the small convolutional encoders, of tokenizers on them and of joint trainings
_POINT_STEPS = 230.0  # a second, of the study in the plane
_ENCODING_SECONDS = 15.0
_TOKENIZER_RATES = {"conv": 700, "mel": 800, "codec": 75}
_USUAL_ITEMS = 60_000  # MNIST's
_EVALUATION_SECONDS = 6.0
# Of the stages on texts, whose length is not known before they are read.
_STAGE_SECONDS = {
    "answers": 30.0,
    "embed": 60.0,
    "sentences": 400.0,
    "grade": 30.0,
    "train": 40.0,
    "eval": 10.0,
    "language_model": 90.0,
}


def seconds(request: Request) -> float:
    """A rough estimate of a job on one core."""
    if "problems" in request.data or "pairs" in request.data.get("parents", {}):
        sentences = request["verb"] == "embed" and "package" in request["embedder"]
        return _STAGE_SECONDS["sentences" if sentences else request["verb"]]
    if request["verb"] == "eval":
        return _EVALUATION_SECONDS
    if request["verb"] in ("latents", "reference"):
        return _ENCODING_SECONDS
    spec, model = request["train"], request["model"]
    if model.get("data") == "tokens":
        return _STAGE_SECONDS["language_model"]
    steps = total_steps(training_items(request), spec["batch_size"], spec["epochs"], spec["max_steps"])
    if "autoencoder" in model:
        rate = _TOKENIZER_RATES.get(model["autoencoder"]["kind"], _TOKENIZER_RATES["codec"])
        return 10.0 + steps * spec["batch_size"] / rate
    if model.get("data") == "points":
        return steps / _POINT_STEPS
    if "encoder" in model:
        return 5.0 + steps * spec["batch_size"] / _FEATURES_RATE
    if model.get("data") == LATENTS or isinstance(model.get("network"), dict):
        rate = _DIFFUSION_RATE if model.get("data") == LATENTS else _GRID_RATE
        return 5.0 + steps * spec["batch_size"] / rate
    kind = "classifier" if "classes" in model else model.get("network")
    if kind is None:  # fitted in closed form
        return 5.0
    return 3.0 + steps * spec["batch_size"] / _RATES.get(kind, _OTHER_RATE)


def training_items(request: Request) -> int:
    """How many items a training's set holds, as it is published or stands in here; MNIST's number where unknown."""
    return int(about(request["dataset"]["name"]).get("items", _USUAL_ITEMS))
