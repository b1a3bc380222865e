"""The colours of what the rays met, where frames are photographed in colour.

The simulator's albedos are luminances. A colour is a chroma: three factors of the albedo for red, green and blue whose
luminance (ITU-R BT.709) is 1, so that the grey of a colour frame is the grey frame, and the true albedo serves both.
Skin follows one curve from light to dark: pigments absorb blue more than green, and green more than red, the more of
them there are (Beer-Lambert: each colour's albedo is a power of the grey one); so lips, flushed cheeks and moles get
their reds and browns. Hair likewise, and loses its colour as it greys.
"""

from __future__ import annotations

import numpy as np

from stages.simulate import skin
from stages.simulate.ageing import grey_share
from stages.simulate.scene import Points
from stages.simulate.subject import Subject
from stages.simulate.visit import Visit

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
SKIN = np.array([0.62, 1.08, 1.42], np.float32)  # powers of the grey albedo
PALE = 0.8  # of the albedo: what even the lightest skin's pigments leave
HAIR = np.array([0.86, 1.02, 1.26], np.float32)
BROWN, BLUE = np.array([1.6, 0.85, 0.5], np.float32), np.array([0.65, 1.02, 1.8], np.float32)  # of the iris
BLUE_FROM = 0.16  # albedo of an iris that is not brown
WHITE_FROM = 0.4  # albedo of the sclera
MOUTH = np.array([1.7, 0.82, 0.75], np.float32)
HANDS = skin.REGIONS.index("hand")
LOCKS = (skin.R_HAIR, skin.REGIONS.index("strands"))
CLOTHES = (skin.R_CLOTH, skin.REGIONS.index("scarf"))


def chroma(points: Points, subject: Subject, visit: Visit) -> np.ndarray:
    """Factors (N, 3) of the albedo of each point, of luminance 1."""
    albedo = np.clip(points.albedo, 0.01, 1)[:, None]
    factors = np.ones((len(albedo), 3), np.float32)
    region = points.region
    skins = (region == skin.R_SKIN) | (region == HANDS)
    factors[skins] = (PALE * albedo[skins]) ** SKIN
    grey = grey_share(visit.age, subject.rates) if subject.rates else 0.0
    hairs = np.isin(region, LOCKS)
    factors[hairs] = albedo[hairs] ** (HAIR * (1 - grey) + grey)
    iris = (region == skin.R_EYE) & (albedo[:, 0] < WHITE_FROM)
    factors[iris] = BLUE if subject.looks.iris > BLUE_FROM else BROWN
    factors[region == skin.R_MOUTH] = MOUTH
    dye = np.random.default_rng(visit.props).uniform(0.5, 1.5, 3)
    factors[np.isin(region, CLOTHES)] = dye
    return np.asarray(factors / (factors @ LUMINANCE)[:, None], np.float32)
