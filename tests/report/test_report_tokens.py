"""Pictures and sounds of discrete codes: from generated cells, logs and arrays of the paper's own tables."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import wave
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seen import Stored, cell_line, check_picture, page_of, parsed, shown_in
from vaebench import report
from vaebench.contracts.pictures import Sounds, intervals, printed
from vaebench.papers.cells import Cells, cells_path, digest
from vaebench.papers.tables import Row, load
from vaebench.papers.verdicts import Interval
from vaebench.report import pictures
from vaebench.report.pictures import drawing, sounds
from vaebench.report.summary import Section, sections
from vaebench.report.tables import markdown
from vaebench.suites.pictures import tokens
from vaebench.suites.pictures.tokens import Entry

IMAGES, AUDIO = ("table1_images", "cifar10"), ("table1_audio", "fsdd")
METHODS = ["VQ-VAE", "VQ with EMA and resets", "SimVQ", "TokenBridge", "FSQ", "FSP", "VP-VAE"]
RATE = 8000
ENDINGS = (".png", ".svg", ".html")


def run_of(table: str, row: str, dataset: str, seed: int) -> tuple[str, str]:
    run = digest({"table": table, "row": row, "dataset": dataset, "seed": seed})
    return run, digest({"run": run})


def number(row: str, measurement: str, seed: int) -> float:
    """More codes are better, and seeds differ a little."""
    place = list(load("vpvae").tables["table1_images"].rows).index(row) if "_1" in row or "_2" in row else 3
    base = {"psnr": 22.0, "lsd": 6.0, "stoi": 0.8, "cvu": 0.4}.get(measurement, 0.5)
    return base + 0.01 * place + 0.02 * seed + (0.1 if row.endswith("1024") else 0.0)


def measured(table: str, dataset: str, scale: str = "small", seeds: int = 3) -> list[dict]:
    found, lines = load("vpvae").tables[table], []
    for r, row in found.rows.items():
        if row.scales and scale not in row.scales:
            continue
        for c, column in found.columns.items():
            if column.measurement == "lpips":
                continue
            for seed in range(seeds):
                run, evaluation = run_of(table, r, dataset, seed)
                where = {"scale": scale, "dataset": dataset, "stand_in": 1, "run": run, "eval": evaluation}
                value = number(r, column.measurement, seed)
                lines.append(
                    cell_line("vpvae", table, r, c, protocol={"split": "test"}, seed=seed, value=value, **where)
                )
    return lines


def counts(row: str, size: int) -> np.ndarray:
    """VQ-VAE has collapsed to one code, the others leave a tenth of theirs unused."""
    if row.startswith("vq_vae"):
        return np.bincount([3], [5000.0], minlength=size).astype(np.int64)
    shares = np.linspace(2, 1, size)
    shares[: size // 10] = 0
    return np.int64(1000 * np.random.default_rng(size).permutation(shares))


def spoken(seconds: float, pitch: float) -> np.ndarray:
    time = np.arange(int(RATE * seconds)) / RATE
    return np.int16(12000 * np.sin(2 * np.pi * pitch * time) * (np.sin(9 * time) > 0))


def arrays(row: str, table: str) -> dict[str, np.ndarray]:
    found = re.search(r"(\d+)$", row)
    stored = {"code_counts": counts(row, int(found[1]) if found else 1024)}
    rng = np.random.default_rng(len(row))
    if "audio" in table or table == "table5":
        heard = np.stack([spoken(2.5, 300), np.pad(spoken(1.5, 500), (0, RATE))])
        noise = rng.normal(0, 500, heard.shape)
        return stored | {
            "audio_inputs": heard,
            "audio_reconstructions": np.int16(heard + noise),
            "sample_rate": np.array(RATE),
        }
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    return stored | {"inputs": images, "reconstructions": images // 2 + np.uint8(rng.integers(0, 99))}


def fill(store: Path, table: str, dataset: str, seeds: int = 3) -> None:
    for row in load("vpvae").tables[table].rows:
        for seed in range(seeds):
            run, evaluation = run_of(table, row, dataset, seed)
            folder = store / run / "evals" / evaluation
            folder.mkdir(parents=True)
            np.savez_compressed(folder / "arrays.npz", **arrays(row, table))
            log = [{"step": 50 * n, "epoch": n / 9, "tokenizer/loss": 1.0 / n} for n in range(1, 31)]
            for line in log[4::5]:
                line |= {"watch/usage": 1 - 1 / line["step"], "watch/cvu": 0.5 + 0.0001 * line["step"] + 0.01 * seed}
            (store / run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


@cache
def section(table: str, dataset: str, scale: str = "small", left_out: tuple[str, ...] = ()):
    lines = [line for line in measured(table, dataset, scale) if line["column"] not in left_out]
    cells = Cells.read(Path("nowhere")).merged(lines)
    return next(s for s in sections(load("vpvae"), cells) if (s.key, s.scale) == (table, scale))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("token_store")
    for table, dataset in (IMAGES, AUDIO):
        fill(root, table, dataset)
    return root


@pytest.fixture(scope="module")
def written(store, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("token_results")
    Cells.read(Path("nowhere")).merged([*measured(*IMAGES), *measured(*AUDIO)]).write(cells_path(results, "vpvae"))
    report.write("vpvae", results, store)
    report.write_index(results)
    return results


def files(results: Path, *endings: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (results / "vpvae").iterdir() if path.suffix in endings}


def test_every_picture_and_page_is_there_small_and_linked(written):
    found = files(written, *ENDINGS)
    wanted = {f"{kind}-table1_images-small-cifar10.svg" for kind in ("numbers", "sizes", "codes", "watch")}
    wanted |= {f"{kind}-table1_audio-small-fsdd.svg" for kind in ("numbers", "sizes", "codes", "watch")}
    wanted |= {"reconstructions-table1_images-small-cifar10.png", "listen-table1_audio-small-fsdd.html"}
    assert set(found) == {*wanted, "index.html"}
    text = (written / "vpvae" / "table.md").read_text(encoding="utf-8")
    page = (written / "vpvae" / "index.html").read_text(encoding="utf-8")
    for name in wanted:
        assert f"]({name})" in text
        if not name.endswith(".html"):
            check_picture(written / "vpvae" / name, 250, 1200, 400_000)
            assert f'src="{name}"' in page
    assert '<a href="listen-table1_audio-small-fsdd.html">Listen to test clips' in page
    assert page.count('<a href="listen') == 1


def test_the_same_numbers_give_the_same_bytes(written, store, tmp_path):
    shutil.copytree(written, tmp_path / "again", ignore=shutil.ignore_patterns("*.png", "*.svg", "listen*"))
    report.write("vpvae", tmp_path / "again", store)
    assert files(tmp_path / "again", *ENDINGS) == files(written, *ENDINGS)


def test_without_the_store_pictures_and_sounds_stay(written, tmp_path):
    before = files(written, *ENDINGS, ".md")
    again = {path.name for path in report.write("vpvae", written, tmp_path / "nowhere")}
    assert files(written, *ENDINGS, ".md") == before
    assert {name for name in again if name.endswith(ENDINGS)} == {
        n for n in before if n.startswith(("sizes-", "numbers-"))
    }


def test_with_some_of_the_runs_pictures_and_sounds_stay(written, tmp_path):
    before = files(written, *ENDINGS)
    fill(tmp_path / "store", *AUDIO, seeds=1)
    for row in load("vpvae").tables[AUDIO[0]].rows:
        if not row.startswith("fsq"):
            shutil.rmtree(tmp_path / "store" / run_of(AUDIO[0], row, AUDIO[1], 0)[0])
    report.write("vpvae", written, tmp_path / "store")
    assert files(written, *ENDINGS) == before


def seen(found: Section, kind: str, arrays: dict[str, Any] | None = None, logs: Any = None) -> Any:
    """What a section's picture of a kind shows of arrays, or logs, by row."""
    draw = next(picture.draw for picture in tokens.PICTURES if picture.kind == kind)
    return draw(Stored(found, "tokens", arrays, logs))


