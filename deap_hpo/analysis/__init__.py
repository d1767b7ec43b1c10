"""What is on record, as tidy tables and statistics; draws nothing."""
