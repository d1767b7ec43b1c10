"""The commands of the command line, in groups; only `deap_hpo.cli` imports them."""