def test_rows_are_methods_and_sizes():
    found = Stored(section(*IMAGES), "tokens")
    entries = tokens.entries(found)
    assert entries[:2] == [
        Entry("vq_vae_256", "vq_vae", "VQ-VAE", 256),
        Entry("vq_vae_1024", "vq_vae", "VQ-VAE", 1024),
    ]
    assert list(dict.fromkeys(entry.label for entry in entries)) == METHODS
    assert tokens.entries(found, ["fsp_256"]) == [Entry("fsp_256", "fsp", "FSP", 256)]
    rows = {"a_64": Row("A, 64", "e", short="A", point={"K": 64}, written="a"), "c": Row("C, 64", "e")}
    other = replace(found.section, table=replace(found.section.table, rows=rows))
    labels = {entry.row: (entry.label, entry.size) for entry in tokens.entries(Stored(other, "tokens"))}
    assert labels == {"a_64": ("A", 64), "c": ("C, 64", None)}
    images = {"inputs": np.zeros((1, 4, 4, 1)), "reconstructions": np.zeros((1, 4, 4, 1))}
    assert list(seen(other, "reconstructions", {"a_64": images, "c": images}).lines) == [
        "test images",
        "A, 64",
        "C, 64",
    ]
    assert not seen(other, "reconstructions", {})


