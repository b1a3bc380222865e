"""`psface view`: a session's maps as a picture to look at."""

from __future__ import annotations

import click
import cv2
import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.images import stretched, write_picture
from pipeline.maps import Maps, read_maps
from pipeline.progress import wrote
from stages.reconstruct.masking import box_of

BACKGROUND = 0.11  # grey behind everything
HEIGHT = 420  # px of a panel
GAP = 14
CAPTION = 30
LEVELS = 18  # contour lines over the range of depth


@click.command("view")
@click.argument("session", metavar="SESSION.EXR")
@click.option("-o", "--out", required=True, help="The picture to write (.png).")
def command(session: str, out: str) -> None:
    """Draw a session's maps as a picture: normals, albedo, and depth as a lit relief with contour lines."""
    try:
        maps = read_maps(session)
    except Rejected as reason:
        raise UserError(str(reason)) from reason
    if not maps.mask.any():
        raise UserError(f"{session}: the mask is empty, there is nothing to draw")
    write_picture(out, picture(maps))
    wrote(out)


def picture(maps: Maps) -> np.ndarray:
    """(h, w, 3) uint8: the panels side by side on dark grey, cut to the mask."""
    cut = _box(maps.mask)
    mask = _resized(maps.mask[cut].astype(np.float32))
    albedo = _resized(stretched(maps.albedo, maps.mask, (0.5, 99.5))[cut])
    panels = {
        "normals": _resized((maps.normal * 0.5 + 0.5)[cut]),
        "albedo": np.repeat(albedo[..., None], 3, axis=2),
        "depth": relief(
            _resized(_continued(maps.depth, maps.mask)[cut]) * HEIGHT / maps.mask[cut].shape[0], mask > 0.5
        ),
    }
    return np.concatenate([_panel(name, image, mask, last=name == "depth") for name, image in panels.items()], axis=1)


def relief(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) depth in colours from far to near, lit from the upper left, with contour lines."""
    inside = stretched(depth, mask, (0.5, 99.5))
    colours = cv2.applyColorMap((inside * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1] / 255.0
    down, right = np.gradient(cv2.GaussianBlur(depth, (0, 0), 1.2))
    normal = np.stack([-right, down, np.ones_like(right)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.array([-0.45, 0.5, 0.74])
    shade = 0.35 + 0.75 * np.clip(normal @ light, 0, 1)
    step = np.floor(inside * LEVELS)
    line = (cv2.dilate(step.astype(np.float32), np.ones((3, 3), np.uint8)) > step) & mask
    return np.clip(colours * shade[..., None] * np.where(line, 0.72, 1.0)[..., None], 0, 1)


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    margin = max(2, mask.shape[0] // 40)
    rows, columns = (slice(max(0, side.start - margin), side.stop + margin) for side in box_of(mask))
    return rows, columns


def _continued(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Depth with the nearest pixel of the mask outside it, so that resizing brings no cliff in."""
    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value = np.zeros(labels.max() + 1, np.float32)
    value[labels[mask]] = depth[mask]
    return value[labels]


def _resized(image: np.ndarray) -> np.ndarray:
    """An (h, w) or (h, w, 3) cut at the panels' height."""
    size = (max(1, round(image.shape[1] * HEIGHT / image.shape[0])), HEIGHT)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if image.shape[0] > HEIGHT else cv2.INTER_LINEAR)


def _panel(name: str, image: np.ndarray, mask: np.ndarray, *, last: bool) -> np.ndarray:
    """One captioned panel, soft at the mask's border."""
    width = image.shape[1]
    panel = np.full((HEIGHT + CAPTION + 2 * GAP, width + GAP * (2 if last else 1), 3), BACKGROUND, np.float32)
    panel[GAP : GAP + HEIGHT, GAP : GAP + width] = np.clip(image, 0, 1) * mask[..., None] + BACKGROUND * (
        1 - mask[..., None]
    )
    levels = np.rint(panel * 255).astype(np.uint8)
    at = (GAP + 2, GAP + HEIGHT + CAPTION - 8)
    return cv2.putText(levels, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (210, 210, 210), 1, cv2.LINE_AA)
