"""Samplers: `search.sampler`."""

from rtune.config.catalog.part import Sampler
from rtune.registry import Registry

# Share of random suggestions of `auto`, as the random fraction of BOHB (arXiv 1807.01774). A model that is
# fitted to early results does not suggest settings that look bad early and become good late.
_RANDOM_SHARE = 1 / 3

SAMPLERS = Registry(
    "sampler",
    "samplers",
    Sampler,
    [
        Sampler(
            name="auto",
            label="auto",
            about="TPE with a third of random suggestions: the best in `benchmarks.search`",
            mixes={"random": _RANDOM_SHARE, "tpe": 1 - _RANDOM_SHARE},
        ),
        Sampler(
            name="random",
            label="random",
            about="independent draws from the ranges",
            build="rtune.search.samplers:random",
            informed=False,
        ),
        Sampler(
            name="tpe",
            label="TPE",
            about="tree-structured Parzen estimator (Ozaki et al. 2022, multi-objective)",
            build="rtune.search.samplers:tpe",
        ),
        Sampler(
            name="nsga2",
            label="NSGA-II",
            about="genetic algorithm (Deb et al. 2002)",
            build="rtune.search.samplers:nsga2",
        ),
        Sampler(
            name="gp",
            label="GP",
            about="Gaussian process with expected hypervolume improvement",
            build="rtune.search.samplers:gp",
        ),
    ],
)
