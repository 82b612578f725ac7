"""The samplers, one a file: the sampler NAME is the function NAME in samplers/NAME.py. Only their names are read here.

Each is a `Sampler` as in `diffusion.sampler`, which finds it by its name.
"""

from pkgutil import iter_modules

SAMPLER_NAMES = tuple(sorted(module.name for module in iter_modules(__path__)))
