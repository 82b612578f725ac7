"""Every benchmark, one after the other: python -m benchmarks."""

from benchmarks import batching, sampler_overhead, startup

for benchmark in (sampler_overhead, batching, startup):
    print(f"\n{benchmark.__name__}")
    benchmark.main()
