"""What runs load, loaded once: by the process that they are forked from."""

from contextlib import suppress
from importlib import import_module

from vaebench.compat import ensure_torchvision

MODULES = (
    "timm",
    "torchmetrics",
    "diffusers.models.autoencoders.vae",
    "transformers.models.llama.modeling_llama",
    "transformers.models.whisper.modeling_whisper",
    "sentence_transformers",
    "sklearn.cluster",
    "sklearn.manifold",
    "vector_quantize_pytorch",
    "vaebench.runs.kinds.eval",
    "vaebench.runs.kinds.train",
    "vaebench.runs.worker",
)

ensure_torchvision()
for name in MODULES:
    with suppress(ImportError):  # of a package that is not installed
        import_module(name)
