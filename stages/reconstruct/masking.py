"""Where the face is: the pixels that some flash lights up, as one piece without holes."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.errors import Rejected

GAP = 0.02  # of the longer side, half the width of a gap that is closed
ROUNDED = 0.3  # px: a disk of pixels reaches that much further than its radius
PIECE = 0.05  # of the mask: smaller ones are specks
LEAST_SHARE = 0.01  # of the picture; a face in a smaller part of it has too few pixels for anything that follows


def foreground(frames: np.ndarray, *, level: float) -> np.ndarray:
    """Mask of what stands out from the dark.

    Parameters
    ----------
    frames : (k, H, W) float32 in [0, 1], ambient subtracted.
    level : brightness that some frame must reach.

    Returns
    -------
    (H, W) bool: the largest connected part, gaps narrower than a brow closed and holes filled (pupils, nostrils and
    dark brows are face), its border one pixel in.

    Raises
    ------
    Rejected : nothing stands out.
    """
    brightest = cv2.GaussianBlur(frames.max(axis=0), (0, 0), 0.8)
    above = cv2.morphologyEx((brightest > level).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(_closed(above), connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if not len(areas) or areas.max() < LEAST_SHARE * above.size:
        raise Rejected(f"no face stands out from the dark: the brightest pixel of all frames is {brightest.max():.3f}")
    mask = _filled(labels == 1 + int(areas.argmax()))
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0


def box_of(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that a mask (H, W) takes, which must not be empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def pieces(mask: np.ndarray) -> list[str]:
    """A note on a mask (H, W) in several large pieces: nothing ties the depth of one to that of another."""
    areas = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)[2][1:, cv2.CC_STAT_AREA]
    large = int((areas > PIECE * areas.sum()).sum())
    if large < 2:
        return []
    return [f"the mask splits the face into {large} pieces: each has its own depth, whose heights cannot be compared"]


def _closed(above: np.ndarray) -> np.ndarray:
    """Gaps up to `GAP` of the longer side closed; at the picture's border too, as if it went on there by reflection.

    By the distance to what is above and then to what is not, so that the cost does not grow with the gap.
    """
    reach = max(1, round(GAP * max(above.shape)))
    wide = cv2.copyMakeBorder(above, *(2 * reach,) * 4, cv2.BORDER_REFLECT)
    grown = _distance(1 - wide) <= reach + ROUNDED
    kept = _distance(grown.view(np.uint8)) > reach + ROUNDED
    return kept[2 * reach : -2 * reach, 2 * reach : -2 * reach].astype(np.uint8)


def _distance(inside: np.ndarray) -> np.ndarray:
    """(H, W) float32 px from what is inside to the nearest pixel that is not."""
    return cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _filled(mask: np.ndarray) -> np.ndarray:
    """The mask and every hole of it: background that does not reach the picture's border."""
    _, labels = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    outside = np.zeros(labels.max() + 1, bool)
    outside[border] = True
    return mask | ~outside[labels]
