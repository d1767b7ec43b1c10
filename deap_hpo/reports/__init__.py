"""Presentation of a study or a comparison: in words, in HTML, as a live page."""
