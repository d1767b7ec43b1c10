"""eaTruncation: equal to the paper's algorithm written out by hand, and what must hold along the way."""

import math
import random
from operator import attrgetter

import pytest
from deap import tools

from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import make_toolbox
from deap_hpo.search_space.space import Float, Space

SPACE = Space({"lr": Float(1e-4, 1.0), "momentum": Float(0.0, 0.9), "weight_decay": Float(0.0, 0.1)})


def loss_of(genome):
    """A bowl with a region of divergence."""
    return math.inf if genome[0] > 0.9 else sum((gene - 0.3) ** 2 for gene in genome)


def toolbox_of(indpb=0.2, batches=None):
    """Return a toolbox; the batches that are evaluated are added to `batches`."""

    def recording_map(function, individuals):
        if batches is not None:
            batches.append([list(individual) for individual in individuals])
        return map(function, individuals)

    toolbox = make_toolbox(SPACE, indpb=indpb)
    toolbox.register("evaluate", lambda individual: (loss_of(individual),))
    toolbox.register("map", recording_map)
    return toolbox


def generations_of(size, cxpb, mutpb, ngen, indpb=0.2, batches=None):
    """Run eaTruncation; return every generation as (genome, loss) pairs."""
    toolbox = toolbox_of(indpb, batches)
    stats = tools.Statistics(lambda individual: (list(individual), individual.fitness.values[0]))
    stats.register("all", list)
    _, logbook = eaTruncation(toolbox.population(n=size), toolbox, cxpb, mutpb, ngen, stats=stats, verbose=False)
    return logbook.select("all")


def paper(size, cxpb, mutpb, ngen, indpb=0.2):
    """The paper's algorithm, without DEAP, its evaluations uncached."""
    genomes = [[random.random() for _ in range(3)] for _ in range(size)]
    generations = [[(genome, loss_of(genome)) for genome in genomes]]
    for _ in range(ngen):
        parents = sorted(generations[-1], key=lambda pair: pair[1])[: size // 2]
        children = []
        while len(children) < size - len(parents):
            mother, father = random.sample([genome for genome, _ in parents], 2)
            mother, father = list(mother), list(father)
            if random.random() < cxpb:
                for gene in range(3):
                    if random.random() < 0.5:
                        mother[gene], father[gene] = father[gene], mother[gene]
            children.append(mother)
            if len(children) < size - len(parents):
                children.append(father)
        for child in children:
            if random.random() < mutpb:
                for gene in range(3):
                    if random.random() < indpb:
                        child[gene] = random.uniform(0.0, 1.0)
        generations.append(parents + [(child, loss_of(child)) for child in children])
    return generations


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("cxpb", "mutpb"), [(0.9, 0.5), (1.0, 1.0), (0.0, 0.3), (0.5, 0.0)])
@pytest.mark.parametrize("size", [4, 5, 6, 7, 10, 20])
def test_equals_the_paper_generation_for_generation(size, cxpb, mutpb, seed):
    random.seed(seed)
    expected = paper(size, cxpb, mutpb, ngen=6)
    random.seed(seed)
    assert generations_of(size, cxpb, mutpb, ngen=6) == expected


@pytest.mark.parametrize("size", [4, 5, 10])
def test_best_never_gets_worse_and_size_is_constant(size):
    random.seed(1)
    generations = generations_of(size, 0.9, 0.8, ngen=15)
    best = [min(loss for _, loss in generation) for generation in generations]
    assert best == sorted(best, reverse=True)
    assert {len(generation) for generation in generations} == {size}


def test_only_new_individuals_are_evaluated_in_one_batch_per_generation():
    random.seed(1)
    batches = []
    generations_of(9, 1.0, 1.0, ngen=4, indpb=1.0, batches=batches)
    assert [len(batch) for batch in batches] == [9, 5, 5, 5, 5]
    genomes = [tuple(genome) for batch in batches for genome in batch]
    assert len(set(genomes)) == len(genomes)


def test_children_neither_mated_nor_mutated_are_not_evaluated():
    random.seed(1)
    batches = []
    generations_of(8, 0.0, 0.0, ngen=3, batches=batches)
    assert [len(batch) for batch in batches] == [8, 0, 0, 0]


