"""A package of somebody else that adds parts to rtune: one file a part, one entry a part."""
