"""Records as tidy tables and statistics; draws nothing."""
