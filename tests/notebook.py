"""docs/tutorial.ipynb, run from top to bottom: ``python tests/notebook.py`` writes its outputs again.

``python tests/notebook.py TARGET`` writes the executed notebook there and leaves the page as it is.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tutorial.ipynb"
# What a kernel says of itself is another on every machine.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(target: Path) -> None:
    """Run the page in an empty folder and write it with its outputs; raises what a cell raises."""
    import nbclient
    import nbformat

    page = nbformat.reads(PAGE.read_text(encoding="utf-8"), as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(VAEBENCH_HOME=str(Path(folder, "runs")), IPYTHONDIR=folder, JUPYTER_RUNTIME_DIR=folder)
        where = {"metadata": {"path": folder}}
        nbclient.NotebookClient(page, kernel_name="python3", resources=where, record_timing=False).execute()
    for output in (one for cell in page.cells for one in cell.get("outputs", ())):
        if picture := output.get("data", {}).get("image/png"):
            output["data"]["image/png"] = smaller(picture)
    page.metadata = METADATA
    target.write_text(nbformat.writes(page) + "\n", encoding="utf-8")


def smaller(picture: str) -> str:
    """A PNG in base64 with a palette of 64 colours: a third of the size."""
    from PIL import Image

    written = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as drawn:
        reduced = drawn.convert("RGB").quantize(64, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(written, format="png", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


if __name__ == "__main__":
    execute(Path(*sys.argv[1:]) if sys.argv[1:] else PAGE)
