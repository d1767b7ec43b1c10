"""Stacks: networks of equal structure, trained together as one program. The population trainer uses them."""