@pytest.mark.parametrize(("cxpb", "mutpb"), [(1.0, 0.0), (0.0, 1.0)])
def test_varied_children_are_evaluated_even_if_no_gene_changed(cxpb, mutpb):
    random.seed(1)
    toolbox = toolbox_of(indpb=0.0)
    toolbox.register("mate", lambda first, second: (first, second))
    _, logbook = eaTruncation(toolbox.population(n=8), toolbox, cxpb, mutpb, ngen=2, verbose=False)
    assert logbook.select("nevals") == [8, 4, 4]


def test_no_generation_evaluates_the_first_population_only():
    random.seed(1)
    toolbox = toolbox_of()
    population = toolbox.population(n=4)
    before = list(population)
    after, logbook = eaTruncation(population, toolbox, 0.5, 0.5, ngen=0, verbose=False)
    assert after is population
    assert all(one is other for one, other in zip(after, before, strict=True))
    assert logbook == [{"gen": 0, "nevals": 4}]


def test_population_is_replaced_in_place_and_evaluated_individuals_are_kept():
    random.seed(1)
    batches = []
    toolbox = toolbox_of(batches=batches)
    population = toolbox.population(n=6)
    population[2].fitness.values = (-1.0,)
    kept = population[2]
    after, _ = eaTruncation(population, toolbox, 0.9, 0.5, ngen=3, verbose=False)
    assert after is population
    assert after[0] is kept
    assert len(batches[0]) == 5
    parents = after[:3]
    assert parents == sorted(parents, key=attrgetter("fitness"), reverse=True)


def test_all_individuals_diverged():
    random.seed(1)
    toolbox = toolbox_of()
    toolbox.register("evaluate", lambda individual: (math.inf,))
    population, _ = eaTruncation(toolbox.population(n=5), toolbox, 0.9, 0.5, ngen=3, verbose=False)
    assert [individual.fitness.values for individual in population] == [(math.inf,)] * 5


def test_children_carry_their_lineage():
    random.seed(1)
    toolbox = toolbox_of()
    population = toolbox.population(n=6)
    for number, individual in enumerate(population):
        individual.origin = (number,)
    eaTruncation(population, toolbox, 1.0, 0.0, ngen=1, verbose=False)
    assert all(len(parent.origin) == 1 and parent.operators == () for parent in population[:3])
    survivors = {parent.origin[0] for parent in population[:3]}
    for child in population[3:]:
        assert child.operators == ("mate",)
        assert len(child.origin) == 2
        assert set(child.origin) <= survivors


def test_hall_of_fame_and_logbook(capsys):
    random.seed(1)
    toolbox = toolbox_of()
    halloffame = tools.HallOfFame(2)
    stats = tools.Statistics(lambda individual: individual.fitness.values[0])
    stats.register("min", min)
    population, logbook = eaTruncation(toolbox.population(n=6), toolbox, 0.9, 0.5, 3, stats, halloffame, verbose=True)
    assert logbook.header == ["gen", "nevals", "min"]
    assert halloffame[0] == population[0]
    assert logbook[-1]["min"] == halloffame[0].fitness.values[0]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["gen", "nevals", "min"]
    assert len(printed) == 5


def test_an_interrupted_evaluation_leaves_the_last_generation():
    random.seed(1)
    toolbox = toolbox_of()
    population = toolbox.population(n=6)
    eaTruncation(population, toolbox, 0.9, 0.5, ngen=0, verbose=False)
    before = list(population)

    def interrupted(function, individuals):
        if individuals:
            raise KeyboardInterrupt
        return []

    toolbox.register("map", interrupted)
    with pytest.raises(KeyboardInterrupt):
        eaTruncation(population, toolbox, 1.0, 0.5, ngen=1, verbose=False)
    assert all(one is other and one.fitness.valid for one, other in zip(population, before, strict=True))


@pytest.mark.parametrize(
    ("size", "changes", "message"),
    [
        (3, {}, "population must have at least 4 individuals, of which 2 breed; got 3."),
        (4, {"ngen": -1}, "ngen must be at least 0; got -1."),
        (4, {"cxpb": 1.5}, r"cxpb must be in \[0, 1\]; got 1.5."),
        (4, {"mutpb": -0.1}, r"mutpb must be in \[0, 1\]; got -0.1."),
    ],
)
def test_bad_arguments_are_refused(size, changes, message):
    toolbox = toolbox_of()
    with pytest.raises(ValueError, match=message):
        eaTruncation(toolbox.population(n=size), toolbox, **{"cxpb": 0.5, "mutpb": 0.5, "ngen": 1, **changes})
