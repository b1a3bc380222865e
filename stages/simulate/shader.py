"""Light on what the rays met: ambient, and one flash after the other with its shadows, highlights and glints.

From flash to flash only the light differs, so rays are cast once and shaded k times. Shadow rays are cast for one of
four fine points and shared with its neighbours, which also makes their edges as soft as a flash of a few centimetres
would.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.params import Effects
from pipeline.shading import highlight, lengths, render
from stages.simulate.camera import FINE, Camera
from stages.simulate.raycast import Scene
from stages.simulate.scene import Glass, Points

SHADOW_BIAS = 0.8  # mm above the surface at which shadow rays begin
LENS_SHARE = 0.90  # of the light passes a lens, each way together


class Shader:
    """Shades the met points for one flash after the other."""

    def __init__(
        self,
        scene: Scene,
        camera: Camera,
        points: Points,
        glass: Glass | None,
        effects: Effects,
    ) -> None:
        self.scene, self.camera, self.points, self.glass, self.effects = scene, camera, points, glass, effects
        self.normal = np.ascontiguousarray(points.normal)  # what is multiplied by a light, row by row
        self.shiny = np.flatnonzero(points.shine > 0)
        self.shiny_normal = np.take(self.normal, self.shiny, axis=0)
        self.shiny_view = np.take(points.view.T, self.shiny, axis=1).T
        rows, columns = np.divmod(points.index, camera.width)
        self.probes = np.flatnonzero((rows % FINE == 0) & (columns % FINE == 0))
        coarse = camera.width // FINE
        self.cells = ((rows // FINE) * coarse + columns // FINE)[self.probes]
        self.seen = np.zeros((coarse, coarse), np.float32)
        self.seen.ravel()[self.cells] = 1
        self.seen = np.asarray(cv2.blur(self.seen, (3, 3)))

    def ambient(self) -> np.ndarray:
        """(width, width) light from everywhere, a little more of it from above."""
        points = self.points
        image = np.zeros(self.camera.width**2, np.float32)
        image[points.index] = self.effects.ambient * points.albedo * (0.75 + 0.25 * points.normal[:, 1])
        return image.reshape(self.camera.width, -1)

    def flash(self, light: np.ndarray) -> np.ndarray:
        """(width, width) light of one flash (3,), whose length is its strength."""
        points, effects = self.points, self.effects
        towards = self._towards(points.position, light)
        radiance = render(self.normal, points.albedo, towards, attached_shadows=effects.attached_shadows)
        if effects.specular > 0:
            shiny = self.shiny
            its_light = towards if towards.ndim == 1 else towards[shiny]
            lobe = highlight(self.shiny_normal, its_light, self.shiny_view, points.gloss[shiny])
            radiance[shiny] += effects.specular * points.shine[shiny] * lobe
        if effects.cast_shadows:
            radiance *= self._lit(towards)
        image = np.zeros(self.camera.width**2, np.float32)
        image[points.index] = radiance
        if self.glass is not None:
            image[self.glass.at] *= LENS_SHARE
            if effects.specular > 0:
                unit = (light / np.linalg.norm(light)).astype(np.float32)
                glint = highlight(self.glass.normal, unit, self.glass.view, 700.0)
                image[self.glass.at] += effects.specular * 0.04 * np.linalg.norm(light) * glint
        return image.reshape(self.camera.width, -1)

    def _towards(self, position: np.ndarray, light: np.ndarray) -> np.ndarray:
        """The flash as seen from each point: one vector (3,) from infinity, (N, 3) with fall-off when it is near."""
        if self.effects.falloff == 0:
            return light.astype(np.float32)
        strength = np.linalg.norm(light)
        to_flash = (light / strength * self.effects.falloff).astype(np.float32) - position
        distance = lengths(to_flash)[:, None]
        return strength * to_flash / distance * (self.effects.falloff / distance) ** 2

    def _lit(self, towards: np.ndarray) -> np.ndarray:
        """(N,) share of a flash that reaches each point past the rest of the scene."""
        points, probes = self.points, self.probes
        direction = towards if towards.ndim == 1 else towards[probes]
        direction = direction / lengths(direction)[..., None]
        rays = np.empty((len(probes), 6), np.float32)
        rays[:, :3] = points.position[probes] + SHADOW_BIAS * (self.normal[probes] + direction)
        rays[:, 3:] = direction
        blocked = self.scene.blocked(rays, self.effects.falloff if self.effects.falloff > 0 else np.inf)
        lit = np.zeros_like(self.seen)
        lit.ravel()[self.cells] = ~blocked
        lit = np.asarray(cv2.blur(lit, (3, 3)))
        share = np.divide(lit, self.seen, out=np.ones_like(lit), where=self.seen > 0)
        return cv2.resize(share, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR).ravel()[points.index]
