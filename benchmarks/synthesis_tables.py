"""The tables of face age synthesis in docs/age.md, from the rows `fas/...` of docs/results/age.csv (age_tables.py)."""

from __future__ import annotations

from benchmarks.recognition_tables import Results, markdown
from stages.evaluate.splits import GAPS
from stages.synthesise.judging import UNITS

KINDS = ("maps", "frame")
WORDS = {"0_to_10": "0 to 10", "10_to_30": "10 to 30", "over_30": "over 30"}
SEEN = {"maps": ("albedo", "normal", "depth"), "frame": ("frame",)}
TUNED = ("few", "none", "all", "selective")


def cell(found: Results, run: str, metric: str, *, signed: bool = False) -> str:
    """As `Results.cell`; years, degrees and ratios of the way with two digits."""
    coarse = any(part in metric for part in ("age.", "age_error", "normal", "leap", "detour"))
    return found.cell(run, metric, signed=signed, digits=2 if coarse else 3)


def synthesis(found: Results) -> str:
    """What a generator reaches, beside the one-hot baseline, the true aged face and the face as it was."""
    head = ["sees", "", "neighbours share filters", "one-hot", "difference", "told apart", "less the face itself",
            "face itself", "true aged face"]  # fmt: skip
    rows = []
    for kind in KINDS:
        run, rival, gap = f"fas/{kind}", f"fas/{kind}-onehot", f"fas/{kind} - {kind}-onehot"
        kept, error = "identity.far=1e-2.kept", "age.error"
        lines = [("identity kept at FAR 1e-2", kept, "kept@far=1e-2", "", "", "identity.far=1e-2.kept_by_truth"),
                 ("error of the age that the judge reads, years", error, "age_error", "", "age.error_of_face",
                  "age.error_of_truth")]  # fmt: skip
        lines += [("the same by the judge who weighs the age more", f"by_ages.{error}", "by_ages.age_error", "",
                   "by_ages.age.error_of_face", "by_ages.age.error_of_truth"),
                  ("identity kept at FAR 1e-2 by the judge who weighs the age more", f"by_ages.{kept}",
                   "by_ages.kept@far=1e-2", "", "", "by_ages.identity.far=1e-2.kept_by_truth")]  # fmt: skip
        for name in SEEN[kind]:
            metric, unit = f"distance.{name}", UNITS.get(name, "of its mean brightness")
            lines.append((f"{name}: distance from the true aged face, {unit}", f"{metric}.made", metric,
                          f"{metric}.made - face", f"{metric}.face", ""))  # fmt: skip
        lines += [(f"way through the groups: {words}", f"way.{name}", name, "", "", "")
                  for name, words in (("leap", "largest step over the mean one"), ("step", "mean step"),
                                      ("detour", "its length over the shortest"))]  # fmt: skip
        for words, metric, apart, less, face, truth in lines:
            values = [cell(found, run, metric), cell(found, rival, metric), cell(found, gap, apart, signed=True)]
            if values[0]:
                told = found.told_apart(gap, apart)
                values += [told, cell(found, run, less, signed=True), cell(found, run, face), cell(found, run, truth)]
                rows.append([f"`{kind}`", words, *values])
    return markdown(head, rows)


def selective(found: Results) -> str:
    """Recognition trained on with made faces: errors by the years between two sessions, and paired differences."""
    head = ["sees", "run", *(f"{WORDS[gap]} years: TAR at FAR 1e-2" for gap in GAPS), "over 30 years: AUC",
            "told apart, TAR over 30", "trainings"]  # fmt: skip
    rows = []
    for kind in KINDS:
        runs = [f"{kind}-{name}" for name in TUNED]
        pairs = [f"{kind}-{one} - {kind}-{other}"
                 for one, other in (("selective", "none"), ("selective", "all"), ("all", "none"))]  # fmt: skip
        for run in (*runs, *pairs):
            metrics = [*(f"gap.{gap}.tar@far=1e-2" for gap in GAPS), "gap.over_30.auc"]
            cells = [found.cell(f"fas/{run}", metric, signed=" - " in run) for metric in metrics]
            if any(cells):
                told = found.told_apart(f"fas/{run}", metrics[2]) if " - " in run else ""
                rows.append([f"`{kind}`", f"`{run}`", *cells, told, found.done(f"fas/{run}")])
    return markdown(head, rows)
