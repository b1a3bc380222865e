"""What the surface is made of, point by point: albedo, bump, highlight; skin, lips, brows, hair, beard, eyes, cloth.

Everything is drawn where a ray met the surface, from the place on the template that was met (`fields`), so that it
sticks to the face through identity, expression and pose. Skin's fine texture, hair and beard are drawn anew each
session; moles, freckled areas, brows and the hairline are the subject's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.shading import lengths
from stages.simulate import ageing, fields, growth, noise
from stages.simulate.human import LEFT_EYE, LONG_HAIR, LOWER_TEETH, MOUTH, RIGHT_EYE, SKIN, TONGUE, UPPER_TEETH, lips
from stages.simulate.subject import Subject
from stages.simulate.visit import Visit

TEXEL = 0.25  # mm of skin a texel of noise
LIGHTEST_SKIN = 0.72
REGIONS = ("background", "skin", "eye", "mouth", "hair", "cloth", "spectacles", "hand", "telephone", "strands", "scarf",
           "sheet", "mask")  # fmt: skip
R_SKIN, R_EYE, R_MOUTH, R_HAIR, R_CLOTH, R_PROPS = 1, 2, 3, 4, 5, 6


@dataclass
class Surface:
    """Where rays met the bust, and what is there; arrays over N points.

    ``place`` (N, 3) on the template in mm, ``uv`` (N, 2), ``part`` (N,); then albedo in [0, 1], ``bump`` the height in
    mm by which the surface stands out, ``shine`` and ``gloss`` the highlight's strength and exponent, ``region`` an
    index into `REGIONS`.
    """

    place: np.ndarray
    uv: np.ndarray
    part: np.ndarray
    albedo: np.ndarray
    bump: np.ndarray
    shine: np.ndarray
    gloss: np.ndarray
    region: np.ndarray


def paint(place: np.ndarray, uv: np.ndarray, part: np.ndarray, subject: Subject, visit: Visit) -> Surface:
    """Give every met point of the bust its material."""
    count = len(place)
    surface = Surface(
        place, uv, part,
        albedo=np.full(count, 0.5, np.float32),
        bump=np.zeros(count, np.float32),
        shine=np.zeros(count, np.float32),
        gloss=np.full(count, 10.0, np.float32),
        region=np.full(count, R_SKIN, np.uint8),
    )  # fmt: skip
    skin = np.flatnonzero(part == SKIN)
    _paint_skin(surface, skin, subject, visit)
    _paint_eyes(surface, np.flatnonzero((part == LEFT_EYE) | (part == RIGHT_EYE)), subject)
    _paint_locks(surface, np.flatnonzero(part == LONG_HAIR), subject, visit)
    for parts, albedo, shine in (
        ((UPPER_TEETH, LOWER_TEETH), 0.62, 0.10),
        ((TONGUE,), 0.30, 0.06),
        ((MOUTH,), 0.16, 0.03),
    ):
        inside = np.isin(part, parts)
        surface.albedo[inside], surface.shine[inside], surface.gloss[inside] = albedo, shine, 30.0
        surface.region[inside] = R_MOUTH
    return surface


def _paint_skin(surface: Surface, at: np.ndarray, subject: Subject, visit: Visit) -> None:
    place, uv, looks = rows_of(surface.place, at), rows_of(surface.uv, at), subject.looks
    rng = np.random.default_rng(visit.texture)
    x, y = _texels(place, rng)
    texels = noise.Texels(x, y)
    tone = min(looks.skin * visit.tint[0], LIGHTEST_SKIN)
    albedo = tone * (1 + 0.035 * texels.of(noise.band(110.0)) + 0.02 * texels.of(noise.band(30.0)))
    pores = texels.of(noise.band(7.0))
    albedo *= 1 + 0.025 * pores
    bump = 0.035 * pores + 0.05 * texels.of(noise.band(18.0))
    albedo *= _zones(place, subject, visit)
    if subject.rates is None:
        bump += _wrinkles(place, visit.age, rng)
    else:
        furrows = ageing.wrinkles(place, subject.rates, visit.age)
        bump = bump * (1 - 0.5 * growth.childhood(visit.age, subject.rates)) + furrows
        albedo *= ageing.complexion(place, subject.rates, visit.age) * (1 + 0.12 * np.minimum(furrows, 0))
    if looks.freckles > 0:
        spots = fields.ramp(noise.Texels(x + 311, y).of(noise.band(10.0, 0.25)), 1.0, 1.6)
        albedo *= 1 - 0.9 * looks.freckles * spots * fields.ramp(-np.abs(place[:, 1] - 706), -45, -10)
    _draw_moles(place, albedo, bump, subject)
    shine = 0.013 * looks.shine * (0.5 + fields.ramp(-np.abs(place[:, 0]), -40, -10)) * np.ones(len(at), np.float32)
    gloss = np.full(len(at), 18.0, np.float32)

    lip = noise.Texels(uv[:, 0] * 1024 - 0.5, (1 - uv[:, 1]) * 1024 - 0.5).of(lips())
    albedo *= 1 - lip * (1 - looks.lips * visit.tint[2])
    shine, gloss = shine * (1 + lip), gloss + 8 * lip

    tone_of_hair = hair_tone(subject, visit)
    bald_skin = np.ones(len(at), np.float32)
    albedo, bump, bald_skin = _draw_brows(place, albedo, bump, bald_skin, subject, tone_of_hair, rng)
    albedo, bump, bald_skin = _draw_beard(place, lip, albedo, bump, bald_skin, subject, visit, tone_of_hair, rng)
    albedo, bump, hairy = _draw_scalp(place, albedo, bump, subject, tone_of_hair, rng)
    _draw_lashes(place, albedo)
    shine = shine * bald_skin * (1 - hairy) + 0.05 * hairy
    gloss = np.where(hairy > 0.5, 22.0, gloss)
    surface.region[at[hairy > 0.5]] = R_HAIR

    shirt = fields.cloth(place, visit.collar) + 0.4 * pores > 0
    weave = noise.Texels(x * 2, y * 2).of(noise.band(9.0))
    albedo = np.where(shirt, visit.cloth * (1 + 0.06 * weave), albedo)
    bump = np.where(shirt, 0.10 * weave + 0.5 * texels.of(noise.band(90.0)), bump)
    surface.region[at[shirt]] = R_CLOTH
    surface.albedo[at] = np.clip(albedo, 0.015, 0.95)
    surface.bump[at] = bump
    surface.shine[at] = np.where(shirt, 0.0, shine)
    surface.gloss[at] = gloss


def _draw_moles(place: np.ndarray, albedo: np.ndarray, bump: np.ndarray, subject: Subject) -> None:
    for mole in subject.looks.moles:
        near = _near(place, mole.place, 1.3 * mole.radius)
        distance = lengths(rows_of(place, near) - mole.place.astype(np.float32))
        spot = fields.ramp(-distance, -1.25 * mole.radius, -0.75 * mole.radius)
        albedo[near] *= 1 - mole.darkness * spot
        bump[near] += 0.25 * mole.radius * spot * mole.raised


def _draw_lashes(place: np.ndarray, albedo: np.ndarray) -> None:
    for eye in fields.EYE_CENTRES:
        near = _near(place, eye, 16.0)
        lash = fields.ramp(-fields.eye_radius(rows_of(place, near)), -15.8, -14.4)
        albedo[near] *= 1 - lash * np.where(place[near, 1] > 728.4, 0.75, 0.35)


def rows_of(columns: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows ``at`` of an array (N, C) whose columns are contiguous, and stay so."""
    return np.take(columns.T, at, axis=1).T


