"""Are some people recognised worse? FMR and FNMR by gender, age and skin tone at one common threshold.

As in NIST's reports on demographic differentials (NISTIR 8280): one threshold for all, that of all pairs at a FAR of
1e-2; the FNMR over the genuine pairs of a group's subjects, the FMR over the impostor pairs of two of them. Ages are
bands of a subject's mean age. Skin tone is measured, no label: thirds of the test subjects by the median albedo of
their faces, the median over their sessions; albedo is known up to the flashes' strength, so that thirds of different
rigs do not compare.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.attributes import MISSING
from pipeline.verification import interval
from stages.evaluate.groups import OPERATING, Operating, Share

AGES = (30, 45)
AGE_NAMES = ("under_30", "30_to_44", "45_and_over")
SKIN_NAMES = ("dark", "medium", "light")
FEWEST = 5  # subjects of a group


def subject_groups(
    subjects: np.ndarray, gender: np.ndarray, facts: dict[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    """By trait the group of each of S sorted subjects (-1: unknown) and the groups' names.

    Parameters
    ----------
    subjects
        (N,) labels of the sessions.
    gender
        (N,) binary codes.
    facts
        (N,) `age` and `albedo` among others, NaN where unknown.
    """
    codes = np.unique(subjects, return_inverse=True)[1]
    count = codes.max() + 1
    ages = np.array([_middle(np.mean, facts["age"][codes == c]) for c in range(count)])
    tones = np.array([_middle(np.median, facts["albedo"][codes == c]) for c in range(count)])
    known = np.isfinite(tones)
    thirds = np.quantile(tones[known], [1 / 3, 2 / 3]) if known.any() else [0.0, 0.0]
    return {
        "gender": (np.array([_only(gender[codes == c]) for c in range(count)]), ("female", "male")),
        "age": (np.where(np.isfinite(ages), np.digitize(ages, AGES), -1), AGE_NAMES),
        "skin_tone": (np.where(known, np.digitize(tones, thirds), -1), SKIN_NAMES),
    }


def _middle(of: Any, values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(of(known)) if known.size else np.nan


def _only(codes: np.ndarray) -> int:
    """The one code that some sessions of a subject give and none contradicts; -1 without one."""
    told = np.unique(codes[codes != MISSING])
    return int(told[0]) if len(told) == 1 else MISSING


def differentials(at: Operating, groups: dict[str, tuple[np.ndarray, tuple[str, ...]]]) -> dict[str, Any]:
    """By trait and group the FMR and FNMR with counts; and the ratios of the highest to the lowest.

    The ratio of FMRs is quoted where each group has 30 false matches to expect at the common FAR. Its interval is open
    above (`high` is None) where a fortieth of the resamples find no error in the lowest group.
    """
    result: dict[str, Any] = {"far": OPERATING}
    for trait, (codes, names) in groups.items():
        part: dict[str, Any] = {}
        shares: dict[str, tuple[Share, Share]] = {}
        for code, name in enumerate(names):
            members = codes == code
            genuine = members[at.scores.genuine_subject]
            impostor = members[at.scores.impostor_subjects].all(axis=0)
            if members.sum() < FEWEST or not genuine.any():
                part[name] = {"absent": f"{members.sum()} subjects with {genuine.sum()} genuine pairs"}
                continue
            fmr, tmr = at.fmr(impostor), at.tmr(genuine)
            fnmr = Share(1 - tmr.value, 1 - tmr.draws, tmr.of, tmr.of - tmr.taken)
            shares[name] = fmr, fnmr
            counts = {"subjects": int(members.sum()), "genuine": fnmr.of, "false_non_matches": fnmr.taken}
            counts |= {"impostor": fmr.of, "false_matches": fmr.taken}
            part[name] = {"fmr": fmr.rate(), "fnmr": fnmr.rate(), "counts": counts}
        if len(shares) > 1:
            part["ratio"] = _ratios(shares)
        result[trait] = part if shares else {"absent": "no group is known and large enough"}
    return result


def _ratios(shares: dict[str, tuple[Share, Share]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for i, name in enumerate(("fmr", "fnmr")):
        ordered = sorted(shares, key=lambda group: shares[group][i].value)
        low, high = shares[ordered[0]][i], shares[ordered[-1]][i]
        few = [g for g in ordered if i == 0 and shares[g][0].of * OPERATING < 30]
        if few or low.value == 0:
            reason = f"{few[0]} has {shares[few[0]][0].of} impostor pairs" if few else f"no error among {ordered[0]}"
            found[name] = {"absent": reason}
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            found[name] = interval(high.value / low.value, high.draws / low.draws)
        found[name] |= {"highest": ordered[-1], "lowest": ordered[0]}
    return found
