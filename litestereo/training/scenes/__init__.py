"""Rendered stereo scenes: textures, layout, ray casting and camera effects, all in batched torch.

A scene is a table of primitives (`layout`), cast from both eyes (`render`), coloured from an atlas
of pictures (`textures`) and seen through two imperfect cameras (`camera`); `stream` joins them.
"""