def _near(place: np.ndarray, centre: np.ndarray, reach: float) -> np.ndarray:
    """Indices of the places within ``reach`` mm of a centre, and some farther ones."""
    return np.flatnonzero((np.abs(place[:, 0] - centre[0]) < reach) & (np.abs(place[:, 1] - centre[1]) < reach))


def _texels(place: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where a session looks at the noise: around and down the head, obliquely, so that no surface is seen edge on."""
    across = fields.azimuth(place) * (75.0 / TEXEL)
    down = (place[:, 1] - 0.7 * place[:, 2]) / TEXEL
    shift, flip = rng.uniform(0, noise.SIZE, 2), rng.choice([-1.0, 1.0], 2)
    return across * flip[0] + shift[0], down * flip[1] + shift[1]


def _zones(place: np.ndarray, subject: Subject, visit: Visit) -> np.ndarray:
    """The skin's slow changes: flushed cheeks and nose, shaded eyes, a shaved jaw."""
    x, y = np.abs(place[:, 0]), place[:, 1]
    front = fields.ramp(place[:, 2], 70, 110)
    cheeks = np.exp(-((x - 40) ** 2 + (y - 695) ** 2) / (2 * 17**2))
    nose = np.exp(-(x**2 + (y - 697) ** 2) / (2 * 11**2))
    rings = np.exp(-((x - 30) ** 2 / (2 * 14**2) + (y - 715) ** 2 / (2 * 7**2)))
    zones = 1 - front * (0.07 * cheeks + 0.08 * nose + (subject.looks.eyeshade + 0.05) * rings)
    if subject.gender == "male" and visit.age >= 17:
        shaved = np.maximum(fields.beard(place, subject.looks.beard_reach), fields.moustache(place))
        zones *= 1 - 0.07 * fields.ramp(shaved, -3, 6)
    return zones


def _wrinkles(place: np.ndarray, age: float, rng: np.random.Generator) -> np.ndarray:
    """Lines across the forehead, deeper with age; mm, negative inwards."""
    depth = 0.30 * fields.ramp(np.array([age]), 30, 70)[0]
    if depth == 0:
        return np.zeros(len(place), np.float32)
    height = place[:, 1] + 3.0 * np.sin(place[:, 0] / 21.0 + rng.uniform(0, 6))
    lines = np.maximum(0, np.cos(2 * np.pi * height / 9.5)) ** 3
    where = (
        fields.ramp(place[:, 1], 752, 762)
        * fields.ramp(-place[:, 1], -796, -784)
        * fields.ramp(-np.abs(place[:, 0]), -46, -28)
    )
    return -depth * lines * where * fields.ramp(place[:, 2], 90, 110)


def _hair_texels(place: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Texels of the strands: hair runs down from the crown."""
    around = fields.azimuth(place)
    crown = np.hypot(place[:, 0], place[:, 2] - 35.0)
    shift = rng.uniform(0, noise.SIZE, 2)
    return around * (82.0 / TEXEL) * 0.5 + shift[0], (crown - place[:, 1]) / TEXEL * 0.5 + shift[1]


def _draw_scalp(
    place: np.ndarray, albedo: np.ndarray, bump: np.ndarray, subject: Subject, tone: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    texels = noise.Texels(*_hair_texels(place, rng))
    fine, coarse = texels.of(noise.strands()), texels.of(noise.strands(9.0, 90.0))
    depth = fields.hair(place, subject.looks)
    soft = 2.5 + 0.15 * subject.looks.hair_length
    density = fields.ramp(depth + soft * (0.7 * fine + 0.5 * coarse), -1.3 * soft, 1.7 * soft)
    if subject.looks.hair_length < 4:  # cropped: the scalp shows through
        density *= 0.80 + 0.08 * np.clip(fine, -2, 2)
    strand_tone = tone * np.exp(0.28 * fine + 0.18 * coarse)
    relief = min(0.10 + 0.03 * subject.looks.hair_length, 0.5)
    return albedo * (1 - density) + strand_tone * density, bump * (1 - density) + relief * fine * density, density


def _paint_locks(surface: Surface, at: np.ndarray, subject: Subject, visit: Visit) -> None:
    """Long hair that hangs beside the face."""
    rng = np.random.default_rng(visit.texture + 1)
    texels = noise.Texels(*_hair_texels(rows_of(surface.place, at), rng))
    fine, coarse = texels.of(noise.strands()), texels.of(noise.strands(9.0, 90.0))
    surface.albedo[at] = np.clip(hair_tone(subject, visit) * np.exp(0.3 * fine + 0.25 * coarse), 0.015, 0.8)
    surface.bump[at] = 0.4 * fine + 0.6 * coarse
    surface.shine[at], surface.gloss[at], surface.region[at] = 0.06, 22.0, R_HAIR


def hair_tone(subject: Subject, visit: Visit) -> float:
    """Albedo of a subject's hair, which greys with age."""
    if subject.rates is not None:  # its looks are those of the age already
        return min(subject.looks.hair * visit.tint[1], 0.6)
    grey = float(fields.ramp(np.array([visit.age]), 35, 80)[0])
    return min((subject.looks.hair + (0.5 - subject.looks.hair) * 0.8 * grey) * visit.tint[1], 0.6)


def _draw_brows(
    place: np.ndarray, albedo: np.ndarray, bump: np.ndarray, bare: np.ndarray, subject: Subject, tone: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    field = fields.brow(place, subject.looks)
    near = np.flatnonzero(field > -3)
    field = field[near]
    density_of, darkness = subject.looks.brows[4:]
    slanted = np.abs(place[near, 0]) / TEXEL * 0.7 - place[near, 1] / TEXEL * 0.25
    hairs = noise.Texels(slanted + rng.uniform(0, 999), place[near, 1] / TEXEL).of(noise.strands(3.0, 12.0))
    density = density_of * fields.ramp(field + 0.8 * hairs, -1.5, 1.5)
    brow_tone = min(0.6 * tone + 0.02, 0.7 * float(albedo.mean()))
    albedo[near] += density * darkness * (brow_tone * np.exp(0.2 * hairs) - albedo[near])
    bump[near] += 0.25 * density * (1 + 0.4 * hairs)
    bare[near] *= 1 - density
    return albedo, bump, bare


def _draw_beard(
    place: np.ndarray, lip: np.ndarray, albedo: np.ndarray, bump: np.ndarray, bare: np.ndarray, subject: Subject,
    visit: Visit, tone: float, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    kind = visit.facial_hair
    if kind == "none":
        return albedo, bump, bare
    field = np.full(len(place), -10.0)
    if kind in ("beard", "both", "stubble"):
        field = np.maximum(field, fields.beard(place, subject.looks.beard_reach))
    if kind in ("moustache", "both", "stubble"):
        field = np.maximum(field, fields.moustache(place))
    near = np.flatnonzero(field > -6)
    shift = rng.uniform(0, 999)
    texels = noise.Texels(fields.azimuth(place[near]) * 75 / TEXEL + shift, place[near, 1] / TEXEL)
    hairs = texels.of(noise.strands(4.0, 14.0))
    cover = fields.ramp(field[near] + 1.8 * hairs, -2.0, 5.0) * (1 - fields.ramp(lip[near], 0.2, 0.6))
    if kind == "stubble":
        dots = texels.of(noise.band(4.0))
        cover = cover * np.clip(0.35 + 0.25 * visit.stubble + 0.22 * dots, 0, 1)
        relief = 0.05 * dots
    else:
        cover = cover * np.clip(0.86 + 0.10 * hairs, 0, 1)
        relief = 0.35 * hairs
    albedo[near] += cover * (1.1 * tone * np.exp(0.25 * hairs) - albedo[near])
    bump[near] += cover * relief
    bare[near] *= 1 - cover
    return albedo, bump, bare


def _paint_eyes(surface: Surface, at: np.ndarray, subject: Subject) -> None:
    """Sclera, iris with a limbal ring, pupil; wet, so that each flash leaves its glint."""
    place = surface.place[at]
    nearer = np.where(place[:, :1] < 0, fields.EYE_CENTRES[0], fields.EYE_CENTRES[1])
    offset = place - nearer
    radius = np.where(offset[:, 2] > 0, np.hypot(offset[:, 0], offset[:, 1]), 99.0)
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    iris = subject.looks.iris * (1 + 0.25 * np.sin(37 * angle) * np.sin(23 * angle + 1))
    iris *= 1 - 0.6 * fields.ramp(radius, 4.9, 6.0)
    white = 0.62 * (1 - 0.25 * fields.ramp(radius, 9, 13))
    albedo = iris + (white - iris) * fields.ramp(radius, 5.8, 6.5)
    surface.albedo[at] = np.where(radius < 2.1, 0.015, albedo)
    surface.shine[at], surface.gloss[at], surface.region[at] = 0.12, 1500.0, R_EYE
