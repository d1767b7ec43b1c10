"""What the command line does, by group of commands; only `deap_hpo.cli` imports it."""