def test_training_has_a_panel_per_size_and_a_line_per_seed(store):
    shown = shown_in(section(*IMAGES), store, "watch")
    assert [panel.title for panel in shown.panels] == ["codebook of 256", "codebook of 1,024", "", ""]
    assert [panel.y.label for panel in shown.panels] == ["share of codes used", "", "CVU", ""]
    for panel in shown.panels:
        assert len(panel.marks) == 3 * len(METHODS)
        assert len({line.colour for line in panel.marks}) == len(METHODS)
        assert panel.marks[0].x == (250, 500, 750, 1000, 1250, 1500)
    assert shown.panels[2].marks[2].y[-1] == pytest.approx(0.67)
    assert [text.get_text() for text in drawing.panels(shown).legends[0].get_texts()] == METHODS


def test_trainings_that_were_not_watched_have_no_picture():
    found = section(*IMAGES)
    assert not seen(found, "watch")
    assert not seen(found, "watch", logs={"fsp_256": [[{"step": 1, "epoch": 1, "tokenizer/loss": 2.0}]]})
    upper, lower = seen(found, "watch", logs={"fsp_256": [[{"step": 1, "epoch": 1, "watch/usage": 0.5}]]}).panels
    assert ([line.marker for line in upper.marks], lower.marks) == (["."], [])


def test_shares_are_sorted_and_end_where_the_codes_do(store):
    found = section(*IMAGES)
    for panel, size in zip(shown_in(found, store, "codes").panels, (256, 1024), strict=True):
        assert (panel.title, panel.y.scale) == (f"codebook of {size:,}", "log")
        *lines, even = panel.marks
        assert [*(line.label for line in lines), even.label] == [*METHODS, "all equally frequent"]
        assert even.at == 1 / size
        by_label = {line.label: line for line in lines}
        assert (list(by_label["VQ-VAE"].y), by_label["VQ-VAE"].marker) == ([1.0], "o")
        shares = by_label["VP-VAE"].y
        assert len(shares) == size - size // 10
        assert np.all(np.diff(shares) <= 0)
        assert float(shares.sum()) == pytest.approx(1.0)
    assert not seen(found, "codes", {})


def test_quality_against_size_is_ours_beside_the_papers():
    shown = seen(section(*IMAGES), "sizes")
    assert [panel.title for panel in shown.panels] == ["CVU", "PSNR, dB"]
    psnr = shown.panels[1]
    assert list(psnr.x.ticks.values()) == ["256", "1024"]
    ours = {line.label: line for line in psnr.marks if line.dash == "-"}
    assert list(ours) == METHODS
    assert ours["VP-VAE"].x == [256, 1024]
    dotted = [line for line in psnr.marks if line.dash == ":" and len(line.x)]
    assert METHODS.index("VQ with EMA and resets") not in [line.colour for line in dotted]  # the paper has no such row
    (own,) = (line for line in dotted if line.colour == ours["VP-VAE"].colour)
    assert (own.y, own.hollow) == ([23.4973, 23.8878], True)
    figure = drawing.panels(shown)
    bars = figure.axes[1].containers[-1].lines[2][0].get_segments()[0][:, 1]
    mean, reach = ours["VP-VAE"].y[0], ours["VP-VAE"].above[0]
    np.testing.assert_allclose(bars, [mean - reach, mean + reach])
    assert reach > 0.01
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*METHODS, "the paper's numbers"]


def test_the_scale_is_that_of_ours_and_of_what_is_near():
    low, high = seen(section(*IMAGES), "sizes").panels[1].y.limits
    assert 20 < low < 22.02 - 0.05  # the paper's 11.5 of TokenBridge is not in it
    assert 24.191 < high < 25
    for value, low, high in ((0.0, -0.5, 0.5), (2.0, 1.5, 2.5)):
        flat = intervals({64: Interval(value, None, None, 1), 256: Interval(value, None, None, 1)})
        assert tokens.limits([flat], [printed({64: 9.0})]) == (low, high)


def test_audio_is_shown_by_what_was_measured():
    titles = [panel.title for panel in seen(section(*AUDIO), "sizes").panels]
    assert titles == ["CVU", "LSD, dB", "STOI"]
    titles = [panel.title for panel in seen(section(*AUDIO, left_out=("stoi", "pesq")), "sizes").panels]
    assert titles == ["CVU", "LSD, dB"]


def test_one_size_alone_has_no_curve_over_sizes(tmp_path):
    smoke = section("table1_images", "digits", "smoke")
    assert not seen(smoke, "sizes")
    fill(tmp_path / "store", "table1_images", "digits")
    names = {path.name for path in pictures.write(smoke, tmp_path / "store", tmp_path)}
    wanted = {f"{kind}-table1_images-smoke-digits" for kind in ("reconstructions", "codes", "watch", "numbers")}
    assert {name.rpartition(".")[0] for name in names} == wanted


