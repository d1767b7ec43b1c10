"""A study, or a comparison, shown: in words, in HTML, as a live page."""
