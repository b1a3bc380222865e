"""Reader of single photographs, of ageing and masked faces: no session of flashes, but one frame under unknown light.

`ingest.photographs.annotations` says how they are labelled:

scaf     a text of lines ``id filename age gender`` (1 male, 0 female), `ingest.photographs.text` below the root; files
         are named from the text's folder
ecaf     image_data/img_mtcnn/ (or img_ffhq/) with Name_Surname_adult_001.png and .._child_001.png; data.json with the
         ages and genders that Face++ gave
fgnet    001A43a.JPG: subject 001 at 43 years; in the root or in a folder of it
mfr2     person/person_0001.png, and mfr2_labels.txt in the root (`stages.ingest.mfr2`): whether a mask is worn

A photograph becomes a session of one frame whose lights are unknown: `crop` packs its `frame`, and `colour` on demand.

Sources: Z. Huang, J. Zhang, H. Shan, "When age-invariant face recognition meets face age synthesis", CVPR 2021,
arXiv:2103.01520, and TPAMI 2022, arXiv:2210.09835 (SCAF, ECAF). The FG-NET ageing database, 2002: names by the
photographs of it that its users publish.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from pipeline.attributes import ATTRIBUTES, MISSING
from pipeline.errors import Rejected, UserError
from pipeline.images import SUFFIXES
from pipeline.params import Ingest
from pipeline.sessions import UNKNOWN_RIG, Session
from pipeline.tables import read_text
from stages.ingest.faceplusplus import read_faces
from stages.ingest.mfr2 import NUMBERED, TEXT, read_masks
from stages.ingest.oddities import leads_back
from stages.ingest.readers import Found, Note, Refusal, reader, visible

OLDEST = 122  # years: nobody is known to have lived longer
GENDERS = {"0": "female", "1": "male"}
FGNET = re.compile(r"(?P<subject>\d{3})A(?P<age>\d{2})[a-z]?", re.IGNORECASE | re.ASCII)
ECAF = re.compile(r"(?P<subject>.+)_(?P<stage>adult|child)_(?P<number>\d+)")


class Labels(NamedTuple):
    """Age in years, codes of gender and mask, -1 where missing; ``strange`` what could not be understood."""

    age: float
    gender: int
    strange: str = ""
    mask: int = MISSING


class Photograph(NamedTuple):
    """Whose photograph a file below ``folder`` is, and its labels."""

    subject: str
    folder: Path
    path: Path
    labels: Labels

    def session(self) -> Session:
        """The photograph as a session of one frame, named as its file below the folder; a folder as the subject is not
        named again.
        """
        inside = self.path.relative_to(self.folder).with_suffix("").parts
        name = "_".join(inside[1:] if len(inside) > 1 and inside[0] == self.subject else inside)
        return Session(
            id=f"{self.subject}/{name}",
            subject=self.subject,
            session=name,
            rig=UNKNOWN_RIG,
            frames=(self.path.as_posix(),),
            lights=np.full((1, 3), np.nan),
            strengths=np.ones(1),
            source="photographs",
            gender=self.labels.gender,
            age=self.labels.age,
            mask=self.labels.mask,
        )


@reader("photographs")
def read_photographs(root: Path, params: Ingest) -> Iterator[Found]:
    """Yield a session a photograph."""
    found = {"scaf": _scaf, "ecaf": _ecaf, "fgnet": _fgnet, "mfr2": _mfr2}[params.photographs.annotations](root, params)
    strange = []
    for item in found:
        if isinstance(item, Refusal | Note):
            yield item
            continue
        if item.labels.strange:
            strange.append(f"{item.labels.strange} of {item.path.name}")
        yield item.session()
    if strange:
        yield Note(f"{len(strange)} photographs have an age or a gender that means nothing, such as {strange[0]}")


def labels_of(age: str, gender: str) -> Labels:
    """The labels of two words; a gender is 1 or 0, or its name."""
    strange = []
    try:
        years = float(age)
    except ValueError:
        years = math.nan
    if not 0 <= years <= OLDEST:
        years = float(MISSING)
        if age:
            strange.append(f"age {age!r}")
    code = ATTRIBUTES["gender"].code(GENDERS.get(gender, gender))
    if code == MISSING and gender:
        strange.append(f"gender {gender!r}")
    return Labels(years, code, ", ".join(strange))


def _scaf(root: Path, params: Ingest) -> Iterator[Photograph | Refusal | Note]:
    text = root / params.photographs.text
    try:
        lines = read_text(text, most=1 << 30).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{text}: cannot be read ({reason}); set ingest.photographs.text to the lines `id filename age gender`"
        ) from error
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) < 4:
            yield Refusal(
                f"{params.photographs.text} line {number}", f"{len(words)} words; expected `id filename age gender`"
            )
            continue
        subject, *name, age, gender = words
        path = PurePosixPath(" ".join(name))
        if path.is_absolute() or ".." in path.parts or "/" in subject or subject in (".", ".."):
            yield Refusal(f"{params.photographs.text} line {number}", f"{subject} {path}: leads out of the data set")
            continue
        if not path.name:
            yield Refusal(f"{params.photographs.text} line {number}", f"{subject} {path}: names no photograph")
            continue
        yield Photograph(subject, text.parent, text.parent / path, labels_of(age, gender))


def _ecaf(root: Path, params: Ingest) -> Iterator[Photograph | Refusal | Note]:
    folders = [root / "image_data" / name for name in ("img_mtcnn", "img_ffhq")]
    folder = next((path for path in folders if path.is_dir()), None)
    if folder is None:
        raise UserError(
            f"{root}: no image_data/img_mtcnn or image_data/img_ffhq in it; give the folder that ECAF is in"
        )
    pictures = [path for path in sorted(folder.rglob("[!.]*")) if path.suffix.lower() in SUFFIXES]
    answers = root / "data.json"
    there = answers.exists()
    known = read_faces(answers, {path.stem for path in pictures}) if there else {}
    missing = [path for path in pictures if path.stem not in known]
    for path in pictures:
        match = ECAF.fullmatch(path.stem)
        if match is None:
            yield Refusal(path.relative_to(root).as_posix(), "not named as ECAF's are, Name_Surname_adult_001.png")
            continue
        yield Photograph(match["subject"], folder, path, labels_of(*known.get(path.stem, ("", ""))))
    if missing:
        fault = "tells nothing of" if there else "is missing, so that no age and no gender is known of"
        yield Note(f"{answers} {fault} {len(missing)} of {len(pictures)} photographs")


def _fgnet(root: Path, params: Ingest) -> Iterator[Photograph | Refusal | Note]:
    folder = next((path for path in _folders_below(root) if any(FGNET.fullmatch(f.stem) for f in visible(path))), None)
    if folder is None:
        raise UserError(f"{root}: no photograph such as 001A43a.JPG in it or in a folder of it")
    for path in visible(folder):
        if path.suffix.lower() not in SUFFIXES:
            continue
        match = FGNET.fullmatch(path.stem)
        if match is None:
            yield Refusal(path.name, "not named as FG-NET's are, 001A43a.JPG")
            continue
        yield Photograph(match["subject"], folder, path, labels_of(match["age"], ""))


def _mfr2(root: Path, params: Ingest) -> Iterator[Photograph | Refusal | Note]:
    masks, told = read_masks(root / TEXT)
    yield from told
    seen, pictures = 0, 0
    for folder in [path for path in _folders_below(root)[1:] if not leads_back(path)]:
        try:
            files = [path for path in visible(folder) if path.suffix.lower() in SUFFIXES]
        except Rejected as reason:
            yield Refusal(folder.name, str(reason))
            continue
        pictures += len(files)
        for path in files:
            match = NUMBERED.fullmatch(path.stem)
            mask = masks.get((folder.name, int(match["number"])), MISSING) if match else MISSING
            seen += mask != MISSING
            yield Photograph(folder.name, root, path, Labels(MISSING, MISSING, mask=mask))
    if not pictures:
        raise UserError(f"{root}: no photograph such as person/person_0001.png in it; give the folder that MFR2 is in")
    if seen < pictures:
        yield Note(f"{root / TEXT} tells nothing of {pictures - seen} of {pictures} photographs")
    if seen < len(masks):
        yield Note(f"{root / TEXT} tells of {len(masks) - seen} photographs that are not there")


def _folders_below(root: Path) -> list[Path]:
    try:
        return [root, *(path for path in visible(root) if path.is_dir())]
    except Rejected as reason:
        raise UserError(f"{reason}; give yourself the right to read it") from reason