def test_rows_without_a_size_are_methods_of_their_own(tmp_path):
    fill(tmp_path / "store", "table3", "cifar10")
    ablation = section("table3", "cifar10")
    names = {path.name for path in pictures.write(ablation, tmp_path / "store", tmp_path)}
    wanted = {f"{kind}-table3-small-cifar10" for kind in ("reconstructions", "codes", "watch", "numbers")}
    assert {name.rpartition(".")[0] for name in names} == wanted
    labels = [row.label for row in ablation.table.rows.values()]
    (panel,) = seen(ablation, "codes", {row: {"code_counts": counts(row, 64)} for row in ablation.table.rows}).panels
    assert [mark.label for mark in panel.marks][:-1] == labels
    assert panel.title == ""


def test_reconstructions_are_those_of_the_largest_codebook(store):
    shown = shown_in(section(*IMAGES), store, "reconstructions")
    assert list(shown.lines) == ["test images", *(f"{method}, 1024" for method in METHODS)]


def test_nothing_is_drawn_of_tables_that_have_not_been_run(tmp_path):
    for found in sections(load("vpvae"), Cells.read(Path("nowhere"))):
        assert pictures.write(found, tmp_path / "store", tmp_path) == []
        assert pictures.to_hear(found, tmp_path) == []


def samples(source: str) -> np.ndarray:
    with wave.open(io.BytesIO(base64.b64decode(source.removeprefix("data:audio/wav;base64,")))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_the_page_plays_every_clip_by_every_row(written):
    content = files(written, ".html")["listen-table1_audio-small-fsdd.html"]
    assert len(content) < 2_000_000
    text = content.decode()
    page = parsed(text)
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    heard = [attributes for tag, attributes in page.found if tag == "audio"]
    labels = ["original", *(f"{method}, 1024" for method in METHODS)]
    assert [sound["aria-label"] for sound in heard] == [*labels, *labels]
    assert all("controls" in sound for sound in heard)
    stored = arrays("vp_vae_1024", "table1_audio")
    np.testing.assert_array_equal(samples(heard[0]["src"]), spoken(2.5, 300))
    np.testing.assert_array_equal(samples(heard[7]["src"]), stored["audio_reconstructions"][0])
    np.testing.assert_array_equal(samples(heard[8]["src"]), np.pad(spoken(1.5, 500), (0, RATE)))
    np.testing.assert_array_equal(samples(heard[15]["src"]), stored["audio_reconstructions"][1])
    images = [attributes for tag, attributes in page.found if tag == "img"]
    assert len(images) == 16
    assert all(image["alt"].startswith("spectrogram: ") for image in images)
    assert "8,000 Hz, first seed" in text


def test_many_long_clips_are_cut_to_a_small_page():
    found = section(*AUDIO)
    noise = np.random.default_rng(0).integers(-9999, 9999, (2, 44100 * 2 + 22050)).astype(np.int16)
    text = sounds.page("", Sounds(noise, dict.fromkeys(METHODS, noise), 44100), found)
    assert len(text) < 2_100_000
    assert text.count("<audio") == 2 * (1 + len(METHODS))


def test_silence_and_the_shortest_clips_are_drawn():
    for clip in (np.zeros(4000, np.int16), np.zeros(10, np.int16), np.full(10, 9000, np.int16)):
        with Image.open(io.BytesIO(sounds.spectrogram(clip, 0.0))) as drawn:
            assert (drawn.size, drawn.mode) == ((240, 64), "L")
    time = np.arange(8000) / 8000
    loud = np.int16(20000 * np.sin(2 * np.pi * 3000 * time))
    level = float(sounds._power(loud).max())
    with Image.open(io.BytesIO(sounds.spectrogram(loud, level))) as drawn:
        columns = np.asarray(drawn).mean(1)
    assert abs(int(columns.argmin()) - 16) <= 1  # 3 of 4 kHz, from below: a quarter from the top
    assert columns.min() < 60
    assert columns[40:].min() > 200


def test_labels_are_text_and_no_markup():
    found = section(*AUDIO)
    clips = arrays("a_1024", "table1_audio")["audio_inputs"]
    other = replace(found, table=replace(found.table, caption="<i>"))
    text = sounds.page("", Sounds(clips, {"<b>&": clips}, RATE), other)
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text
    assert "<i>" not in text
    parsed(text)


def test_pages_are_links_beside_pictures(tmp_path):
    found = section(*AUDIO)
    paper = load("vpvae")
    text = markdown.render(paper, [found], {}, {found.name: [("listen.html", "Listen | here")]})
    assert "\n[Listen \\| here](listen.html)\n" in text
    page = page_of(tmp_path, paper, [found], sounds={found.name: [("listen.html", "Listen <here>")]})
    assert '<p><a href="listen.html">Listen &lt;here&gt;</a></p>' in page
    assert "listen" not in page_of(tmp_path, paper, [found])
