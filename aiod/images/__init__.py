"""Images: references, blobs, unpacked layers, archives and the verbs over them.

Owns what lies under `content/` and `overlay/` of the daemon's root. Must not know of
containers (it is told which images and layers they use), HTTP or SQL.
"""
