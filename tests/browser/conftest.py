"""Headless Chromium, and a report to open in it: a page of fabricated runs with every part that the page can have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.images import write_picture
from pipeline.maps import Maps, write_maps
from pipeline.sessions import Session
from pipeline.tables import write_csv, write_json
from stages.report.comparison import compare
from stages.report.failures import Losses, Quality
from stages.report.graph import draw_graph, read_stages
from stages.report.page import Content, render
from stages.report.runs import Run
from stages.report.samples import draw_samples

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # root in a container has none
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--window-size=1280,900",
)
RUNS = {  # modalities, AUC, AUC on validation
    "normal": (("normal",), 0.9, 0.91),
    "albedo": (("albedo",), 0.85, 0.8),
    "depth": (("depth",), 0.7, 0.7),
    "frame": (("frame",), 0.6, None),
    "normal-albedo": (("normal", "albedo"), 0.95, 0.94),
    "albedo-depth": (("albedo", "depth"), 0.8, 0.75),
}
SIDE = 64


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Selenium's driver of a headless Chromium whose network log and console are kept."""
    chromium = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium is not here: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="session")
def ball() -> Maps:
    """Half a ball that fills its picture, brighter above than below: every direction that a camera sees."""
    at = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    x, y = np.meshgrid(at, -at)
    mask = x**2 + y**2 < 1
    normal = np.dstack([x, y, np.sqrt(np.clip(1 - x**2 - y**2, 0, None))]) * mask[..., None]
    return Maps(normal.astype(np.float32), ((0.5 + 0.2 * y) * mask).astype(np.float32), np.where(mask, y, 0), mask)


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory, repository: Path, ball: Maps) -> Path:
    """The report of six runs and two sessions, the second of them flat."""
    folder = tmp_path_factory.mktemp("workspace")
    with chdir(folder):
        runs = [_run(name, *facts) for name, facts in RUNS.items()]
        lost = [("1001/a", "no face found"), ("999/b", "blurred (0.2)"), ("1001/c", "no face found")]
        classes = {"attribute": ["gender"] * 2, "class": ["female", "male"], "before": [10, 90], "after": [10.0, 30.0]}
        shares = {"before_share": [0.1, 0.9], "after_share": [0.25, 0.75], "validation": [3, 4], "test": [2, 1]}
        content = Content(
            runs=runs,
            comparison=compare(runs, resamples=100, seed=7),
            graph=draw_graph(read_stages(repository / "dvc.yaml")),
            samples=draw_samples(_sessions(ball), Path("maps"), examples=2, seed=7),
            balance=pd.DataFrame(classes | shares),
            costs=pd.DataFrame({"minimum_share": [0.1, 0.2, 0.3], "kept": [120, 90, 100]}),
            losses=[Losses("crop", "lost", 3, 100, [("no face found", 2), ("blurred", 1)], lost)],
            quality=[Quality("residual", 0.01, 0.02, 0.3), Quality("shift", 2, 10, 300), Quality("x", 1e-5, 0.1, 1e6)],
            params=(repository / "params.yaml").read_text(),
            cards=[("1,234", "sessions")],
        )
    path = folder / "index.html"
    path.write_text(render(content))
    return path


def _rate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": min(1.0, value + 0.02)}


def _rates(auc: float) -> dict[str, Any]:
    verification = {"auc": _rate(auc), "eer": _rate(1 - auc), "tar@far=1e-2": _rate(auc**4)}
    ranks = {"rank1": _rate(auc**3), "rank5": _rate(auc**2)}
    return {"verification": verification, "identification": dict.fromkeys(("overall", "same_rig"), ranks)}


def _run(name: str, modalities: tuple[str, ...], auc: float, validation: float | None) -> Run:
    """A run whose embeddings are the noisier the lower its AUC."""
    results, trained = Path("runs", name, "evaluate").absolute(), Path("runs", name, "train").absolute()
    results.mkdir(parents=True)
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(20), 4)
    vectors = rng.normal(size=(20, 8))[subject] + 5 * (1 - auc) * rng.normal(size=(80, 8))
    rigs = np.resize(["diagonal", "upright"], 80)
    np.savez(results / "embeddings.npz", session=np.arange(80), subject=subject, rig=rigs, embedding=vectors)
    if validation is not None:
        write_json(trained / "validation.json", {"auc": validation})
        epochs = {"epoch": [1, 2, 3], "loss_identity": [9.0, 4.0, 3.0], "validation_auc": [0.5, 0.6, validation]}
        write_csv(trained / "history.csv", pd.DataFrame(epochs))
    counts = {"subjects": 20, "sessions": 80, "genuine": 120, "impostor": 3040, "without_face": 1}
    classes = {"gender": {"female": {"sessions": 30}, "male": {"sessions": 50}}}
    metrics = {
        **_rates(auc),
        "raw_pixels": _rates(1.05 - auc / 2),  # the other way about
        "attributes": {"gender": {"auroc": _rate(auc), "balanced_accuracy": _rate(auc**2)}},
        "counts": {**counts, "attributes": classes},
    }
    fmr = np.geomspace(1e-3, 1, 30)
    roc = pd.DataFrame({"fmr": fmr, "tmr": fmr ** (1 - auc), "raw_pixels": fmr})
    cmc = pd.DataFrame({"rank": [1, 2, 3], "rate": [auc**3, auc**2, auc]})
    return Run(name, modalities, metrics, roc, cmc, results, trained)


def _sessions(ball: Maps) -> list[Session]:
    """The ball and a flat face as sessions with maps and frames."""
    towards = np.zeros_like(ball.normal)
    towards[..., 2] = ball.mask
    flat = Maps(towards, ball.albedo, ball.depth, ball.mask)
    sessions = []
    for subject, maps in (("1001", ball), ("1002", flat)):
        frames = tuple(f"{subject}/{i}.png" for i in range(3))
        for frame in frames:
            write_picture(frame, maps.albedo)
        write_maps(Path("maps", subject, "a.exr"), maps)
        sessions.append(Session(f"{subject}/a", subject, "a", "near", frames, np.eye(3), np.ones(3)))
    return sessions
