"""The recipe of the thesis behind this project, its faults kept, to stand beside the corrected one; used by no stage.

Written from what its public code (nkt780426/3d_face_recognition_magface) does, not from its text. Faults that are part
of the recipe carry the number that docs/train.md's sources give them (fault 1, 2, ...) where they are done; those that
concern files, checkpoints and notebooks are left out, and so is the choice of the state on the test set (fault 6).
"""
