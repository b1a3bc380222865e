"""`psface judge` before the truth: closed forms of what it measures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from agedfaces import make_seeing, write_params
from torch import Tensor

from pipeline.ageing import AgeingContract, load_ageing
from pipeline.cli import main
from pipeline.errors import UserError
from pipeline.tables import write_parquet
from stages.synthesise.judging import distances, read_truths
from stages.synthesise.verdict import Means

JUDGE = ["judge", "aged", "--judge", "runs/judge/train"]


def metrics() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("runs/aged/judge/metrics.json").read_text())
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_the_truths_are_paired_within_their_session(truths: Path) -> None:
    read = read_truths(Path("data/truths.parquet"), Path("data/truths-faces"), ["frame"])
    assert len(read) == 8
    assert read.years.tolist() == [8, 65] * 4
    assert read.pairs.tolist() == [[0, 1], [1, 0], [2, 3], [3, 2], [4, 5], [5, 4], [6, 7], [7, 6]]
    assert torch.equal(read.faces["frame"][0], read.faces["frame"][1])  # the same photograph of the same flash


def test_a_synthesis_that_changes_nothing_is_as_far_as_the_faces_themselves(
    truths: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truths at 8 and 65 are copies here: distance 0, cosine 1, and the judge reads the same years off both."""
    main(["synthesise", "aged"])

    def nothing(faces: dict[str, Tensor], group: int) -> dict[str, Tensor]:
        return faces

    monkeypatch.setattr("stages.synthesise.trial.load_ager", lambda *_: nothing)
    main(JUDGE)
    found = metrics()
    assert found["counts"] == {"subjects": 2, "faces": 8, "pairs": 8}
    assert found["identity"]["cosine"]["value"] == pytest.approx(1, abs=1e-5)
    assert found["identity"]["far=1e-2"]["kept"]["value"] == 1
    assert {name for name in found["identity"] if "=" in name} == {"far=1e-2"}  # 1e-3 asks for 30,000 impostor pairs
    assert found["distance"]["frame"]["made"]["value"] == pytest.approx(0, abs=1e-7)
    assert found["way"]["step"]["value"] == 0
    assert found["age"]["error"]["value"] == pytest.approx(found["age"]["error_of_truth"]["value"], abs=1e-3)
    assert found["age"]["error"]["value"] == pytest.approx(found["age"]["error_of_face"]["value"], abs=1e-3)


def test_two_syntheses_are_compared_on_the_same_pairs(truths: Path) -> None:
    main(["synthesise", "aged"])
    write_params(condition="onehot")
    main(["synthesise", "aged", "--output", "runs/other/synthesise"])
    main([*JUDGE, "--against", "runs/other/synthesise"])
    found = metrics()
    for name, gap in found["difference"].items():
        assert gap["low"] <= gap["value"] <= gap["high"], name
    one, other = (each["distance"]["frame"]["made"]["value"] for each in (found, found["against"]))
    assert found["difference"]["distance.frame"]["value"] == pytest.approx(one - other)
    assert found["difference"]["age_error"]["n"] == 8
    main(["judge", "other", "--judge", "runs/judge/train"])
    assert json.loads(Path("runs/other/judge/metrics.json").read_text())["age"] == found["against"]["age"]


def test_nobody_judges_what_was_made_before_him(truths: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["synthesise", "aged"])
    capsys.readouterr()
    assert "take another's word" in refused(capsys, "judge", "aged", "--judge", "runs/seeing/train")
    make_seeing(Path("runs/normals/train"), "normal")
    assert "train one that sees the same" in refused(capsys, "judge", "aged", "--judge", "runs/normals/train")
    told = refused(capsys, *JUDGE, "--truths", "data/sessions.parquet", "--truths-faces", "data/faces")
    assert "no truth of `psface truths`" in told
    told = refused(capsys, *JUDGE, "--truths-faces", "data/faces")  # none of the truths is there
    assert "no session has a face at two ages in data/faces" in told


def test_ages_that_a_synthesis_cannot_make_are_told(truths: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["synthesise", "aged"])
    path = Path("runs/aged/synthesise/contract.json")
    contract = json.loads(path.read_text())
    path.write_text(json.dumps({**contract, "groups": contract["groups"][1:]}))
    capsys.readouterr()
    assert "give `simulate.truths.ages` of those" in refused(capsys, *JUDGE)


def test_nobody_judges_what_the_rival_was_made_before_him(truths: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the baseline would be judged by the network that it was trained to please."""
    main(["synthesise", "aged"])
    main(["synthesise", "aged", "--recogniser", "runs/judge/train", "--output", "runs/other/synthesise"])
    make_seeing(Path("runs/normals/train"), "normal")
    main(["synthesise", "aged", "--recogniser", "runs/normals/train", "--output", "runs/bent/synthesise"])
    capsys.readouterr()
    assert "take another's word" in refused(capsys, *JUDGE, "--against", "runs/other/synthesise")
    assert "train one that sees the same" in refused(capsys, *JUDGE, "--against", "runs/bent/synthesise")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_truths_are_of_people_whom_nothing_was_trained_or_chosen_on(
    truths: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    main(["synthesise", "aged"])
    table = pd.read_parquet("data/splits.parquet")
    write_parquet("data/splits.parquet", table.assign(split=table["split"].mask(table["subject"] == "1022", split)))
    capsys.readouterr()
    assert f"subject 1022 of the truths is in {split}" in refused(capsys, *JUDGE)


def test_distances_in_closed_form() -> None:
    """Normals 30 degrees apart on half the face; depths that differ by a constant do not differ."""
    up, tilted = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.5, 0.0, 3**0.5 / 2])
    one = up[None, :, None, None].expand(1, 3, 4, 4).clone()
    other = one.clone()
    other[:, :, :, :2] = tilted[None, :, None, None]
    other[:, :, 0] = 0  # outside the other face
    assert distances({"normal": one}, {"normal": other})["normal"] == pytest.approx([15], abs=1e-3)
    slope = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    assert distances({"depth": slope}, {"depth": slope + 3})["depth"] == pytest.approx([0], abs=1e-6)
    assert distances({"depth": slope}, {"depth": -slope})["depth"] == pytest.approx([4])  # 8 on average, doubled depth
    assert distances({"frame": slope}, {"frame": slope + 0.25})["frame"] == pytest.approx([0.25])


def test_means_count_subjects_not_pairs() -> None:
    """Of two subjects a resample has both with probability one half: the bounds are those of one alone."""
    found = Means(np.array(["a", "a", "b"])).of(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0, 1, 0, 2]))
    assert (found["value"], found["low"], found["high"], found["n"]) == (0.25, 0, 1, 4)


def test_years_and_groups_by_name(ready: Path) -> None:
    main(["synthesise", "aged"])
    contract: AgeingContract = load_ageing("runs/aged/synthesise").contract
    assert contract.names == ["0-30", "31-40", "41-50", "51+"]
    wanted = ("0", "8", "30", "31", "41-50", "51+", "100")
    assert [contract.group(each) for each in wanted] == [0, 0, 0, 1, 2, 3, 3]
    for each in ("-1", "101", "50-60", "old", "", "1e1", "\u0663"):
        with pytest.raises(UserError, match="neither years"):
            contract.group(each)
    with pytest.raises(UserError, match=r"seen nobody of 41-50; it can make 0-30, 51\+"):
        contract.model_copy(update={"groups": [0, 3]}).group("45")
